"""An extended checkpoint is what stock transformers computes from it, and nothing of the source is harmed."""

import json
import shutil

import pytest
import torch
import transformers

from ropewalk.errors import BadConfig, CannotExpress, OutputExists
from ropewalk.jobs.extend import extend, left_out
from ropewalk.scaling.checkpoint import bundled_model, read_config
from ropewalk.scaling.dialects.transformers import prove, read, write
from ropewalk.scaling.plan import ScalingPlan, make_plan

METHODS = ("none", "linear", "ntk", "ntk_by_parts", "yarn", "llama3", "resonance", "dynamic-request")


def planned(method="yarn", **options):
    return make_plan(read(read_config(bundled_model())), factor=8, method=method, options=options)


@pytest.mark.parametrize("method", METHODS)
def test_stock_transformers_computes_the_planned_frequencies(tmp_path, method):
    """The oracle is transformers itself: its rotary module, built by from_pretrained, against the plan's numbers."""
    plan = planned(method)
    extend(bundled_model(), plan, tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    rotary = model.model.rotary_emb
    rotary(torch.zeros(1, 1), torch.arange(4096)[None])  # lets dynamic rules choose their scale
    (_, stretch), *_ = plan.stretches
    wanted = stretch.scaled(4096)
    torch.testing.assert_close(rotary.inv_freq.double(), torch.tensor(wanted.inv_freq, dtype=torch.float64), rtol=1e-6, atol=0)
    assert rotary.attention_scaling == pytest.approx(wanted.attention_factor, rel=1e-12)
    source = transformers.AutoModelForCausalLM.from_pretrained(bundled_model(), dtype=torch.float32)
    for name, weight in source.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])


def test_everything_else_in_the_folder(tmp_path):
    plan = planned()
    extend(bundled_model(), plan, tmp_path / "out")
    assert ScalingPlan.from_json((tmp_path / "out" / "ropewalk.json").read_text()) == plan
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| all | yarn | 8 | 512 | 10000 | 1.2079 |" in card
    assert plan.fingerprint in card
    assert "Nothing yet" in card
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.model_max_length == 4096
    assert json.loads((tmp_path / "out" / "config.json").read_text())["max_position_embeddings"] == 4096


def test_weights_are_linked_and_the_source_is_untouched(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundled_model(), source)
    before = {p.name: p.read_bytes() for p in source.iterdir()}
    extend(source, planned(), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(source / "model.safetensors")
    assert not (tmp_path / "out" / "tokenizer.json").samefile(source / "tokenizer.json")
    assert {p.name: p.read_bytes() for p in source.iterdir()} == before


def test_pickles_are_left_behind(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundled_model(), source)
    (source / "optimizer.pt").write_bytes(b"\x80")
    extend(source, planned(), tmp_path / "out")
    assert not (tmp_path / "out" / "optimizer.pt").exists()


def test_half_a_surrogate_pair_in_a_config_stays(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundled_model(), source)
    (source / "config.json").write_text(json.dumps({**read_config(source), "note": "\ud800é"}))
    extend(source, planned(), tmp_path / "out")
    assert read_config(tmp_path / "out")["note"] == "\ud800é"


def test_a_text_config_that_is_null(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundled_model(), source)
    (source / "config.json").write_text(json.dumps({**read_config(source), "text_config": None}))
    extend(source, planned(), tmp_path / "out")
    assert read_config(tmp_path / "out")["max_position_embeddings"] == 4096


def test_refusals(tmp_path):
    with pytest.raises(BadConfig, match="is not a folder: to write a checkpoint, the weights are needed"):
        extend(bundled_model() / "config.json", planned(), tmp_path / "out")
    with pytest.raises(BadConfig, match="is the source checkpoint, or inside it"):
        extend(bundled_model(), planned(), bundled_model() / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputExists, match="--force"):
        extend(bundled_model(), planned(), tmp_path / "out")
    with pytest.raises(CannotExpress, match="no config can say dynamic-yarn"):
        extend(bundled_model(), planned("dynamic-yarn"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_config_that_says_something_else_is_caught():
    plan = planned()
    config = write(plan, read_config(bundled_model()))
    prove(plan, config)
    config["rope_parameters"]["beta_fast"] = config["rope_scaling"]["beta_fast"] = 16.0
    with pytest.raises(CannotExpress, match="the plan reads back as other frequencies"):
        prove(plan, config)


MISTRAL = {"dim": 64, "n_heads": 4, "head_dim": 16, "n_layers": 2, "rope_theta": 1e4, "max_position_embeddings": 2048,
           "yarn": {"factor": 16, "original_max_position_embeddings": 128, "beta": 32, "alpha": 1,
                    "apply_scale": False}}  # fmt: skip


def test_a_second_copy_in_mistrals_format_stays_behind(tmp_path):
    """vllm-project/vllm#17777: with both, vLLM's auto format takes params.json: factor 16, 2,048 tokens."""
    source = tmp_path / "two"
    shutil.copytree(bundled_model(), source)
    (source / "params.json").write_text(json.dumps(MISTRAL))
    (source / "consolidated.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    extend(source, planned(), tmp_path / "out")
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(("params", "consolidated"))]
    assert left_out(source) == ["params.json", "consolidated.safetensors"]

    (source / "model.safetensors").unlink()
    with pytest.raises(BadConfig, match="Mistral's own format alone"):
        extend(source, planned(), tmp_path / "other")
