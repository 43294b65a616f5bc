"""The header of GGUF files written here by hand, and of files that lie."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.engines.engine import get_engine, rotation
from ropewalk.engines.gguf import keys_of
from ropewalk.engines.gguf_file import read_header
from ropewalk.errors import BadConfig, RopewalkError
from support.gguf_writer import QWEN3, gguf


def written(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    return path


def test_keys_and_the_rope_factors_are_read(tmp_path):
    factors = [1 + i / 8 for i in range(64)]  # exact in float32
    header = read_header(written(tmp_path, gguf(QWEN3, {"a": [0.5] * 5, "rope_freqs.weight": factors, "z": [1.0]})))

    assert header["rope_freqs.weight"] == factors
    assert {key: header[key] for key in QWEN3} == {**QWEN3, "tokenizer.ggml.scores": [0.0, 1.0]}
    assert read_header(written(tmp_path, gguf(QWEN3, version=2))) == QWEN3


def test_rope_factors_divide_the_frequencies(tmp_path):
    keys = {**QWEN3, "qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.attn_factor": 1.25}
    found = keys_of(read_header(written(tmp_path, gguf(keys, {"rope_freqs.weight": [2.0] * 64}))))

    assert found.scaled().inv_freq[0] == 0.5
    assert found.scaled().attention_factor == 1.25


def test_long_arrays_are_passed_over(tmp_path):
    keys = {**QWEN3, "tokenizer.ggml.scores": [0.0] * 5000, "last": 7}
    header = read_header(written(tmp_path, gguf(keys)))

    assert (header["tokenizer.ggml.scores"], header["last"]) == ([], 7)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it ends before its header does"),
        (b"GGUX" + bytes(20), "it does not start with GGUF"),
        (gguf(QWEN3, version=1), "its version is 1"),
        (gguf(QWEN3)[:100], "it ends before its header does"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "it claims 0 tensors and"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**60), "a name of"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 99), "value type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 6, 2**60), "it ends"),
        (gguf(QWEN3, {"rope_freqs.weight": [1.0] * 64})[:-200], "it ends before"),
    ],
    ids=str,
)
def test_files_that_lie_are_refused(tmp_path, data, words):
    with pytest.raises(BadConfig, match=words):
        read_header(written(tmp_path, data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_make_it_fall_over(tmp_path_factory, data):
    good = bytearray(gguf(QWEN3, {"rope_freqs.weight": [1.0] * 64}))
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x.gguf"
    path.write_bytes(good[: data.draw(st.integers(0, len(good)))])
    with contextlib.suppress(BadConfig):
        assert isinstance(read_header(path), dict)


values = (
    st.none() | st.booleans() | st.integers(-3, 2**41) | st.floats() | st.text(max_size=5) | st.lists(st.floats(), max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(key for key in QWEN3 if key.startswith("qwen3"))), values), values)
def test_no_keys_make_the_reader_fall_over(odd, factors):
    with contextlib.suppress(RopewalkError):
        keys = keys_of({**QWEN3, "rope_freqs.weight": factors, **odd})
        for name in ("llama_cpp", "ollama"):
            assert all(loss.said for loss in rotation(get_engine(name), keys).losses)
