"""`ropewalk.extend` from Python."""

import json

import pytest
import torch

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadOption
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


@pytest.mark.parametrize("verb", ["extend", "export", "verify"])
def test_a_live_model_that_was_changed_is_not_written_from_its_old_folder(tmp_path, verb):
    """Whoever trains a live model, or lays an adapter over it, would be given the weights of before."""
    live = ropewalk.load_model(bundled_model())
    if verb == "verify":
        live = ropewalk.load_model(ropewalk.extend(bundled_model(), "yarn", tmp_path / "stretched", to=4096).out)
    call = {
        "extend": lambda: ropewalk.extend(live, "yarn", tmp_path / "out", to=4096),
        "export": lambda: ropewalk.export(live, "yarn", tmp_path / "out", to=4096, engines="vllm"),
        "verify": lambda: ropewalk.verify(live, engines="transformers", tokens=600),
    }[verb]
    with torch.no_grad():
        live.model.layers[1].mlp.down_proj.weight[-1] += 2**-6
    with pytest.raises(
        BadOption, match=r"are not those of .* any more: model.layers.1.mlp.down_proj.weight is another in row"
    ):
        call()
    adapted = pytest.importorskip("peft").get_peft_model(live, peft_config())
    with pytest.raises(BadOption, match=r"(?s)an adapter is laid over them .*merge it \(merge_and_unload\), save it"):
        ropewalk.extend(adapted, "yarn", tmp_path / "out", to=4096)
    assert not (tmp_path / "out").exists()


def peft_config():
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules=["q_proj"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_live_model_in_another_dtype_is_still_what_it_was_loaded_from(tmp_path, dtype):
    live = ropewalk.load_model(bundled_model(), dtype=dtype)
    made = ropewalk.extend(live, "yarn", tmp_path / "out", to=4096)
    assert any("a few rows of each of the live model's tensors were compared" in note for note in made.notes)


def test_a_live_model_with_another_vocabulary(tmp_path):
    live = ropewalk.load_model(bundled_model())
    live.resize_token_embeddings(1030, mean_resizing=False)
    with pytest.raises(BadOption, match=r"embed_tokens.weight is another in shape \(1030, 256, and 1024, 256 there\)"):
        ropewalk.extend(live, "yarn", tmp_path / "out", to=4096)
