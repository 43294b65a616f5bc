"""The demo at a size that fits a test: it measures, resumes, and its page is made of its records."""

import json

import pytest

from ropewalk.jobs.evaluate.demo import Demo, run_demo
from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.page import render
from ropewalk.jobs.report.run_folder import read_run
from ropewalk.measure.records import Records
from ropewalk.measure.tables import loss_by_position
from support.watching import Watching

SMALL = Demo(
    factor=2.0, methods=("none", "linear", "dynamic-request", "dynamic-yarn", "yarn"), documents=2, samples=1, speed=False
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    start = Watching(stop_after=5000)
    with pytest.raises(KeyboardInterrupt):
        run_demo(folder, SMALL, start)
    assert list(Records(folder / "records"))
    assert not (folder / "report.html").exists()
    again = Watching()
    outcome = run_demo(folder, SMALL, again)
    assert again.found
    assert again.done == pytest.approx(again.total)
    return folder, outcome.prepared.plans, outcome


def test_a_run_that_was_killed_goes_on_and_ends_complete(out):
    folder, _, outcome = out
    assert len(list(Records(folder / "records"))) == len(outcome.records)
    assert {path.name for path in folder.iterdir()} == {"run.json", "plans", "records", "checkpoint", "report.html"}


def test_the_numbers_say_what_the_field_knows(out):
    """Past L YaRN holds where plain RoPE fails, on the same tokens; inside it, dynamic scaling is plain RoPE."""
    folder, _, _ = out
    table = loss_by_position(Records(folder / "records"), [0, 256, 512, 1024])
    none, dynamic, causal, yarn = (table[name] for name in ("none", "dynamic-request", "dynamic-yarn", "yarn"))
    assert yarn[2].value < none[2].value - 0.5
    assert [b.value for b in dynamic[:2]] == [b.value for b in none[:2]]
    assert [b.value for b in causal[:2]] == pytest.approx([b.value for b in none[:2]], abs=1e-5)
    assert causal[2].value < none[2].value - 0.5


def test_the_page_needs_no_model_and_no_network(out):
    folder, _, _ = out
    page = (folder / "report.html").read_text()
    assert render(certificate(read_run(folder))) == page  # from the folder alone, to the last byte
    for words in ("Loss by position", "Five digits hidden in source code", "trained length 512"):
        assert words in page


def test_the_checkpoints_card_holds_what_was_measured(out):
    folder, _, _ = out
    card = (folder / "checkpoint" / "README.md").read_text()
    assert "Nothing yet" not in card
    assert "| yarn |" in card
    assert json.loads((folder / "checkpoint" / "ropewalk.json").read_text())["stretches"]["all"]["method"] == "yarn"
