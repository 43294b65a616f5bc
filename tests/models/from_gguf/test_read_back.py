"""Small random models of transformers, written as GGUFs by the gguf package, and read back: config, plan, weights, logits.

llama.cpp itself is the judge in tests/with_engines/test_gguf_llama_cpp.py.
"""

import gguf
import numpy as np
import pytest
import torch

import ropewalk
from ropewalk.models.load import load_model
from support.gguf_files import in_parts
from support.gguf_shapes import SHAPES, random_model, write_shape

IDS = torch.randint(3, 512, (1, 60), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setenv("ROPEWALK_GGUF_CACHE", "off")


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, tmp_path_factory):
    """(the model, its GGUF in float32)"""
    model = random_model(request.param)
    return model, write_shape(tmp_path_factory.mktemp("shape") / "x.gguf", request.param, model)


def test_the_header_says_what_the_config_says(shape):
    model, path = shape
    found, own = ropewalk.read(path), ropewalk.read(model.config)
    assert (found.ropes, found.scaling, found.cache) == (own.ropes, own.scaling, own.cache)
    assert (found.max_length, found.sliding_layers, found.unrotated_layers) == (
        own.max_length, own.sliding_layers, own.unrotated_layers,
    )  # fmt: skip


def test_a_plan_is_the_plan_of_the_config(shape):
    model, path = shape
    method = "longrope" if model.config.model_type == "phi3" else "yarn"
    options = {"long_factor": [2.0] * (ropewalk.read(path).rope("all").rotary_dim // 2)} if method == "longrope" else None
    made = [ropewalk.plan(one, factor=16, method=method, options=options) for one in (path, model.config)]
    assert made[0].fingerprint == made[1].fingerprint


def test_weights_are_those_that_were_written(shape):
    """But for Gemma's norms, which a GGUF holds as 1 + w: off by what float32 makes of that."""
    model, path = shape
    back = load_model(path)
    for name, weight in model.state_dict().items():
        assert torch.allclose(
            back.state_dict()[name], weight, rtol=0, atol=1.2e-7 if "gemma" in model.config.model_type else 0
        )


def test_logits_are_those_of_the_model(shape):
    model, path = shape
    with torch.no_grad():
        assert torch.allclose(load_model(path)(IDS).logits, model(IDS).logits, atol=1e-4)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1", "BF16"])
def test_rows_are_put_back_after_they_are_dequantised(kind, tmp_path):
    """Rows are quantised one by one: in the order that llama.cpp has them, or in transformers', the numbers are the same."""
    model = random_model("llama")
    back = load_model(write_shape(tmp_path / "x.gguf", "llama", model, kind)).state_dict()
    wanted = gguf.GGMLQuantizationType[kind]
    for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"):
        own = model.state_dict()[f"model.layers.1.{name}.weight"].numpy()
        same = gguf.quants.dequantize(gguf.quants.quantize(own, wanted), wanted)
        assert np.array_equal(back[f"model.layers.1.{name}.weight"].numpy(), same)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_is_loaded_in_the_numbers_asked_for(dtype, tmp_path):
    model = random_model("qwen2")
    back = load_model(write_shape(tmp_path / "x.gguf", "qwen2", model), dtype=dtype)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(back.state_dict()[name], model.state_dict()[name].to(dtype))


def test_a_large_tensor_is_read_in_pieces(monkeypatch, tmp_path):
    from ropewalk.models.from_gguf import weights

    monkeypatch.setattr(weights, "PIECE", 1000)  # less than four rows of 256
    model = random_model("llama")
    back = load_model(write_shape(tmp_path / "x.gguf", "llama", model)).state_dict()
    assert all(torch.equal(back[name], weight) for name, weight in model.state_dict().items())


def test_a_stretched_gguf_is_loaded_stretched(tmp_path):
    """By `export`, and by `extend` of the same model: the second is read by transformers itself."""
    model = random_model("llama")
    path = write_shape(tmp_path / "x.gguf", "llama", model)
    done = ropewalk.export(path, "yarn", tmp_path / "y.gguf", factor=4, options={"beta_fast": 16})
    folder = ropewalk.extend(path, "yarn", tmp_path / "folder", factor=4, options={"beta_fast": 16})
    with torch.no_grad():
        ours, theirs = (load_model(one)(IDS).logits for one in (done.out, folder.out))
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, load_model(path)(IDS).logits, atol=0.1)


def test_parts_are_one_model(tmp_path):
    model = random_model("llama")
    in_parts(write_shape(tmp_path / "whole.gguf", "llama", model), tmp_path / "x", (7, 20))
    for name in ("x-00001-of-00003.gguf", "x-00003-of-00003.gguf"):
        back = load_model(tmp_path / name).state_dict()
        assert all(torch.equal(back[key], weight) for key, weight in model.state_dict().items())
    (tmp_path / "x-00002-of-00003.gguf").unlink()
    with pytest.raises(ropewalk.errors.BadConfig, match="one of 3 parts, and 1 of them are not beside it"):
        load_model(tmp_path / "x-00001-of-00003.gguf")
