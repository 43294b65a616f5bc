"""Checkpoints as people bring them: adapters, shards, pickles, packed weights, nests, code of their own."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import ropewalk
from ropewalk.checkpoints import hub
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.errors import BadConfig
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.models.source import Source
from support.fake_hub import Hub

IDS = torch.arange(3, 60)[None]


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def tiny(folder, **keys):
    """The bundled model in a folder of its own; keys go into its config."""
    shutil.copytree(checkpoint("ropewalk-tiny"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


# --- adapters


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """An adapter's folder beside its base, which it names by a relative path."""
    root = tmp_path_factory.mktemp("lora")
    base = load_model(tiny(root / "base"))
    torch.manual_seed(0)
    adapted = get_peft_model(
        base, LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(root / "lora")
    said = json.loads((root / "lora" / "adapter_config.json").read_text())
    (root / "lora" / "adapter_config.json").write_text(json.dumps({**said, "base_model_name_or_path": "../base"}))
    return root / "lora"


def by_hand(lora):
    """The base with W + alpha / r * B A in it (arXiv:2106.09685, section 4.1)."""
    model = load_model(lora.parent / "base")
    parts = load_file(lora / "adapter_model.safetensors")
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, a in parts.items():
            if "lora_A" in name:
                plain = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
                weights[plain] += 12 / 4 * parts[name.replace("lora_A", "lora_B")] @ a
    return model


def test_an_adapter_is_merged_into_its_base(lora):
    merged = load_model(lora)

    torch.testing.assert_close(logits(merged), logits(by_hand(lora)), rtol=1e-5, atol=1e-5)
    assert (logits(merged) - logits(load_model(lora.parent / "base"))).abs().max() > 0.1
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_over_packed_weights_it_stays_beside_them(lora, monkeypatch):
    """A sum would be rounded to what the packing holds."""
    import ropewalk.models.load as loading

    real = loading.with_adapter
    monkeypatch.setattr(loading, "with_adapter", lambda base, adapter: real(_packed(base), adapter))
    attached = load_model(lora)

    assert [name for name, _ in attached.named_parameters() if "lora" in name]
    torch.testing.assert_close(logits(attached), logits(by_hand(lora)), rtol=1e-4, atol=1e-4)


def _packed(base):
    base.is_quantized = True
    return base


def test_verbs_read_its_base_and_say_so(lora, tmp_path):
    spec = ropewalk.read(lora)
    assert spec.rope("all") == ropewalk.read("ropewalk-tiny").rope("all")
    assert spec.warnings[-1] == (
        f"lora is an adapter for {lora / '../base'}: window and rotation are those of that base. Under which rotation it was "
        "trained, it does not say."
    )
    assert ropewalk.doctor(lora).findings == ()
    assert Source(lora).loading == f"loading {lora / '../base'}, and the adapter lora into it"
    assert ropewalk.explore(lora, tmp_path / "page.html").model["max_length"] == 512
    assert load_tokenizer(lora).get_vocab() == load_tokenizer("ropewalk-tiny").get_vocab()


def test_text_is_written_with_it(lora):
    ids = load_tokenizer("ropewalk-tiny")("def add(", return_tensors="pt")["input_ids"]
    wanted = by_hand(lora).generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert ropewalk.generate(lora, "def add(", max_new_tokens=8).tokens == wanted.tolist()


def test_what_was_measured_is_of_both(lora, tmp_path):
    """Another base under the same adapter is another model."""
    copied = tmp_path / "moved"
    shutil.copytree(lora.parent, copied)
    assert Source(copied / "lora").fingerprint() == Source(lora).fingerprint()
    (copied / "base" / "config.json").write_text((copied / "base" / "config.json").read_text() + " ")
    assert Source(copied / "lora").fingerprint() != Source(lora).fingerprint()


def changed(lora, folder, **keys):
    shutil.copytree(lora, folder)
    said = json.loads((folder / "adapter_config.json").read_text())
    said |= {"base_model_name_or_path": str(lora.parent / "base"), **keys}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


def hub_of(lora, cache, monkeypatch):
    """huggingface_hub with owner/lora on it, which is an adapter; what was fetched lies in `cache`, as in its snapshots."""

    def one(model, name, **_):
        if model != "owner/lora" or not (lora / name).is_file():
            raise huggingface_hub.errors.EntryNotFoundError(name)
        cache.mkdir(exist_ok=True)
        return shutil.copy(lora / name, cache / name)

    def whole(model, **_):
        for path in lora.glob("adapter*"):
            one(model, path.name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", one)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", whole)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda model: [])


def test_an_adapter_of_a_hub(lora, tmp_path, monkeypatch):
    """Named by its id it is the same model as its folder, and of a plan no weights are fetched."""
    hub_of(changed(lora, tmp_path / "there"), cache := tmp_path / "0123abcd", monkeypatch)
    spec = ropewalk.read("owner/lora")
    assert spec.rope("all") == ropewalk.read(lora).rope("all")
    assert spec.warnings[-1].startswith(f"owner/lora is an adapter for {lora.parent / 'base'}: window and rotation")
    assert ropewalk.doctor("owner/lora").findings == ()
    assert [path.name for path in cache.iterdir()] == ["adapter_config.json"]

    assert load_tokenizer("owner/lora").get_vocab() == load_tokenizer("ropewalk-tiny").get_vocab()
    assert torch.equal(logits(load_model("owner/lora")), logits(load_model(lora)))
    assert Source("owner/lora").fingerprint() == Source(tmp_path / "there").fingerprint()
    with pytest.raises(BadConfig, match="owner/other is not a folder here and could not be fetched"):
        ropewalk.read("owner/other")


def test_the_base_install_reads_an_adapter_of_a_hub(lora, tmp_path, online, serve_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    asked = serve_hub(Hub(changed(lora, tmp_path / "there"))).asked
    assert ropewalk.read("owner/name").rope("all") == ropewalk.read(lora).rope("all")
    assert [path.rpartition("/")[2] for path, *_ in asked] == ["config.json", "adapter_config.json"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"base_model_name_or_path": "./nowhere"}, r"it is an adapter for ./nowhere(.|\n)*was looked for: ./nowhere: no such"),
        ({"base_model_name_or_path": None}, "does not say which model it was trained on"),
        ({"peft_type": "PROMPT_TUNING"}, "an adapter of type PROMPT_TUNING; LoRA alone"),
        ({"r": 2}, "does not fit"),
        ({"target_modules": ["no_such_proj"]}, "does not fit"),
        ({"target_modules": ["q_proj", "up_proj", "down_proj"]}, "does not fit(.|\n)*missing adapter keys"),
        ({"target_modules": ["q_proj"]}, r"no place for .*down_proj"),
    ],
)
def test_an_adapter_that_cannot_be_laid_over(lora, tmp_path, keys, words):
    with pytest.raises(BadConfig, match=words):
        load_model(changed(lora, tmp_path / "x", **keys))


def test_an_adapter_in_a_pickle_or_over_another(lora, tmp_path):
    (pickled := changed(lora, tmp_path / "x") / "adapter_model.safetensors").rename(pickled.with_suffix(".bin"))
    with pytest.raises(BadConfig, match=r"has no adapter_model\.safetensors\. A pickle"):
        load_model(tmp_path / "x")
    with pytest.raises(BadConfig, match="which is an adapter too"):
        load_model(changed(lora, tmp_path / "y", base_model_name_or_path=str(lora)))


def test_a_checkpoint_is_not_written_from_an_adapter_alone(lora, tmp_path):
    with pytest.raises(BadConfig, match=r"it is an adapter for(.|\n)*merge it into a folder(.|\n)*merge_and_unload"):
        ropewalk.extend(lora, "yarn", tmp_path / "out", factor=4)


# --- shards and pickles


def test_shards(tmp_path):
    whole = load_model("ropewalk-tiny")
    whole.save_pretrained(tmp_path / "shards", max_shard_size="4MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint("ropewalk-tiny") / name, tmp_path / "shards")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    assert torch.equal(logits(load_model(tmp_path / "shards")), logits(whole))

    made = ropewalk.extend(tmp_path / "shards", "yarn", tmp_path / "out", factor=4)
    assert sorted(p.name for p in made.out.glob("*.safetensors")) == [p.name for p in shards]
    assert logits(load_model(made.out)).isfinite().all()
    shards[1].unlink()
    with pytest.raises(BadConfig, match=rf"names {shards[1].name}, which is not there: the download is incomplete"):
        load_model(tmp_path / "shards")


def test_pickles_are_not_opened_and_the_command_converts_them(tmp_path):
    """The command is run as it is printed, in a fresh process."""
    folder = tiny(tmp_path / "old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadConfig, match=r"It has pytorch_model\.bin, a pickle, which can run code when opened") as refusal:
        load_model(folder)

    command = shlex.split(str(refusal.value).splitlines()[-1])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    assert torch.equal(logits(load_model(f"{folder}-safetensors")), logits(load_model("ropewalk-tiny")))
    assert load_tokenizer(f"{folder}-safetensors").get_vocab() == load_tokenizer("ropewalk-tiny").get_vocab()


# --- packed weights


def test_fp8_blocks_are_unpacked_where_there_is_no_gpu(tmp_path):
    """DeepSeek's format, in blocks that divide this model's shapes. Expected: w * scale for each block (DeepSeek-V3,
    inference/kernel.py, weight_dequant)."""
    packed = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [16, 16]}
    folder, plain = tiny(tmp_path / "fp8", quantization_config=packed), tiny(tmp_path / "plain")
    weights = load_file(folder / "model.safetensors")
    unpacked = dict(weights)
    for name, w in list(weights.items()):
        if "_proj" in name:
            scale = 2.0 ** torch.randint(-10, -5, (w.shape[0] // 16, w.shape[1] // 16))  # so that no rounding is in the way
            spread = scale.repeat_interleave(16, 0).repeat_interleave(16, 1)
            weights[name] = (w / spread).clamp(-448, 448).to(torch.float8_e4m3fn)
            weights[f"{name}_scale_inv"] = scale
            unpacked[name] = weights[name].float() * spread
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    save_file(unpacked, plain / "model.safetensors", {"format": "pt"})

    assert torch.equal(logits(load_model(folder)), logits(load_model(plain)))


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", "mxfp4", "modelopt"])
def test_verbs_that_read_configs_do_not_mind_how_weights_are_packed(tmp_path, method):
    folder = tiny(tmp_path / "q", quantization_config={"quant_method": method, "bits": 4})
    plan = ropewalk.plan(folder, factor=4)
    made = ropewalk.extend(folder, plan, tmp_path / "out")

    assert made.config["quantization_config"] == {"quant_method": method, "bits": 4}
    assert ropewalk.doctor(folder).findings == ()
    assert ropewalk.export(folder, plan, tmp_path / "all", engines="vllm,sglang").out.is_dir()


def test_a_part_of_a_config_says_how_it_is_packed(tmp_path):
    """Of a model that also sees pictures, text_config may hold it (Kimi-K2.5)."""
    folder = tiny(tmp_path / "q")
    config = json.loads((folder / "config.json").read_text())
    nested = {"model_type": "llava", "text_config": {**config, "quantization_config": {"quant_method": "no-such-way"}}}
    (folder / "config.json").write_text(json.dumps(nested))
    with pytest.raises(BadConfig, match="quantised by 'no-such-way'"):
        load_model(folder)


# --- code of their own


def test_code_of_a_known_type_is_never_run(tmp_path):
    """transformers has the type: its own class is taken, whatever auto_map says."""
    own = {"AutoConfig": "configuration.X", "AutoModelForCausalLM": "modeling.X"}
    folder = tiny(tmp_path / "own", auto_map=own)
    for name in ("configuration", "modeling", "tokenization"):
        (folder / f"{name}.py").write_text("raise SystemExit('it ran')")
    assert torch.equal(logits(load_model(folder)), logits(load_model("ropewalk-tiny")))

    said = json.loads((folder / "tokenizer_config.json").read_text())
    said |= {"auto_map": {"AutoTokenizer": ["tokenization.X", None]}, "tokenizer_class": "X"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadConfig, match=r"the tokenizer of .* cannot be loaded"):
        load_tokenizer(folder)


def test_a_tokenizer_without_a_window_of_its_own(tmp_path):
    """model_max_length of 1e30: transformers' word for none."""
    folder = tiny(tmp_path / "x")
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, "model_max_length": 1000000000000000019884624838656}))
    made = ropewalk.extend(folder, "yarn", tmp_path / "out", factor=4)

    assert json.loads((made.out / "tokenizer_config.json").read_text())["model_max_length"] == 1000000000000000019884624838656
    assert re.fullmatch(r".+", ropewalk.generate(folder, "def add(", max_new_tokens=3).text, re.DOTALL)
    assert Path(made.out).is_dir()
