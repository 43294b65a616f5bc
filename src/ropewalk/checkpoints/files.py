"""Writing so that nothing half-written ever looks finished: a temporary neighbour, then one rename.

A process that is killed leaves its neighbour behind. Its name has the process's number, and it is locked while that lives;
the next writer of the same name removes it, and says so.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from ropewalk.errors import CannotWrite, OutputExists

try:
    import fcntl
except ImportError:  # Windows: leftovers stay
    fcntl = None  # type: ignore[assignment]

PART, OLD = "part", "old"
_seen: dict[Path, dict[str, list[Path]]] = {}  # leftovers by folder and name, for the many small files of one run


def prefix(name: str, kind: str = PART) -> str:
    """How temporary neighbours of `name` begin, as this process writes them."""
    return f".{name}.{kind}-{os.getpid()}-"


def leftovers(folder: Path) -> dict[str, list[Path]]:
    """Temporary neighbours in a folder by the name they were meant for, whoever writes or wrote them."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if match := re.fullmatch(rf"\.(.+)\.(?:{PART}|{OLD})-\d+-\w+", path.name):
                found.setdefault(match.group(1), []).append(path)
    return found


def sweep(out: Path, *, often: bool = False) -> None:
    """Remove what dead processes left of `out`, with a line on stderr; what a living one writes stays.

    often: the folder is looked through once per process, for the many small files of a run.
    """
    found = _seen.setdefault(out.parent, leftovers(out.parent)) if often else leftovers(out.parent)
    for path in found.pop(out.name, []):
        if not _is_dead(path):
            continue
        if f".{OLD}-" in path.name and (path / out.name).exists() and not out.exists():
            os.rename(path / out.name, out)  # killed between the two renames of a replacement
            _say(f"{out} was being replaced when a run was killed: it is back as it was.")
        discard(path)


def discard(path: Path) -> None:
    """Remove what a dead process left, and say so on stderr."""
    size = size_of(path)
    _remove(path)
    _say(f"removed {path.name} ({size:,} bytes), which a run that was killed had left.")


def _is_dead(path: Path) -> bool:
    """Whether nobody writes it: its process is gone from this machine, and no other holds its lock."""
    number = int(path.name.rsplit("-", 2)[1])
    if fcntl is None:  # where signal 0 would interrupt that process
        return False
    try:
        os.kill(number, 0)
        return False
    except ProcessLookupError:
        pass
    except (OSError, OverflowError):  # another user's process, or no number of one
        return False
    try:
        with _locked(path):
            return True
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder; OSError where another does, or where there are none."""
    if fcntl is None:
        raise OSError("no locks")
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether the lock of a file was free, and is ours until the end; where there are no locks, it is as if it were."""
    if fcntl is None:
        yield True
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(path))
        except OSError:
            yield False
            return
        yield True


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """As `_locked`, where that can be."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(_locked(path))
        yield


def size_of(path: Path) -> int:
    """Bytes."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def check_free(out: Path, *, force: bool) -> None:
    """Raises OutputExists for what is there, unless it is to be replaced."""
    if out.exists() and not force:
        raise OutputExists(f"{out} exists already. Choose another name, or replace it: force (--force).")


@contextmanager
def new_folder(out: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block ends well, and vanishes if it does not.

    Refuses an existing `out` without `force`; with it, the old folder stays until the new one is complete.
    """
    sweep(out)
    check_free(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=prefix(out.name), dir=out.parent))
        part.chmod(0o755)
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror}.") from None
    try:
        with _held(part):
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
    old = Path(tempfile.mkdtemp(prefix=prefix(out.name, OLD), dir=out.parent))
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
    sweep(out)
    check_free(out, force=force)
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=prefix(out.name), delete=False, buffering=0) as stream:
            part = Path(stream.name)
            with _held(part):
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
    sweep(path, often=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix(path.name), delete=False) as stream:
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


def plain(value: Any) -> Any:
    """As JSON has it, which knows no infinity and no NaN: null."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    return value


def title(folder: Path) -> str:
    """What a checkpoint is called: in the hub's cache (models--owner--name/snapshots/commit) by its id, else as its folder."""
    place = folder.absolute()
    kept = place.parent.parent.name
    if place.parent.name == "snapshots" and kept.startswith("models--"):
        return kept.removeprefix("models--").replace("--", "/")
    return place.name


def called(model: str) -> str:
    """A model on a page for others: its hub id, or its title, since where it lies concerns nobody else."""
    return title(Path(model)) if Path(model).is_absolute() or model.startswith((".", "~")) else model
