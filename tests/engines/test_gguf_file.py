"""Files taken apart and put together again, against the gguf package; and files that lie."""

import struct

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.engines.gguf_file import BLOCKS, decoded, read
from ropewalk.errors import BadConfig
from support import gguf_files
from support.gguf_writer import QWEN3, text
from support.gguf_writer import gguf as written

ONE_KEY = struct.pack("<IQQ", 3, 0, 1)
ONE_TENSOR = struct.pack("<IQQ", 3, 1, 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return gguf_files.bundled(tmp_path_factory.mktemp("gguf") / "ropewalk-tiny.gguf")


def put(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    return path


def tensor(name=b"t", dimensions=1, shape=(8,), kind=0, offset=0):
    info = struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(shape)}QIQ", dimensions, *shape, kind, offset)
    return info


def padded(head, data=b""):
    return head + bytes(-len(head) % 32) + data


def test_the_sizes_of_tensor_types_are_those_of_the_gguf_package():
    assert {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()} == BLOCKS


def test_keys_and_tensors_are_those_that_the_gguf_package_reads(tiny):
    keys, tensors = gguf_files.contents(tiny)
    found, raw = read(tiny), tiny.read_bytes()

    assert {name: decoded(value) for name, value in found.keys} == {name: value for name, (_, value) in keys.items()}
    start = len(found.header())
    assert {t.name: raw[start + t.offset : start + t.offset + t.size] for t in found.tensors} == {
        name: content for name, (_, _, content) in tensors.items()
    }
    assert raw.startswith(found.header())


def test_version_2_and_other_alignments_are_read(tmp_path):
    data = written({**QWEN3, "general.alignment": 64}, version=2)
    found = read(put(tmp_path, data + bytes(-len(data) % 64)))

    assert (found.version, found.alignment, found.value("qwen3.context_length")) == (2, 64, 131_072)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "too short"),
        (b"GGUX" + bytes(40), "does not start with GGUF"),
        (written(QWEN3, version=1), "its version is 1"),
        (written(QWEN3, version=4), "its version is 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (written(QWEN3)[:100], "ends before its header"),
        (written(QWEN3, {"a": [1.0] * 40})[:-140], "a lies beyond its end"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "it claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "it claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 99_999) + bytes(60), "a name is empty"),
        (b"GGUF" + ONE_KEY + struct.pack("<Q", 2**60), "ends before its header"),
        (b"GGUF" + ONE_KEY + struct.pack("<Q", 65_536) + bytes(65_600), "longer than the format allows"),
        (b"GGUF" + ONE_KEY + text("k") + struct.pack("<I", 13), "value type 13"),
        (b"GGUF" + ONE_KEY + text("k") + struct.pack("<IIQ", 9, 9, 1), "value type 9"),
        (b"GGUF" + ONE_KEY + text("k") + struct.pack("<IIQ", 9, 8, 2**60) + bytes(80), "ends before its header"),
        (b"GGUF" + ONE_KEY + text("k") + struct.pack("<IIQ", 9, 12, 2**61) + bytes(80), "ends before its header"),
        (b"GGUF" + ONE_KEY + text("k") + struct.pack("<IIQQ", 9, 8, 2, 2**63) + bytes(80), "ends before its header"),
        (b"GGUF" + ONE_KEY + struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<II", 4, 1), "utf-8"),
        (padded(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (text("k") + struct.pack("<II", 4, 1))), "key k is there twice"),
        (padded(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + 2 * tensor(), bytes(64)), "tensor t is there twice"),
        (padded(b"GGUF" + ONE_TENSOR + tensor(dimensions=5, shape=(1,) * 5), bytes(64)), "5 dimensions"),
        (padded(b"GGUF" + ONE_TENSOR + tensor(kind=4), bytes(64)), "tensor type 4, which is not known"),
        (padded(b"GGUF" + ONE_TENSOR + tensor(offset=8), bytes(64)), "not aligned"),
        (padded(b"GGUF" + ONE_TENSOR + tensor(shape=(2**62,)), bytes(64)), "beyond its end"),
        (b"GGUF" + ONE_TENSOR + tensor() + b"\x01" * 32 + bytes(64), "not spelt as the format says"),
        (written({"general.alignment": 24}), "no power of 2"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_files_that_lie_are_refused(tmp_path, data, words):
    with pytest.raises(BadConfig, match=words):
        read(put(tmp_path, data))


def test_a_folder_and_a_file_that_is_not_there_are_errors_of_ours(tmp_path):
    for path in (tmp_path, tmp_path / "no.gguf"):
        with pytest.raises(BadConfig, match="cannot be read"):
            read(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_refused_or_survives_the_round_trip(tmp_path_factory, data):
    """Bytes are changed and the end is cut off: an error of ours, or a file whose header comes out as it is."""
    good = written(QWEN3, {"rope_freqs.weight": [1.0] * 64})
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if bad:
            bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.mktemp("damage"), bytes(bad))
    try:
        found = read(path)
    except BadConfig:
        return
    assert bytes(bad).startswith(found.header())
