"""Writing a Document: the new header, then the old weights."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from ropewalk.errors import CannotWrite
from ropewalk.jobs.files import new_file
from ropewalk.jobs.gguf.document import Document, Piece, Span, length
from ropewalk.jobs.gguf.edit import cut

# Bytes at a time. The weights move by some hundred bytes; copy_file_range takes half as long again between unlike places in a
# page, and writes of a MiB and more are slow where the page cache must find large pages (ext4, Linux 6.18, measured).
CHUNK = 2**18
LOOKED_AT = 4096  # bytes at either end of each tensor

Progress = Callable[[int], None]


def write(
    document: Document,
    source: Path,
    out: Path,
    check: Callable[[Path], None],
    *,
    force: bool = False,
    durable: bool = False,
    progress: Progress = lambda count: None,
) -> None:
    """Write `document` to `out`, taking its spans from `source`; under its name only once it is whole and `check` is content.

    durable: wait until the disk has it, before it takes the name of a file that was there.
    progress: is told how many bytes more are written.
    """
    pieces: tuple[Piece, ...] = (document.header(), *document.data)
    with new_file(out, force=force) as (path, stream), source.open("rb") as origin:
        _reserve(stream, sum(map(length, pieces)))
        for piece in pieces:
            _write_piece(piece, origin, stream, progress)
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


def _write_piece(piece: Piece, origin: BinaryIO, stream: BinaryIO, progress: Progress) -> None:
    if isinstance(piece, bytes):
        _write_all(memoryview(piece), stream)
        progress(len(piece))
        return
    buffer, at = memoryview(bytearray(CHUNK)), piece.start
    while at < piece.end:
        wanted = min(CHUNK - at % CHUNK, piece.end - at)  # whole pages of the source, from the second turn on
        count = os.preadv(origin.fileno(), [buffer[:wanted]], at)
        if not count:
            raise OSError("the source became shorter while it was read")
        _write_all(buffer[:count], stream)
        at += count
        progress(count)


def _write_all(block: memoryview, stream: BinaryIO) -> None:
    while block:
        block = block[stream.write(block) :]


def _check_data(document: Document, origin: BinaryIO, path: Path) -> None:
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


def _read(span: Span, origin: BinaryIO) -> bytes:
    origin.seek(span.start)
    return origin.read(span.end - span.start)
