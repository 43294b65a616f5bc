"""What a run leaves: a checkpoint that stock transformers loads, the same model that was trained, and the adapter whole."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ropewalk.errors import Mismatch
from ropewalk.jobs.train import export, job
from ropewalk.models.live import find_tables, read_live
from ropewalk.scaling.plan import ScalingPlan
from support import processes
from support.training import recipe_of, run, texts


def trained(recipe, out, monkeypatch):
    """The run's folder, and the logits of the live model when training was over."""
    ids, logits = torch.arange(40, 80)[None], []
    gather = job.gather

    def before_export(live):
        """The plan is off by now; the live model is compared without it, and so is the export."""
        live.model.eval()
        with torch.no_grad():
            logits.append(live.model(ids).logits)
        return gather(live)

    monkeypatch.setattr(job, "gather", before_export)
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    run(recipe, out)
    return ids, logits[0]


def plan_beside(folder):
    return ScalingPlan.from_json((folder / "ropewalk.json").read_text())


def plain(folder, source):
    """The export's weights in the source's config: without its plan."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    model.load_state_dict(theirs)
    return model.eval()


@pytest.mark.parametrize("lora", [None, {"rank": 4, "targets": "all-linear"}, {"also": False}])
def test_the_export_is_the_model_that_was_trained(source, data, tmp_path, monkeypatch, lora):
    ids, live = trained(recipe_of(source, data, lora=lora), tmp_path, monkeypatch)
    with torch.no_grad():
        found = plain(tmp_path / "model", source)(ids).logits
        before = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()(ids).logits
    torch.testing.assert_close(found, live, rtol=1e-5, atol=1e-5)  # adapters are added up in another order once merged
    assert (live - before).abs().max() > 1e-2, "something was learnt"


def test_the_adapter_holds_norms_and_embedding(source, data, tmp_path, monkeypatch):
    """peft keeps what LongLoRA trains besides only where it is told to; here it has to be loaded by peft alone."""
    from peft import PeftModel

    ids, live = trained(recipe_of(source, data, lora={}), tmp_path, monkeypatch)
    names = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert any("embed_tokens" in name for name in names)
    assert sum("layernorm" in name for name in names) == 4, "two norms in each of two layers"
    assert any(name.endswith("model.norm.weight") for name in names)
    assert sum("lora_A" in name for name in names) == 8
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(ids).logits, live, rtol=1e-5, atol=1e-5)


def test_stock_transformers_rotates_as_planned(source, data, tmp_path):
    """In a fresh process; and here, against the plan that lies beside the weights."""
    told = []
    run(recipe_of(source, data, stages=({"steps": 1},)), tmp_path, told)
    assert "in a fresh process" in told[-1].facts["said"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    plan = plan_beside(tmp_path / "model")
    (table,) = next(iter(find_tables(model, read_live(model)).values()))
    (_, stretch), *_ = plan.stretches
    torch.testing.assert_close(
        table.inv_freq.double(), torch.tensor(stretch.scaled().inv_freq, dtype=torch.float64), rtol=1e-6, atol=0
    )
    rope = model.config.rope_parameters
    assert (rope["rope_type"], rope["factor"], model.config.max_position_embeddings) == ("yarn", 2.0, 64)


def test_an_export_that_rotates_otherwise_does_not_stay(source, data, tmp_path, monkeypatch):
    write = export.transformers.write

    def wrong(plan, config):
        written = write(plan, config)
        return written | {"rope_parameters": written["rope_parameters"] | {"factor": "two"}}

    monkeypatch.setattr(export.transformers, "write", wrong)
    with pytest.raises(Mismatch, match="does not rotate as its config says"):
        run(recipe_of(source, data, stages=({"steps": 1},)), tmp_path)
    assert not (tmp_path / "model").exists()
    assert list(tmp_path.glob("checkpoints/*/*.safetensors")), "what was learnt stays"


def test_a_causal_plan_keeps_the_plain_config(source, data, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    run(recipe_of(source, data, stages=({"steps": 1, "method": "dynamic-yarn-causal-2"},)), tmp_path)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "model"))
    assert after["rope_parameters"] == before["rope_parameters"]
    assert after["max_position_embeddings"] == before["max_position_embeddings"]
    assert plan_beside(tmp_path / "model").is_dynamic


def test_weights_keep_the_sources_precision(source, data, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(half)
    for path in source.glob("*token*.json"):
        (half / path.name).write_bytes(path.read_bytes())
    run(recipe_of(half, data, stages=({"steps": 1},)), tmp_path / "out")
    assert {w.dtype for w in load_file(tmp_path / "out" / "model" / "model.safetensors").values()} == {torch.bfloat16}
    kept = next((tmp_path / "out" / "checkpoints").glob("*/*.safetensors"))
    assert {w.dtype for w in load_file(kept).values()} == {torch.float32}, "what is trained on has every digit"


def exporting(recipe, out):
    export.check_export = lambda folder: ""  # this process is a fork
    job.train(recipe, out, lambda event: None)


@pytest.mark.parametrize("lora", [None, {}])
def test_shards_are_gathered(source, data, tmp_path, lora):
    """Two processes that share each row leave what one leaves."""
    processes.run(1, exporting, recipe_of(source, data, lora=lora), tmp_path / "one")
    processes.run(2, exporting, recipe_of(source, data, lora=lora, context=2), tmp_path / "two")
    for name in ("model/model.safetensors", *(["adapter/adapter_model.safetensors"] if lora is not None else [])):
        one, two = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
        assert one.keys() == two.keys()
        for key, weights in one.items():
            torch.testing.assert_close(two[key], weights, rtol=0, atol=1e-5, msg=lambda said, key=key: f"{key}: {said}")


def test_the_card_says_what_was_done_to_which_tensors_and_what_was_measured(source, data, tmp_path, monkeypatch):
    """Counted again here: every tensor of the export against the source's."""
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    held_out = texts(tmp_path / "held", seed=7, count=4, words=400)
    recipe = recipe_of(source, data, held_out=[str(held_out)], held_out_documents=2, passkeys=0, stages=({"steps": 2},))
    result = job.train(recipe, tmp_path / "run", lambda event: None)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run" / "model", source))
    changed = [name for name in theirs if not torch.equal(mine[name], theirs[name])]
    assert f"{len(changed)} of {len(theirs)} tensors changed" in card
    assert all(f"`{name}`" in card for name in changed[:5])
    for words in (
        "after training by Ropewalk: all weights in 2 steps", f"over {result.tokens:,} tokens", "| 1 | yarn | factor 2 | 2 |",
        "0.003", "cosine, 1 steps of warm-up", "held-out documents of", "before training",
        plan_beside(tmp_path / "run" / "model").fingerprint,
    ):  # fmt: skip
        assert words in card, words
    last = result.evaluations[-1]
    for nats in last["held_out"].values():
        assert f"{nats / math.log(2):.3f}" in card
    for words in ("untouched", "Nothing yet", "{"):
        assert words not in card.partition("## Use")[0]


def test_without_held_out_documents_the_card_says_that_nothing_is_known(source, data, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    run(recipe_of(source, data, lora={"rank": 4}, stages=({"steps": 2},)), tmp_path)
    card, adapter = ((tmp_path / name / "README.md").read_text() for name in ("model", "adapter"))
    for text in (card, adapter):
        assert "Nothing: no documents were held out" in text
        assert "rank 4, alpha 16, on attention" in text
        assert plan_beside(tmp_path / "model").fingerprint in text
    assert plan_beside(tmp_path / "adapter") == plan_beside(tmp_path / "model")
    assert "adapters, merged into the weights, in 2 steps" in card
    assert adapter.startswith(f"---\nlibrary_name: peft\nbase_model: {source.name}")
    assert "[More Information Needed]" not in adapter  # peft's template
    assert "fits a base model that rotates so, and no\nother" in adapter


def test_a_model_of_the_hub_is_called_by_its_id(source, data, tmp_path, monkeypatch):
    """huggingface_hub: models--owner--name/snapshots/commit. peft looks for a base by what adapter_config.json says."""
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    place = tmp_path / "models--owner--a-model" / "snapshots" / "0123456789abcdef"
    shutil.copytree(source, place)
    run(recipe_of(place, data, lora={"rank": 4}, stages=({"steps": 2},)), tmp_path / "run")
    for name in ("model", "adapter"):
        assert "base_model: owner/a-model\n" in (tmp_path / "run" / name / "README.md").read_text()
    said = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "owner/a-model"


@pytest.mark.parametrize(("method", "live"), [("dynamic-yarn", True), ("near-linear", True), ("yarn", False)])
def test_the_card_of_a_plan_that_no_config_says_shows_how_it_is_used(source, data, tmp_path, monkeypatch, method, live):
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    stage = {"steps": 2, "method": method, "pose": True, "long_share": 0.5}
    run(recipe_of(source, data, stages=(stage,)), tmp_path)
    card, window = (tmp_path / "model" / "README.md").read_text(), json.loads((source / "config.json").read_text())
    assert ("--plan path/to/this/folder/ropewalk.json" in card) is live
    assert (f"a window of {window['max_position_embeddings']:,} tokens" in card) is live
    assert ("AutoModelForCausalLM.from_pretrained" in card) is not live
    assert "It was trained under the plan in `ropewalk.json`" in card
    assert ", 50% of them one document, positions skipped (PoSE) |" in card
