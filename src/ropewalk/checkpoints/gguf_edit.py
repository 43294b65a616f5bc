"""What a stretch changes in a GGUF, and how it is undone: pure functions from Document to Document.

A key that a stretch replaces keeps its place and its bytes under another name, `ropewalk.original.NAME`; new keys follow
after all others. So the undo needs no side file that could be lost: take the new keys away, give the old ones their names
back. `ropewalk.header_sha256` says whether the header that comes out is the one that went in.
"""

import dataclasses
import errno
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from ropewalk.checkpoints.files import new_file
from ropewalk.checkpoints.hub_header import check_whole
from ropewalk.engines.gguf_file import (
    FLOAT32,
    FREQS,
    ByteSpan,
    GGUFDocument,
    Piece,
    Tensor,
    length,
    packed_text,
)
from ropewalk.engines.gguf_values import ARRAY, STRING
from ropewalk.errors import BadConfig, CannotExpress, CannotWrite
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import human_bytes

OURS, ORIGINAL = "ropewalk.", "ropewalk.original."
TENSORS = "split.tensors.count"  # of all parts, in the first; llama.cpp loads no other number
ADDED, DIGEST, LENGTH, PLAN = "ropewalk.added", "ropewalk.header_sha256", "ropewalk.data_length", "ropewalk.plan"
UINT32, FLOAT, UINT64 = 4, 6, 10


def stretched(
    source: GGUFDocument,
    arch: str,
    keys: Mapping[str, float | int | str],
    factors: Sequence[float],
    plan: str,
    old_factors: bytes = b"",
) -> GGUFDocument:
    """`source` with `keys` (their names in full) for its rotary ones, and `factors` as rope_freqs.weight, unless empty.

    Every other key of `{arch}.rope.scaling` is set aside, so that nothing of an older stretch is read.
    old_factors: what rope_freqs.weight holds in `source`, if it is there; it is overwritten, with ones where none are needed.
    """
    packed_keys = {name: packed(value) for name, value in keys.items()}
    if factors and source.tensor(FREQS) is None and (count := source.raw(TENSORS)):
        packed_keys[TENSORS] = count[:4] + (int.from_bytes(count[4:], "little") + 1).to_bytes(len(count) - 4, "little")
    gone = [name for name, raw in source.keys if _is_rope_scaling(name, arch) or name in packed_keys]
    gone = [name for name in gone if packed_keys.get(name) != source.raw(name)]
    new = {name: raw for name, raw in packed_keys.items() if source.raw(name) != raw}
    kept = tuple((ORIGINAL + name if name in gone else name, raw) for name, raw in source.keys)
    body = dataclasses.replace(source, keys=kept)
    if (held := source.tensor(FREQS)) is not None:
        body = _with_factors(body, held, factors)
        new[ORIGINAL + FREQS] = struct.pack("<IIQ", ARRAY, FLOAT, held.shape[0]) + old_factors
    elif factors:
        body = _with_tensor(body, factors)
        new[FREQS] = b""  # not a key: its name stands in the list of what was added
    added = [*new, PLAN, DIGEST, LENGTH, ADDED]
    new.pop(FREQS, None)
    new[PLAN] = packed(plan)
    new[DIGEST] = packed(hashlib.sha256(source.header()).hexdigest())
    new[LENGTH] = struct.pack("<IQ", UINT64, source.data_length)
    new[ADDED] = _packed_words(added)
    return dataclasses.replace(body, keys=(*body.keys, *new.items()))


def is_stretched(document: GGUFDocument) -> bool:
    return document.raw(ADDED) is not None


def original(document: GGUFDocument) -> GGUFDocument:
    """What `document` was before Ropewalk stretched it; itself, where it was not. BadConfig where that cannot be told."""
    if not is_stretched(document):
        return document
    added, size, digest = document.value(ADDED), document.value(LENGTH), document.value(DIGEST)
    if not isinstance(added, list) or not isinstance(size, int) or size > document.data_length:
        raise BadConfig(f"{ADDED} and {LENGTH} do not say how this file was before: something else has rewritten them.")
    keys = tuple((name.removeprefix(ORIGINAL), raw) for name, raw in document.keys if name not in added)
    tensors = tuple(tensor for tensor in document.tensors if tensor.name not in added)
    data = cut(document.data, 0, size)
    back = GGUFDocument(document.version, keys, tensors, data)
    old = document.raw(ORIGINAL + FREQS)
    if old is not None and (held := back.tensor(FREQS)) is not None:
        back = dataclasses.replace(back, data=overlaid(data, held.offset, old[16:]))
    fits = all(tensor.offset + tensor.size <= back.data_length for tensor in back.tensors)
    if not fits or hashlib.sha256(back.header()).hexdigest() != digest:
        raise BadConfig(
            "the file was changed by something else after the stretch, so it cannot be given back as it was.\n"
            "  Take the original file, or undo that other change first."
        )
    return back


def packed(value: float | int | str) -> bytes:
    """Type and value as llama.cpp asks for them: float32, uint32 or a string."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + packed_text(value)
    if isinstance(value, int) and value >= 2**32:
        raise CannotExpress(f"a GGUF counts tokens in 32 bits, and {value:,} are more. Stretch less far.")
    return struct.pack("<II", UINT32, value) if isinstance(value, int) else struct.pack("<I", FLOAT) + _floats([value])


def _packed_words(words: Sequence[str]) -> bytes:
    return struct.pack("<IIQ", ARRAY, STRING, len(words)) + b"".join(map(packed_text, words))


def _is_rope_scaling(name: str, arch: str) -> bool:
    """scale_linear is what rope.scaling.factor was called before 2024; llama.cpp still reads it."""
    return name.startswith(f"{arch}.rope.scaling.") or name == f"{arch}.rope.scale_linear"


def _with_factors(body: GGUFDocument, held: Tensor, factors: Sequence[float]) -> GGUFDocument:
    if held.kind != FLOAT32 or len(held.shape) != 1 or (factors and held.shape[0] != len(factors)):
        raise CannotExpress(f"{FREQS} has shape {list(held.shape)} and type {held.kind}; {len(factors)} float32 are needed.")
    return dataclasses.replace(body, data=overlaid(body.data, held.offset, _floats(factors or [1.0] * held.shape[0])))


def _with_tensor(body: GGUFDocument, factors: Sequence[float]) -> GGUFDocument:
    """One more tensor behind all others: no other offset changes."""
    end = max((tensor.offset + tensor.size for tensor in body.tensors), default=0)
    offset = end + -end % body.alignment
    if body.data_length > offset:
        raise CannotExpress(
            f"{body.data_length - offset:,} bytes follow after the last tensor; no other tensor may stand behind them."
        )
    data = _floats(factors)
    tail = bytes(offset - body.data_length) + data + bytes(-len(data) % body.alignment)
    tensor = Tensor(FREQS, (len(factors),), FLOAT32, offset)
    return dataclasses.replace(body, tensors=(*body.tensors, tensor), data=(*body.data, tail))


def _floats(numbers: Sequence[float]) -> bytes:
    try:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    except OverflowError:
        largest = max(numbers, key=abs)
        raise CannotExpress(f"a GGUF has these numbers in float32, and {largest:g} does not fit. Stretch less far.") from None


def cut(data: Sequence[Piece], start: int, end: int) -> tuple[Piece, ...]:
    """Bytes `start` to `end` of the pieces."""
    found: list[Piece] = []
    at = 0
    for piece in data:
        first, last = max(start - at, 0), min(end - at, length(piece))
        if first < last:
            found.append(piece[first:last] if isinstance(piece, bytes) else ByteSpan(piece.start + first, piece.start + last))
        at += length(piece)
    return tuple(found)


def overlaid(data: Sequence[Piece], offset: int, new: bytes) -> tuple[Piece, ...]:
    """The pieces with `new` in place of what was at `offset`."""
    total = sum(map(length, data))
    return (*cut(data, 0, offset), new, *cut(data, offset + len(new), total))


# Bytes at a time. The weights move by some hundred bytes; copy_file_range takes half as long again between unlike places in a
# page, and writes of a MiB and more are slow where the page cache must find large pages (ext4, Linux 6.18, measured).
CHUNK = 2**18
LOOKED_AT = 4096  # bytes at either end of each tensor
STEP = 2**26  # bytes that are told of at a time: a bar costs more than a chunk does


def write(
    document: GGUFDocument,
    source: Path,
    out: Path,
    check: Callable[[Path], None],
    *,
    force: bool = False,
    durable: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Write `document` to `out`, taking its spans from `source`; under its name only once it is whole and `check` is content.

    durable: wait until the disk has it, before it takes the name of a file that was there.
    progress: its amounts are bytes.
    """
    check_whole(source)
    pieces: tuple[Piece, ...] = (document.header(), *document.data)
    size = sum(map(length, pieces))
    progress.begin(f"copying {human_bytes(size)}", size)
    done = told = 0
    with new_file(out, force=force) as (path, stream), source.open("rb") as origin:
        _reserve(stream, size)
        for piece in pieces:
            for count in _write_piece(piece, origin, stream):
                done += count
                if done - told >= STEP or done == size:
                    progress.advance(done - told)
                    told = done
        if durable:
            os.fsync(stream.fileno())
        shutil.copymode(source, path)
        _check_data(document, origin, path)
        check(path)


def _reserve(stream: BinaryIO, size: int) -> None:
    """Ask for the room beforehand: a full disk is an error at once, and the copy is faster. Not every file system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _write_piece(piece: Piece, origin: BufferedReader, stream: BinaryIO) -> Iterator[int]:
    """Yields the bytes of each write."""
    if isinstance(piece, bytes):
        _write_all(memoryview(piece), stream)
        yield len(piece)
        return
    buffer, at = memoryview(bytearray(CHUNK)), piece.start
    while at < piece.end:
        wanted = min(CHUNK - at % CHUNK, piece.end - at)  # whole pages of the source, from the second turn on
        origin.seek(at)
        count = origin.readinto(buffer[:wanted])
        if not count:
            raise OSError("the source became shorter while it was read")
        _write_all(buffer[:count], stream)
        at += count
        yield count


def _write_all(block: memoryview, stream: BinaryIO) -> None:
    while block:
        block = block[stream.write(block) :]


def _check_data(document: GGUFDocument, origin: BinaryIO, path: Path) -> None:
    """Both ends of every tensor, read back. Where they are right, the kernel has copied what lies between."""
    start = len(document.header())
    with path.open("rb") as written:
        for tensor in document.tensors:
            end = tensor.offset + tensor.size
            for first, last in {
                (tensor.offset, min(tensor.offset + LOOKED_AT, end)),
                (max(end - LOOKED_AT, tensor.offset), end),
            }:
                written.seek(start + first)
                if written.read(last - first) != content(cut(document.data, first, last), origin):
                    raise CannotWrite(f"{tensor.name} was not written as it is. Nothing was left behind.")


def content(pieces: Sequence[Piece], origin: BinaryIO) -> bytes:
    """The bytes of pieces, from the source."""
    return b"".join(piece if isinstance(piece, bytes) else _read(piece, origin) for piece in pieces)


def _read(span: ByteSpan, origin: BinaryIO) -> bytes:
    origin.seek(span.start)
    found = origin.read(span.end - span.start)
    if len(found) < span.end - span.start:
        raise BadConfig(f"{origin.name} ends before byte {span.end:,}, which is asked for: is it the whole file?")
    return found
