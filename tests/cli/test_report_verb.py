"""`ropewalk report`: writes at once, without torch, and says what went wrong in a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk as package
from support.synthetic import METHODS, plans, whole_run, write

# The tree under test, wherever the command is run from.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent), "COLUMNS": "200"}
RUN = "import sys; from ropewalk.cli.main import main; sys.argv[0] = 'ropewalk'; main()"


def ropewalk(*arguments, then="", cwd=None):
    code = RUN if not then else f"import atexit, sys; atexit.register(lambda: {then}); " + RUN
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=120
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run"), whole_run(documents=6), plans())  # four decide nothing


def test_it_writes_the_page_into_the_run_and_loads_no_torch(run):
    done = ropewalk("report", str(run), then="print('torch' in sys.modules, file=sys.stderr)")
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    assert done.stdout.startswith("ropewalk-tiny reads to 4,096 tokens. dynamic-yarn reads to 4,096 tokens")
    assert str(run / "report.html") in done.stdout
    assert "Ropewalk certificate" in (run / "report.html").read_text()


def test_json_is_every_table_and_nothing_else(run, tmp_path):
    done = ropewalk("report", str(run), "-o", str(tmp_path / "page.html"), "--json")
    said = json.loads(done.stdout)
    assert said["schema"] == "ropewalk.certificate/1"
    assert sorted(said["methods"]) == sorted(METHODS)
    assert all(
        said[section] for section in ("loss", "verdicts", "retrieval", "ruler", "tax", "speed", "anchors", "provenance")
    )
    assert (tmp_path / "page.html").exists()


def test_markdown_is_tables_that_markdown_understands(run, tmp_path):
    done = ropewalk("report", str(run), "-o", str(tmp_path / "page.html"), "--markdown")
    assert done.stdout.startswith("**ropewalk-tiny reads to 4,096 tokens.**")
    for table in done.stdout.split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, table
    for words in ("bits per token at", "passkey, % found at", "RULER, 4 of 13 tasks", "short-context degradation"):
        assert f"| {words} |" in done.stdout


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path):
    done = ropewalk("report", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"ropewalk report: {tmp_path} is not a run")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_else_is_not_replaced(run, tmp_path):
    thesis = tmp_path / "thesis.html"
    thesis.write_text("years of work")
    assert ropewalk("report", str(run), "-o", str(thesis)).returncode == 2
    assert thesis.read_text() == "years of work"


def test_the_margin_is_an_option(run, tmp_path):
    done = ropewalk("report", str(run), "-o", str(tmp_path / "page.html"), "--margin", "0.5", "--json")
    made = json.loads(done.stdout)
    assert made["margin"] == 0.5
    assert {verdict["margin"] for verdict in made["verdicts"]} == {0.5}
    done = ropewalk("report", str(run), "-o", str(tmp_path / "page.html"), "--margin", "0", "--force")
    assert done.returncode == 2
    assert "margin is 0.0; it must be above 0" in done.stderr
