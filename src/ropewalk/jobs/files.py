"""Writing so that nothing half-written ever looks finished: a temporary neighbour, then one rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ropewalk.errors import CannotWrite, OutputExists


@contextmanager
def new_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block ends well, and vanishes if it does not.

    Refuses an existing `out` without `force`; with it, the old folder stays until the new one is complete.
    """
    if out.exists() and not force:
        raise OutputExists(f"{out} exists already. Choose another name, or replace it with --force.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
        part.chmod(0o755)
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror}.") from None
    try:
        yield part
        _replace_folder(part, out)
    except OSError as error:
        if isinstance(error, OutputExists | CannotWrite):
            raise
        raise CannotWrite(f"{out} was not written: {error.strerror or error}. Nothing was left behind.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, out: Path) -> None:
    if not out.exists():
        os.rename(part, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    os.rename(out, old / out.name)
    try:
        os.rename(part, out)
    except OSError:
        os.rename(old / out.name, out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def new_file(out: Path, *, force: bool = False) -> Iterator[tuple[Path, BinaryIO]]:
    """A temporary neighbour of `out`, and a stream to write it, that becomes `out` if the block ends well.

    For files too large for `write_file`. The stream is not buffered. Refuses an existing `out` without `force`.
    """
    if out.exists() and not force:
        raise OutputExists(f"{out} exists already. Choose another name, or replace it with --force.")
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.part-", delete=False, buffering=0) as stream:
            part = Path(stream.name)
            yield part, stream.file  # type: ignore[misc]
        os.replace(part, out)
        part = None
    except OSError as error:
        if isinstance(error, OutputExists | CannotWrite):
            raise
        raise CannotWrite(f"{out} was not written: {error.strerror or error}. Nothing was left behind.") from None
    finally:
        if part:
            part.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write one file atomically: readers see the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.part-", delete=False) as stream:
            part = stream.name
            stream.write(data)
        os.chmod(part, 0o644)
        os.replace(part, path)
        part = None
    except OSError as error:
        raise CannotWrite(f"{path} was not written: {error.strerror or error}.") from None
    finally:
        if part:
            Path(part).unlink(missing_ok=True)
