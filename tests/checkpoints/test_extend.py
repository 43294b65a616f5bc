"""An extended checkpoint is what stock transformers computes from it, and nothing of the source is harmed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from ropewalk.checkpoints.extend import extend, left_out
from ropewalk.checkpoints.files import title
from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import prove, read, write
from ropewalk.errors import BadConfig, CannotExpress, OutputExists
from ropewalk.scaling.plan import ScalingPlan, make_plan
from support.command import run

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
    assert left_out(source) == ["consolidated.safetensors", "params.json"]

    (source / "model.safetensors").unlink()
    with pytest.raises(BadConfig, match="Mistral's own format alone"):
        extend(source, planned(), tmp_path / "other")


# --- what a folder holds besides


@pytest.fixture
def embedding(tmp_path):
    """As sentence-transformers lays it out (Qwen3-Embedding): modules.json names a folder, and a file states the window."""
    source = tmp_path / "sbert"
    shutil.copytree(bundled_model(), source)
    (source / "modules.json").write_text(json.dumps([{"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.Pooling"}]))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 128, "do_lower_case": false}')
    (source / "vision-lora").mkdir()
    (source / "vision-lora" / "adapter_model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:0])
    (source / ".cache").mkdir()
    (source / ".cache" / "x").write_text("no")
    (source / "onnx").mkdir()
    (source / "onnx" / "model.onnx").write_bytes(b"old window")
    (source / "original").mkdir()
    (source / "original" / "consolidated.00.pth").write_bytes(b"pickle")
    (source / "modeling_own.py").write_text("raise SystemExit('run')")
    return source


def test_a_folder_is_copied_whole_but_for_other_copies_of_the_model(embedding, tmp_path):
    """ddalcu/mlx-serve#116: `1_Pooling/` was dropped without a word, and the window stayed 128."""
    out = tmp_path / "out"
    extend(embedding, planned(), out)
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    for entry in json.loads((out / "modules.json").read_text()):
        assert f"{entry['path']}/config.json" in there
    assert {"vision-lora/adapter_model.safetensors", "modeling_own.py"} <= there
    assert not {".cache/x", "onnx/model.onnx", "original/consolidated.00.pth"} & there
    assert left_out(embedding) == ["onnx/model.onnx", "original/consolidated.00.pth"]
    assert json.loads((out / "sentence_bert_config.json").read_text()) == {"max_seq_length": 4096, "do_lower_case": False}


def test_what_is_left_out_and_code_that_is_copied_are_said(embedding, tmp_path, capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "extend", embedding, "--factor", 8, "-o", tmp_path / "out")
    assert code == 0
    assert "left out: onnx/model.onnx, original/consolidated.00.pth" in out
    assert "copied and not run: modeling_own.py" in out
    assert "not run by Ropewalk: `modeling_own.py`" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [(None, None), ("128", 4096), (128, 4096), (128.0, 4096), (1e30, 1e30), ("long", "long"), (True, True), (10**6, 10**6)],
)
def test_a_tokenizers_window_of_any_kind(tmp_path, said, wanted):
    """transformers takes a number; null and text are published too. What is no number is left as it is."""
    source = tmp_path / "tok"
    shutil.copytree(bundled_model(), source)
    path = source / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": said}))
    extend(source, planned(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / path.name).read_text())["model_max_length"] == wanted


@pytest.mark.parametrize(("said", "wanted"), [(512, 4096), (100, 100), (8192, 8192), (None, None)])
def test_a_length_of_generation_that_is_the_window_grows_with_it(tmp_path, said, wanted):
    """meta-llama/Llama-2-7b-hf's generation_config.json has max_length 4096, its window, and transformers' generate ends a
    prompt and its answer there. A shorter one is meant so.
    """
    source = tmp_path / "model"
    shutil.copytree(bundled_model(), source)
    path = source / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": 0, **({"max_length": said} if said else {})}))
    extend(source, planned(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / path.name).read_text()).get("max_length") == wanted
    assert json.loads(path.read_text()).get("max_length") == said


def test_the_card_calls_a_model_of_the_hub_by_its_id(tmp_path, monkeypatch):
    """huggingface_hub's cache: models--owner--name/snapshots/commit (docs, "Understand caching"); the card names no commit."""
    source = tmp_path / "models--owner--a-model" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(bundled_model(), source)
    extend(source, planned(), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: owner/a-model\n" in card
    assert "# owner/a-model, stretched to 4,096 tokens" in card
    assert "0123456789" not in card
    monkeypatch.chdir(source)
    assert (title(Path(".")), title(tmp_path / "here")) == ("owner/a-model", "here")
