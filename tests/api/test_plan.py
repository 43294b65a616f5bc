"""`ropewalk.plan` and `ropewalk.read` from Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from support.gguf_files import bundled
from support.refusing import NO_LENGTHS, NO_MODELS, refuses

TINY = bundled_model()
CONFIG = json.loads((TINY / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def live():
    return ropewalk.load_model("ropewalk-tiny")


def test_every_way_to_name_a_model_gives_one_plan(live):
    wanted = ropewalk.make_plan(ropewalk.read(CONFIG), factor=8)
    spec = ropewalk.read("ropewalk-tiny")
    for model in ("ropewalk-tiny", TINY, str(TINY), TINY / "config.json", CONFIG, live, live.config, spec):
        assert ropewalk.plan(model, factor=8) == wanted, model
        assert ropewalk.plan(model, to="4k") == wanted, model
    assert ropewalk.plan("ropewalk-tiny", factor=8).model == "ropewalk-tiny"


def test_a_gguf_is_read_and_planned(tmp_path):
    path = bundled(tmp_path / "x.gguf")
    assert ropewalk.plan(path, factor=8).stretches == ropewalk.plan("ropewalk-tiny", factor=8).stretches
    assert ropewalk.read(str(path), original_length="1k").rope("all").original_length == 1024


def test_options_in_both_spellings():
    one = ropewalk.plan("ropewalk-tiny", factor=8, options={"beta_fast": 16}, layers=["all"])
    assert one == ropewalk.plan("ropewalk-tiny", factor=8, options=["beta_fast=16"], layers="all")
    assert dict(one.stretch("all").options) == {"beta_fast": 16.0}


def test_what_a_notebook_shows():
    made = ropewalk.plan("ropewalk-tiny", factor=8)
    row = dict(zip(made.table.columns, *made.table.rows, strict=True))
    assert (row["yarn"], row["window"], row["target"], row["factor"]) == ("all", "512", "4,096", "8")
    assert int(row["pairs kept"]) + int(row["mixed"]) + int(row["stretched"]) == 32
    assert made._repr_html_().startswith("<table>")


@pytest.mark.parametrize("model", NO_MODELS)
def test_what_is_no_model(model):
    refuses(ropewalk.read, model)
    refuses(ropewalk.plan, model, factor=8)
    assert "ropewalk.plan" in refuses(ropewalk.make_plan, model, factor=8)


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_what_is_no_length(length):
    refuses(ropewalk.plan, "ropewalk-tiny", to=length)
    refuses(ropewalk.plan, "ropewalk-tiny", factor=8, original_length=length)
    refuses(ropewalk.make_plan, ropewalk.read(CONFIG), target_length=length)


@pytest.mark.parametrize(
    "wrong",
    [
        {"factor": "8"}, {"factor": [2]}, {"factor": True}, {"method": 3}, {"method": "yorn"}, {"options": 3}, {"layers": 3},
        {"options": [3]}, {"options": {3: 4}}, {"options": {"beta_fast": "x"}}, {"layers": "some"}, {"to": "4k"},
    ],
)  # fmt: skip
def test_other_arguments_of_the_wrong_kind(wrong):
    refuses(ropewalk.plan, "ropewalk-tiny", **{"factor": 2} | wrong)
    low = {"layer_types" if name == "layers" else "target_length" if name == "to" else name: v for name, v in wrong.items()}
    refuses(ropewalk.make_plan, ropewalk.read(CONFIG), **{"factor": 2} | low)


def test_no_torch_is_imported():
    code = "import sys, ropewalk; ropewalk.plan('ropewalk-tiny', to='4k'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0
