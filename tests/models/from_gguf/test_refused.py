"""GGUFs whose weights are not read: said before anything is made, with the way out."""

import gguf
import numpy as np
import pytest
import torch

import ropewalk
from ropewalk.errors import BadConfig, BadOption, CannotWrite, OutOfMemory
from ropewalk.models.from_gguf import store
from ropewalk.models.load import load_model
from support import gguf_writer
from support.gguf_shapes import SHAPES, random_model, write_shape


@pytest.fixture(scope="module")
def model():
    return random_model("llama")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ropewalk" / "gguf"


def made(cache):
    return [path for path in cache.glob("*") if path.is_dir()]


def test_an_architecture_is_refused_with_those_that_are_read(tmp_path, cache):
    path = tmp_path / "x.gguf"
    path.write_bytes(
        gguf_writer.gguf({"general.architecture": "falcon", "falcon.context_length": 64, "falcon.rope.dimension_count": 8})
    )
    assert ropewalk.read(path).max_length == 64  # its header is read all the same
    with pytest.raises(BadConfig, match=r"architecture is falcon.*those of gemma3, llama, phi3, qwen2, qwen3 are"):
        load_model(path)
    assert {arch for arch, _, _ in SHAPES.values()} == {"gemma3", "llama", "phi3", "qwen2", "qwen3"}  # each is proven


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"llama.expert_count": 8}, "llama.expert_count is there"),
        ({"llama.attention.value_length": 8}, "keys have 64 channels a head and values 8"),
        ({"llama.rope.scaling.type": "never"}, "llama.cpp knows none, linear, yarn"),
    ],
)
def test_headers_that_say_more_than_is_read(keys, said, tmp_path, model, cache):
    with pytest.raises(BadConfig, match=said):
        load_model(write_shape(tmp_path / "x.gguf", "llama", model, **keys))
    assert not made(cache)


def with_tensor(path, model, name, numbers, kind=None):
    write_shape(path, "llama", model)
    old = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(path.with_name("more.gguf"), "llama")
    for key, field in old.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in old.tensors:
        if tensor.name != name:
            writer.add_tensor(tensor.name, tensor.data)
    writer.add_tensor(name, numbers, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_name("more.gguf")


def test_a_tensor_without_a_place_is_not_left_out(tmp_path, model, cache):
    path = with_tensor(tmp_path / "x.gguf", model, "blk.0.ffn_gate_inp.weight", np.zeros((4, 256), np.float32))
    with pytest.raises(BadConfig, match=r"has the tensor blk\.0\.ffn_gate_inp\.weight, and llama has no place for it"):
        load_model(path)
    assert not made(cache)


def test_numbers_that_are_not_finite_are_a_damaged_file(tmp_path, model, cache):
    path = with_tensor(tmp_path / "x.gguf", model, "output_norm.weight", np.full(256, np.nan, np.float32))
    with pytest.raises(BadConfig, match=r"output_norm\.weight holds numbers that are not finite in float32"):
        load_model(path)
    assert not made(cache)


def test_a_weight_of_another_shape_is_refused(tmp_path, model, cache):
    path = with_tensor(tmp_path / "x.gguf", model, "output_norm.weight", np.ones(128, np.float32))
    with pytest.raises(BadConfig, match=r"output_norm\.weight has shape \[128\], and by the header it must be \[256\]"):
        load_model(path)


def test_a_type_that_gguf_does_not_dequantise_is_named(tmp_path, model, cache):
    """Q1_0: 128 numbers in 18 bytes, of which gguf 0.19 knows the size alone."""
    raw = np.zeros((256, 512 // 128 * 18), np.uint8)
    path = with_tensor(tmp_path / "x.gguf", model, "blk.0.ffn_down.weight", raw, gguf.GGMLQuantizationType.Q1_0)
    with pytest.raises(BadConfig, match=r"blk\.0\.ffn_down\.weight is quantised as Q1_0, which gguf .* does not dequantise"):
        load_model(path)
    assert not made(cache)


def test_a_file_that_is_cut_off(tmp_path, model, cache):
    path = write_shape(tmp_path / "x.gguf", "llama", model)
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(BadConfig, match="lies beyond its end"):
        load_model(path)
    assert not made(cache)


def test_too_little_memory_is_said_before_anything_is_dequantised(tmp_path, model, cache, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(OutOfMemory, match=r"x\.gguf is 7\.8 MiB in float32, and 1000 B of memory are free"):
        load_model(write_shape(tmp_path / "x.gguf", "llama", model))
    assert not made(cache)


@pytest.mark.parametrize("kept", ["", "off"])
def test_no_room_is_said_before_anything_is_dequantised(kept, tmp_path, model, cache, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, kept)
    monkeypatch.setattr(store, "_made", {})  # what another test made of the same bytes
    monkeypatch.setattr(store.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        CannotWrite, match=r"has room for 1000 B, and what is made of this GGUF takes .*\n  Set XDG_CACHE_HOME"
    ):
        load_model(write_shape(tmp_path / "x.gguf", "llama", model))
    assert not made(cache)


def test_two_models_in_a_folder_are_listed(tmp_path, model):
    for name in ("a.gguf", "b.gguf", "mmproj-b.gguf"):
        write_shape(tmp_path / name, "llama", model)
    with pytest.raises(BadOption, match=r"holds 2 models: name one of them\.\n  a\.gguf\n  b\.gguf$"):
        load_model(tmp_path)
    (tmp_path / "a.gguf").unlink()
    assert torch.equal(load_model(tmp_path).state_dict()["model.norm.weight"], model.state_dict()["model.norm.weight"])
