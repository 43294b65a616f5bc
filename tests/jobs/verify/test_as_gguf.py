"""The GGUF for llama.cpp: read back by the gguf package, beside a layout written a second time."""

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import CannotExpress
from ropewalk.jobs.verify import as_gguf
from ropewalk.jobs.verify.as_gguf import write_gguf
from ropewalk.jobs.verify.subject import gguf_keys, of_gguf
from ropewalk.scaling.plan import make_plan
from support import gguf_files
from support.verifying import small


def written(folder, out, method="yarn", factor=8, **options):
    config = read_config(folder)
    plan = make_plan(read(config), factor=factor, method=method, options=options)
    return plan, write_gguf(folder, config, gguf_keys(plan, config), out)


def floats(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def test_a_llama_is_laid_out_as_the_converter_does_it(tmp_path):
    """gguf_files.bundled is that layout from the tests' side, in Q8_0: off by half of 1/127 of a block's largest number, which
    is itself a float16."""
    _, path = written(bundled_model(), tmp_path / "x.gguf")
    ours, theirs = floats(path), floats(gguf_files.bundled(tmp_path / "y.gguf"))

    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == np.float32
        assert np.abs(tensor - theirs[name]).max() <= np.abs(tensor).max() * (1 / 254 + 2**-11), name


def test_keys_are_those_of_the_dialect_and_of_the_model(tmp_path):
    _, path = written(bundled_model(), tmp_path / "x.gguf")
    keys = {name: value for name, (_, value) in gguf_files.contents(path)[0].items()}

    assert keys["llama.rope.scaling.type"] == "yarn"
    assert (keys["llama.rope.scaling.factor"], keys["llama.rope.scaling.original_context_length"]) == (8.0, 512)
    assert (keys["llama.context_length"], keys["llama.vocab_size"]) == (4096, 1024)
    assert (keys["llama.attention.head_count"], keys["llama.attention.head_count_kv"]) == (4, 2)
    assert (keys["llama.block_count"], keys["llama.feed_forward_length"], keys["llama.embedding_length"]) == (6, 704, 256)
    assert keys["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert keys["llama.rope.dimension_count"] == keys["llama.attention.key_length"] == 64


def test_a_list_of_factors_becomes_a_tensor(tmp_path):
    """Base frequency over the wanted one, pair by pair: what ggml divides by."""
    plan, path = written(bundled_model(), tmp_path / "x.gguf", "yarn", beta_fast=8.0)
    stretch = plan.stretches[0][1]
    wanted = np.array(stretch.rope.inv_freq) / np.array(stretch.scaled().inv_freq)
    assert floats(path)["rope_freqs.weight"] == pytest.approx(wanted, rel=1e-6)


def test_qwen_is_not_permuted_and_keeps_its_biases(tmp_path):
    folder = small(tmp_path / "model", "qwen2")
    _, path = written(folder, tmp_path / "x.gguf")
    ours, weights = floats(path), load_file(folder / "model.safetensors")

    assert np.array_equal(ours["blk.1.attn_q.weight"], weights["model.layers.1.self_attn.q_proj.weight"].numpy())
    assert np.array_equal(ours["blk.1.attn_k.bias"], weights["model.layers.1.self_attn.k_proj.bias"].numpy())


def test_heads_are_interleaved_one_by_one():
    """Two heads of four channels: 0 1 | 2 3 of each becomes 0 2 1 3."""
    rows = torch.arange(8.0)[:, None]
    assert as_gguf._interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize(("family", "words"), [("olmo", "the tensors of olmo are not laid out"), ("gemma3_text", "every 6th")])
def test_what_cannot_be_laid_out_is_refused(tmp_path, family, words):
    folder = small(tmp_path / "model", family)
    config = read_config(folder)
    keys = {"general.architecture": {"gemma3_text": "gemma3"}.get(family, family)}
    with pytest.raises(CannotExpress, match=words):
        write_gguf(folder, config, keys, tmp_path / "x.gguf")


@pytest.mark.parametrize("cuts", [(), (9, 30)])
def test_parts_and_quantised_weights_are_verified_as_one_file_in_float32(tmp_path, cuts):
    """Expected: the gguf package's own numbers of the file before it was cut."""
    source = gguf_files.bundled(tmp_path / "q8.gguf")
    config = read_config(bundled_model())
    plan = make_plan(read(config), factor=8, method="llama3")
    whole = stretch_gguf(open_gguf(source), plan, tmp_path / "x.gguf").out
    (place := tmp_path / "place").mkdir()

    first = gguf_files.in_parts(source, tmp_path / "y", cuts)[0] if cuts else source
    subject = of_gguf(stretch_gguf(open_gguf(first), plan, tmp_path / "z.gguf").out, place)
    assert (subject.vocabulary, subject.plan.stretches) == (config["vocab_size"], plan.stretches)
    for name, origin in (("stretched.gguf", whole), ("plain.gguf", source)):
        found, wanted = floats(place / name), floats(origin)
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(numbers, wanted[name]) for name, numbers in found.items())
    keys = gguf_files.contents(place / "stretched.gguf")[0]
    assert keys == {n: v for n, v in gguf_files.contents(whole)[0].items() if not n.startswith("ropewalk.")}
