"""What is kept of a GGUF: by hash, whole or not at all, within a limit."""

import multiprocessing
import os
import time

import pytest
import torch

from ropewalk.errors import BadConfig, BadOption
from ropewalk.models.from_gguf import checkpoint, store
from ropewalk.models.from_gguf.checkpoint import WEIGHTS, folder_of
from ropewalk.models.load import load_model
from support.gguf_shapes import random_model, write_shape
from support.watching import Watching

NAME = "model.norm.weight"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_made", {})
    return tmp_path / "cache" / "ropewalk" / "gguf"


@pytest.fixture(scope="module")
def models():
    return [random_model("llama", seed) for seed in range(3)]


@pytest.fixture
def files(models, tmp_path):
    return [write_shape(tmp_path / f"{number}.gguf", "llama", model) for number, model in enumerate(models)]


def folders(cache):
    return sorted(path for path in cache.glob("*") if path.is_dir())


@pytest.fixture
def counted(monkeypatch):
    """How often weights are written."""
    found = []
    write = checkpoint.write_weights
    monkeypatch.setattr(checkpoint, "write_weights", lambda *args: found.append(args[1]) or write(*args))
    return found


def test_it_is_made_once_by_content_and_dtype(files, cache, counted, tmp_path):
    first = folder_of(files[0])
    assert folder_of(files[0]) == first
    assert counted == ["float32"]
    copy = tmp_path / "another name.gguf"
    copy.write_bytes(files[0].read_bytes())
    assert folder_of(copy) == first
    assert folder_of(files[0], "bfloat16") != first
    assert folder_of(files[1]) != first
    assert counted == ["float32", "bfloat16", "float32"]


def test_what_was_changed_is_made_anew(files, cache, counted, models):
    folder = folder_of(files[0])
    weights = folder / WEIGHTS
    raw = bytearray(weights.read_bytes())
    raw[-2] ^= 0x40
    weights.write_bytes(raw)
    assert torch.equal(load_model(files[0]).state_dict()[NAME], models[0].state_dict()[NAME])
    (folder / "config.json").unlink()
    load_model(files[0])
    assert counted == ["float32"] * 3


def test_another_file_under_the_same_name_is_another_model(files, cache, models):
    load_model(files[0])
    os.replace(files[1], files[0])
    assert torch.equal(load_model(files[0]).state_dict()[NAME], models[1].state_dict()[NAME])


def test_other_code_makes_another(files, cache, monkeypatch):
    first = folder_of(files[0])
    monkeypatch.setattr(store, "_code", lambda: "other")
    assert folder_of(files[0]) != first


def test_a_failure_leaves_nothing(files, cache, monkeypatch):
    def failing(*args):
        args[2].write(b"some")
        raise BadConfig("no")

    monkeypatch.setattr(checkpoint, "write_weights", failing)
    with pytest.raises(BadConfig):
        folder_of(files[0])
    assert not folders(cache)


def test_the_longest_unused_goes_first_and_nothing_of_the_last_hour(files, cache, monkeypatch):
    size = store.size_of(folder_of(files[0]))
    monkeypatch.setenv(store.VARIABLE, f"{2.4 * (size + checkpoint.SMALL) / 1e6:.2f}MB")
    made = [folder_of(file) for file in files[:2]]
    assert folder_of(files[2]) in folders(cache)
    assert len(folders(cache)) == 3  # all were used within the hour
    for folder, hours in zip(made, (3, 2), strict=True):
        then = time.time() - 3600 * hours
        os.utime(folder / store.MADE, (then, then))
    folder_of(files[0])  # is used now, and so the other goes
    folder_of(files[0], "bfloat16")
    assert made[0] in folders(cache)
    assert made[1] not in folders(cache)


@pytest.mark.parametrize("said", ["off", "0", "1MB"])
def test_nothing_is_kept_beyond_the_process(said, files, cache, counted, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, said)
    first = folder_of(files[0])
    assert folder_of(files[0]) == first  # and it is made once in it
    assert len(counted) == 1
    assert not folders(cache)


def test_a_limit_that_is_none_is_refused(files, cache, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "much")
    with pytest.raises(BadOption, match=r"ROPEWALK_GGUF_CACHE is 'much'; it must be off, or a size such as 100GB"):
        folder_of(files[0])


@pytest.mark.parametrize(("said", "size"), [("", 40e9), ("100GB", 100e9), ("1.5 tb", 1.5e12), ("2GiB", 2**31), ("no", 0)])
def test_limits(said, size, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, said)
    assert store.limit() == size


def _made_by_another(file, cache, told):
    os.environ["XDG_CACHE_HOME"] = cache
    write = checkpoint.write_weights

    def slow(*args):
        told.put("made")
        time.sleep(0.5)
        return write(*args)

    checkpoint.write_weights = slow
    told.put(str(folder_of(file)))


def test_several_processes_make_one(files, cache, tmp_path):
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    workers = [context.Process(target=_made_by_another, args=(files[0], str(tmp_path / "cache"), told)) for _ in range(3)]
    for worker in workers:
        worker.start()
    heard = [told.get(timeout=120) for _ in range(4)]
    for worker in workers:
        worker.join(timeout=30)
    assert heard.count("made") == 1
    assert len(set(heard)) == 2


def test_progress_counts_every_number(files, cache, models):
    watch = Watching()
    folder_of(files[0], progress=watch)
    assert watch.what == "dequantising 0.gguf to float32 (7.8 MiB)"
    assert watch.done == watch.total == sum(weight.numel() for weight in models[0].state_dict().values())
