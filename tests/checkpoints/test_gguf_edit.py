"""What a stretch writes into a document, and the way back, on documents of a few bytes."""

import dataclasses
import struct

import pytest

from ropewalk.checkpoints import gguf_edit as edit
from ropewalk.engines.gguf_file import ByteSpan, read
from ropewalk.errors import BadConfig, CannotExpress
from support.gguf_writer import QWEN3, gguf

YARN = {"qwen3.context_length": 65_536, "qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 2.0}


def document(tmp_path, keys, tensors=None):
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf(keys, tensors))
    return read(path)


def test_old_keys_keep_their_place_and_their_bytes_under_another_name(tmp_path):
    source = document(tmp_path, {**QWEN3, "qwen3.rope.scale_linear": 2.0, "last": 1})
    found = edit.stretched(source, "qwen3", YARN, [], "plan")

    names = [name for name, _ in found.keys]
    assert names[: len(source.keys)] == [
        f"ropewalk.original.{name}"
        if name in ("qwen3.context_length", "qwen3.rope.scaling.factor", "qwen3.rope.scaling.original_context_length",
                    "qwen3.rope.scale_linear") else name
        for name, _ in source.keys
    ]  # fmt: skip
    assert [raw for _, raw in found.keys[: len(source.keys)]] == [raw for _, raw in source.keys]
    assert [found.value(name) for name in YARN] == list(YARN.values())
    assert found.value("qwen3.rope.scaling.original_context_length") is None
    assert edit.original(found) == source


def test_a_key_that_says_the_same_already_is_left_alone(tmp_path):
    source = document(tmp_path, QWEN3)
    found = edit.stretched(source, "qwen3", {"qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 4.0}, [], "")

    names = [name for name, _ in found.keys]
    assert names.count("qwen3.rope.scaling.factor") == 1
    assert "ropewalk.original.qwen3.rope.scaling.factor" not in names
    assert edit.original(found) == source


def test_a_new_tensor_stands_behind_all_others(tmp_path):
    source = document(tmp_path, QWEN3, {"a": [1.0] * 9, "b": [2.0] * 3})
    found = edit.stretched(source, "qwen3", YARN, [2.0, 4.0], "")

    # a: 36 bytes and 28 of padding; b: 12 and 20; so the third starts at 96
    assert found.tensors == (*source.tensors, edit.Tensor("rope_freqs.weight", (2,), 0, 96))
    assert found.data == (*source.data, struct.pack("<2f", 2, 4) + bytes(24))
    assert edit.original(found) == source


def test_the_padding_that_the_last_tensor_lacks_is_added_before_a_new_one(tmp_path):
    source = document(tmp_path, QWEN3, {"a": [1.0] * 9})
    (span,) = source.data
    short = dataclasses.replace(source, data=(ByteSpan(span.start, span.end - 28),))
    found = edit.stretched(short, "qwen3", YARN, [2.0, 4.0], "")

    assert found.data[1] == bytes(28) + struct.pack("<2f", 2, 4) + bytes(24)
    assert edit.original(found) == short


def test_bytes_after_the_last_tensor_leave_no_room_for_another(tmp_path):
    source = document(tmp_path, QWEN3, {"a": [1.0] * 9})
    (span,) = source.data
    long = dataclasses.replace(source, data=(ByteSpan(span.start, span.end + 5),))

    assert edit.original(edit.stretched(long, "qwen3", YARN, [], "")) == long
    with pytest.raises(CannotExpress, match="5 bytes follow after the last tensor"):
        edit.stretched(long, "qwen3", YARN, [2.0], "")


@pytest.mark.parametrize(("factors", "now"), [([3.0, 5.0], [3.0, 5.0]), ([], [1.0, 1.0])])
def test_factors_that_are_there_are_overwritten_and_given_back(tmp_path, factors, now):
    held, path = [8.0, 0.5], tmp_path / "x.gguf"
    source = document(tmp_path, QWEN3, {"a": [1.0] * 9, "rope_freqs.weight": held, "z": [7.0]})
    found = edit.stretched(source, "qwen3", YARN, factors, "", struct.pack("<2f", *held))

    assert found.tensors == source.tensors
    assert found.data[1] == struct.pack("<2f", *now)
    assert found.value("ropewalk.original.rope_freqs.weight") == held
    back = edit.original(found)
    assert back.header() == source.header()
    raw, (span,) = path.read_bytes(), source.data
    assert b"".join(p if isinstance(p, bytes) else raw[p.start : p.end] for p in back.data) == raw[span.start :]


def test_factors_of_another_shape_are_refused(tmp_path):
    source = document(tmp_path, QWEN3, {"rope_freqs.weight": [1.0, 1.0]})
    with pytest.raises(CannotExpress, match=r"has shape \[2\] and type 0; 3 float32 are needed"):
        edit.stretched(source, "qwen3", YARN, [1.0, 2.0, 3.0], "", bytes(8))


def test_a_header_that_something_else_changed_is_not_called_the_original(tmp_path):
    found = edit.stretched(document(tmp_path, QWEN3), "qwen3", YARN, [], "")
    changed = [(name, raw if name != "general.name" else edit.packed("y")) for name, raw in found.keys]
    with pytest.raises(BadConfig, match="changed by something else after the stretch"):
        edit.original(dataclasses.replace(found, keys=tuple(changed)))
    lying = [(name, raw if name != edit.LENGTH else struct.pack("<IQ", edit.UINT64, 2**40)) for name, raw in found.keys]
    with pytest.raises(BadConfig, match="something else has rewritten them"):
        edit.original(dataclasses.replace(found, keys=tuple(lying)))


def test_pieces_are_cut_and_overlaid():
    data = (ByteSpan(100, 110), b"abcdef", ByteSpan(0, 4))
    assert edit.cut(data, 8, 12) == (ByteSpan(108, 110), b"ab")
    assert edit.cut(data, 16, 20) == (ByteSpan(0, 4),)
    assert edit.cut(data, 12, 12) == ()
    assert edit.overlaid(data, 9, b"XY") == (ByteSpan(100, 109), b"XY", b"bcdef", ByteSpan(0, 4))
