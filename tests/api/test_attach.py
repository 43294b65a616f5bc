"""`ropewalk.attach` from Python: plans as objects, files and names."""

import pytest
import torch

import ropewalk
from support.refusing import NO_LENGTHS, NO_PLANS, refuses


@pytest.fixture(scope="module")
def live():
    return ropewalk.load_model("ropewalk-tiny")


def test_a_plan_by_object_by_file_and_by_name(live, tmp_path):
    plan = ropewalk.plan("ropewalk-tiny", to="4k")
    (file := tmp_path / "plan.json").write_text(plan.to_json())
    for given, more in ((plan, {}), (file, {}), (str(file), {}), ("yarn", {"to": "4k"}), ("yarn", {"factor": 8})):
        with ropewalk.attach(live, given, **more) as attached:
            assert attached.plan == plan, given
            assert live.config.max_position_embeddings == 4096
        assert live.config.max_position_embeddings == 512


def test_without_a_word_it_is_dynamic_and_leaves_short_texts_alone(live):
    ids = torch.arange(64)[None]
    before = live(ids).logits
    with ropewalk.attach(live) as attached:
        assert (attached.plan.name, attached.plan.target_length) == ("dynamic-yarn", 4096)
        assert torch.equal(live(ids).logits, before)


def test_what_is_no_live_model():
    assert "ropewalk.load_model('ropewalk-tiny')" in refuses(ropewalk.attach, "ropewalk-tiny")
    for model in (None, 3, torch.nn.Linear(2, 2), {"model_type": "llama"}):
        refuses(ropewalk.attach, model)
        refuses(ropewalk.attach, model, ropewalk.plan("ropewalk-tiny", factor=2))


@pytest.mark.parametrize("plan", [*NO_PLANS, "yorn", "yarn"])  # yarn says not how far
def test_what_is_no_plan(live, plan):
    refuses(ropewalk.attach, live, plan)


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_what_is_no_length(live, length):
    refuses(ropewalk.attach, live, "yarn", to=length)


def test_a_plan_says_how_far_by_itself(live):
    assert "leave out" in refuses(ropewalk.attach, live, ropewalk.plan("ropewalk-tiny", factor=2), factor=4)
