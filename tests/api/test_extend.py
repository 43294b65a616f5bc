"""`ropewalk.extend` from Python."""

import json

import pytest

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from support.refusing import NO_LENGTHS, NO_MODELS, NO_PLANS, refuses


@pytest.fixture(scope="module")
def plan():
    return ropewalk.plan("ropewalk-tiny", to="4k")


def test_text_path_or_live_model_and_a_plan_in_any_form(tmp_path, plan):
    (file := tmp_path / "plan.json").write_text(plan.to_json())
    live = ropewalk.load_model(bundled_model())
    cases = (
        ("ropewalk-tiny", plan, {}), (bundled_model(), file, {}), (live, "yarn", {"to": 4096}),
        ("ropewalk-tiny", None, {"factor": 8}),
    )  # fmt: skip
    for number, (model, given, more) in enumerate(cases):
        made = ropewalk.extend(model, given, str(tmp_path / str(number)), **more)
        assert made.plan == plan
        assert json.loads((made.out / "config.json").read_text()) == made.config == made.to_dict()["config"]
        assert made.config["max_position_embeddings"] == 4096
    assert made._repr_html_() == plan._repr_html_()


@pytest.mark.parametrize("model", [*NO_MODELS, {"model_type": "llama"}])
def test_what_is_no_model(tmp_path, plan, model):
    refuses(ropewalk.extend, model, plan, tmp_path / "out")


@pytest.mark.parametrize("wrong", [*NO_PLANS, "yarn", None])
def test_what_is_no_plan(tmp_path, wrong):
    refuses(ropewalk.extend, "ropewalk-tiny", wrong, tmp_path / "out")


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_what_is_no_length(tmp_path, length):
    refuses(ropewalk.extend, "ropewalk-tiny", "yarn", tmp_path / "out", to=length)


@pytest.mark.parametrize("out", [None, 3, ["x"]])
def test_what_is_no_place(plan, out):
    refuses(ropewalk.extend, "ropewalk-tiny", plan, out)
