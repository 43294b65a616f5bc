"""Modelfiles, names of Ollama's own library, and files of a hub, as the doctor finds the GGUF behind them."""

import json

import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.doctor import target
from ropewalk.jobs.doctor.ollama_files import parse_modelfile
from ropewalk.jobs.doctor.static import examine
from support.gguf_writer import QWEN3, gguf

FILE = '''# mine
FROM ./x.gguf
PARAMETER temperature 0.7
parameter num_ctx 65536
PARAMETER stop "<|im_end|>"
TEMPLATE """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}FROM elsewhere"""
SYSTEM Be brief.
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "x.gguf").write_bytes(gguf(QWEN3))
    (tmp_path / "Modelfile").write_text(FILE)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return tmp_path


def stored(folder, *name):
    """A model in Ollama's folder: a manifest that names a blob."""
    manifest, digest = folder / "ollama" / "manifests" / "/".join(name), "sha256:" + "0" * 64
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest},
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    (folder / "ollama" / "blobs").mkdir()
    (folder / "ollama" / "blobs" / digest.replace(":", "-")).write_bytes(gguf(QWEN3))


def looked_at(words):
    return target.resolve(str(words), lambda name: pytest.fail(name))


def test_what_a_modelfile_says():
    found = parse_modelfile(FILE)
    assert found.source == "./x.gguf"
    assert found.parameters == {"temperature": "0.7", "num_ctx": "65536", "stop": "<|im_end|>"}
    assert found.context == 65_536
    assert found.template.startswith("{{ if .System }}<|im_start|>system\n")
    assert found.template.endswith("FROM elsewhere")


def test_factors_of_another_part_are_the_models(tmp_path):
    """llama-gguf-split --no-tensor-first-split makes such; the factors of the second were passed over without a word."""
    keys = {
        "general.architecture": "llama", "llama.context_length": 131_072, "llama.block_count": 1,
        "llama.rope.dimension_count": 128, "llama.rope.freq_base": 5e5,
    }  # fmt: skip
    factors = {"rope_freqs.weight": [1.0] * 29 + [2.0, 3.0, 4.0, 5.0, 6.0, 7.0] + [8.0] * 29}
    split = [{"split.no": number, "split.count": 2, "split.tensors.count": 1} for number in range(2)]
    whole, *parts = (tmp_path / name for name in ("x.gguf", "x-00001-of-00002.gguf", "x-00002-of-00002.gguf"))
    whole.write_bytes(gguf(keys, factors))
    parts[0].write_bytes(gguf(keys | split[0]))
    parts[1].write_bytes(gguf(split[1], factors))
    (tmp_path / "Modelfile").write_text(f"FROM ./{parts[0].name}")
    (expected,) = looked_at(whole).layers
    assert expected.said["long_factor"] == factors["rope_freqs.weight"]
    for words in (parts[0], parts[1], tmp_path / "Modelfile"):
        assert looked_at(words).layers[0].said == expected.said
    commanded = [looked_at(f"llama-server -m {one}").layers[0].said for one in (parts[0], whole)]
    assert commanded[0] == commanded[1]


def test_a_modelfile_is_the_gguf_behind_it(folder):
    found = looked_at(folder / "Modelfile")
    assert found.engines == ("ollama",)
    assert found.layers[0].longest == 131_072
    assert found.title.endswith("(FROM ./x.gguf, num_ctx 65,536)")
    (diagnosis,) = examine(found, (), None)
    assert diagnosis.rotations


def test_a_context_beyond_the_files_window_is_said_to_be_cut(folder):
    (folder / "Modelfile").write_text("FROM ./x.gguf\nPARAMETER num_ctx 1000000\n")
    assert looked_at(folder / "Modelfile").title.endswith("num_ctx 1,000,000, which Ollama cuts to 131,072)")


@pytest.mark.parametrize("words", ["ollama create mine -f FOLDER/Modelfile", "ollama create mine --file=FOLDER/Modelfile"])
def test_ollama_create_reads_it(words, folder):
    assert looked_at(words.replace("FOLDER", str(folder))).layers[0].longest == 131_072


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("ollama run qwen3", ("registry.ollama.ai", "library", "qwen3", "latest")),
        ("ollama run qwen3:8b --verbose", ("registry.ollama.ai", "library", "qwen3", "8b")),
        ("ollama run someone/qwen3:8b", ("registry.ollama.ai", "someone", "qwen3", "8b")),
    ],
)
def test_a_name_that_ollama_has_pulled(words, name, folder):
    stored(folder, *name)
    assert looked_at(words).layers[0].longest == 131_072


def test_a_modelfile_from_a_name(folder):
    stored(folder, "registry.ollama.ai", "library", "qwen3", "8b")
    (folder / "Modelfile").write_text("FROM qwen3:8b\n")
    assert looked_at(folder / "Modelfile").layers[0].longest == 131_072


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("llama-cli -hf owner/name:Q8_0 -c 9", "owner/name:Q8_0"),
        ("llama-server -hf owner/name", "owner/name:Q4_K_M"),  # common/arg.cpp: the default
        ("llama-server -hf owner/name -hff x.gguf", "owner/name:x.gguf"),
        ("ollama run hf.co/owner/name:Q8_0", "owner/name:Q8_0"),
        ("ollama run huggingface.co/owner/name", "owner/name:Q4_K_M"),
    ],
)
def test_a_file_of_a_hub_is_fetched(words, asked, folder, monkeypatch):
    known = {asked: folder / "x.gguf"}
    find = target.find_gguf
    monkeypatch.setattr(target, "find_gguf", lambda name, **how: known.get(str(name)) or find(name, **how))
    assert looked_at(words).layers[0].longest == 131_072


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PARAMETER num_ctx 9\n", "has no FROM"),
        ("FROM x.gguf\nPARAMETER num_ctx lots\n", "num_ctx is 'lots'"),
        ("FROM nowhere.gguf\n", "is FROM nowhere.gguf, which is no file beside it and not among Ollama's models here"),
        ("FRUM x.gguf\n", "'FRUM' is no instruction of a Modelfile"),
        ('FROM x.gguf\nTEMPLATE """open\n', "does not close it"),
        ("FROM ../../manifests:..\n", "which is no file beside it"),
    ],
)
def test_modelfiles_that_are_none(text, said, folder):
    (folder / "Modelfile").write_text(text)
    with pytest.raises(BadConfig) as refusal:
        looked_at(folder / "Modelfile")
    assert said in str(refusal.value)
