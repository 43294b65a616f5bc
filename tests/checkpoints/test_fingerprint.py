"""What tells models apart: one value in the middle of a file, at the same size; and what is not read again."""

import hashlib
import os
import shutil
import time

import pytest
from safetensors.torch import load_file, save_file

from ropewalk.checkpoints import fingerprint
from ropewalk.checkpoints.fingerprint import measured_by, model_fingerprint
from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """Every test has a memory of its own; no file is too small for it, nor too young."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "LARGE", 0)
    monkeypatch.setattr(fingerprint, "SETTLED", 0)


@pytest.fixture
def model(tmp_path):
    shutil.copytree(bundled_model(), tmp_path / "model")
    return tmp_path / "model"


def change_one_value(folder):
    """One value of one tensor in the middle of the file; its size and all other bytes stay."""
    path = folder / WEIGHTS
    before = path.read_bytes()
    tensors = load_file(path)
    name = "model.layers.3.mlp.down_proj.weight"
    tensors[name][5, 7] += 0.5
    save_file(tensors, path, {"format": "pt"})
    after = path.read_bytes()
    assert len(after) == len(before)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert 2**20 < min(changed) <= max(changed) < len(before) - 2**20


def test_one_value_of_one_tensor_makes_another_model(model):
    before = model_fingerprint(model)
    change_one_value(model)
    assert model_fingerprint(model) != before


def test_one_byte_changed_in_place_with_its_time_put_back_is_seen(model):
    path = model / WEIGHTS
    before, times = model_fingerprint(model), path.stat()
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        times.st_size, times.st_mtime_ns, times.st_ino,
    )  # fmt: skip
    assert model_fingerprint(model) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("config.json", '"rms_norm_eps": 1e-0', '"rms_norm_eps": 2e-0'),
        ("tokenizer.json", '"id": 0', '"id": 1'),
        ("tokenizer_config.json", "{", "{ "),
        ("generation_config.json", "{", "{ "),
    ],
)
def test_config_and_tokenizer_count(model, name, old, new):
    before = model_fingerprint(model)
    text = (model / name).read_text()
    assert old in text
    (model / name).write_text(text.replace(old, new, 1))
    assert model_fingerprint(model) != before


@pytest.mark.parametrize("name", ["model-2.safetensors", "model.safetensors.index.json", "adapter_config.json", "merges.txt"])
def test_a_file_more_that_a_loader_looks_for_counts(model, name):
    before = model_fingerprint(model)
    (model / name).write_text("{}")
    assert model_fingerprint(model) != before


def test_a_plan_a_card_or_a_log_beside_the_weights_does_not_count(model):
    before = model_fingerprint(model)
    for name in ("plan.json", "README.md", "train.jsonl"):
        (model / name).write_text("{}")
    assert model_fingerprint(model) == before


def test_where_the_folder_is_does_not_count(model, tmp_path):
    shutil.copytree(model, tmp_path / "elsewhere")
    assert model_fingerprint(tmp_path / "elsewhere") == model_fingerprint(model)


def test_it_is_the_hash_of_names_and_contents(model):
    """By hand, from every byte of every file: nothing is sampled."""
    names = [WEIGHTS, "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    told = ", ".join(f'["{n}", "{hashlib.sha256((model / n).read_bytes()).hexdigest()}"]' for n in sorted(names))
    assert model_fingerprint(model) == hashlib.sha256(f"[{told}]".encode()).hexdigest()[:16]


def test_what_has_not_changed_is_not_read_again(model, monkeypatch):
    first = model_fingerprint(model)
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: pytest.fail("nothing changed"))
    assert model_fingerprint(model) == first


def test_a_file_changed_just_now_is_read_again_the_next_time(model, monkeypatch):
    """Two changes within one tick of the clock have the same times; so what is young is not remembered."""
    monkeypatch.setattr(fingerprint, "SETTLED", 10**15)
    first, reads, digest = model_fingerprint(model), [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a))
    assert model_fingerprint(model) == first
    assert len(reads) == 5


@pytest.mark.parametrize("spoil", ["garbage", "[]", "{}", "null"])
def test_a_spoilt_memory_is_no_memory(model, tmp_path, spoil):
    first = model_fingerprint(model)
    for path in (tmp_path / "cache").rglob("*.json"):
        path.write_text(spoil)
    assert model_fingerprint(model) == first


def test_no_place_to_remember_is_no_fault(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert model_fingerprint(model)


def test_a_long_reading_is_announced(model, monkeypatch):
    monkeypatch.setattr(fingerprint, "TOLD", 2**20)
    said = []
    model_fingerprint(model, said.append)
    model_fingerprint(model, said.append)
    assert len(said) == 1
    assert said[0].startswith("reading 0.0 GB once")


@pytest.mark.parametrize("name", ["ropewalk", "torch", "transformers", "code"])
def test_the_code_that_measures_counts(monkeypatch, name):
    before = measured_by("aaaa")
    assert measured_by("bbbb") != before
    monkeypatch.setattr(fingerprint, "versions", lambda: {**VERSIONS, name: "another"})
    assert measured_by("aaaa") != before


VERSIONS = fingerprint.versions()


def test_an_evaluation_does_not_take_up_the_records_of_other_weights(model, tmp_path):
    """The model's folder is the same, its files' sizes too; one value is not."""
    request = EvalRequest(
        str(model), methods=("none",), lengths=(128,), documents=2, tasks=(), tax=False, speed=False, device="cpu"
    )  # fmt: skip
    first = evaluate(tmp_path / "run", request)
    assert (first.found, len(first.records)) == (0, 2)
    time.sleep(0.01)
    change_one_value(model)
    with pytest.raises(BadConfig, match=r"holds another run; what differs:\n(.*\n)*  checkpoint: "):
        evaluate(tmp_path / "run", request)
    (tmp_path / "run" / "run.json").unlink()  # nor where nothing says which run it was
    with pytest.raises(BadConfig, match="holds records of a model with the fingerprint"):
        evaluate(tmp_path / "run", request)
    other = evaluate(tmp_path / "other", request)
    assert {r.key.name for r in other.records}.isdisjoint(r.key.name for r in first.records)
    assert sum(r.nll.sum() for r in other.records) != pytest.approx(sum(r.nll.sum() for r in first.records), abs=1e-4)
