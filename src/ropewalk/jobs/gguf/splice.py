"""Writing a Document: the new header, then the old weights, copied by the kernel where it can."""

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

CHUNK = 2**25  # bytes; small enough for a progress bar, large enough that the calls cost nothing
LOOKED_AT = 4096  # bytes at either end of each tensor

# copy_file_range: not on this kernel, not between these file systems, not of these files.
DECLINED = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)

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
    _check_room(out, sum(map(length, pieces)))
    with new_file(out, force=force) as (path, stream), source.open("rb") as origin:
        for piece in pieces:
            _write_piece(piece, origin, stream, progress)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
        shutil.copymode(source, path)
        _check_data(document, origin, path)
        check(path)


def _check_room(out: Path, needed: int) -> None:
    folder = out.parent
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < needed:
        raise CannotWrite(f"{out} needs {needed:,} bytes, and {folder} has {free:,} left. Nothing was written.")


def _write_piece(piece: Piece, origin: BinaryIO, stream: BinaryIO, progress: Progress) -> None:
    if isinstance(piece, bytes):
        stream.write(piece)
        progress(len(piece))
        return
    stream.flush()  # the kernel writes past the buffer
    at = piece.start
    while at < piece.end:
        count = _copy(origin, stream, at, min(CHUNK, piece.end - at))
        if not count:
            raise OSError("the source became shorter while it was read")
        at += count
        progress(count)


def _copy(origin: BinaryIO, stream: BinaryIO, at: int, count: int) -> int:
    """How many bytes were copied, from `at` to where `stream` stands. Where the kernel declines, they go through here."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(origin.fileno(), stream.fileno(), count, at)
        except OSError as error:
            if error.errno not in DECLINED:
                raise
    origin.seek(at)
    block = origin.read(count)
    stream.write(block)
    stream.flush()
    return len(block)


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
