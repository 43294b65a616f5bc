"""What a GGUF was made into, kept between runs: a checkpoint's folder by the hash of the file, within a limit of bytes.

    ROPEWALK_GGUF_CACHE=off     keep nothing: what is made lives as long as the process
    ROPEWALK_GGUF_CACHE=100GB   keep so much (40GB), what was used longest ago goes first

It lies in XDG_CACHE_HOME, or ~/.cache, under ropewalk/gguf. A folder has its name once it is whole, and each of its files is
compared with the hash that it was written with before it is used.
"""

import atexit
import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.files import held, new_folder, size_of, write_file
from ropewalk.checkpoints.fingerprint import cache_root, code_hash, file_hash
from ropewalk.errors import BadOption, CannotWrite, RopewalkError
from ropewalk.progress import Progress
from ropewalk.scaling.units import human_bytes

VARIABLE = "ROPEWALK_GGUF_CACHE"
LIMIT = 40 * 10**9  # bytes
OFF = ("off", "no", "none", "0", "false")
UNITS = {"": 1, "b": 1, "mb": 10**6, "gb": 10**9, "tb": 10**12, "mib": 2**20, "gib": 2**30, "tib": 2**40}
MADE = ".made.json"  # in a folder: the hash of every other file; hidden, so that a copy leaves it out
IN_USE = 3600  # seconds since a folder was used in which nobody takes it away
SPARE = 64 * 2**20  # bytes left on a disk beside what is written
WAIT = 0.2  # seconds between two looks at a lock
PARTS = ("engines", "checkpoints", "models/from_gguf")  # the code that decides what is made
Fill = Callable[[Path], dict[str, str]]
_made: dict[str, Path] = {}


def limit() -> int:
    """Bytes; 0 keeps nothing."""
    said = os.environ.get(VARIABLE, "").strip().lower()
    if not said:
        return LIMIT
    if said in OFF:
        return 0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", said)
    if not found or found[2] not in UNITS:
        raise BadOption(f"{VARIABLE} is {said!r}; it must be off, or a size such as 100GB.")
    return int(float(found[1]) * UNITS[found[2]])


def root() -> Path:
    return cache_root() / "gguf"


def key_of(files: tuple[Path, ...], kind: str) -> str:
    """Of the GGUF's bytes, of what is made of them, and of the code that makes it."""
    return hashlib.sha256(json.dumps([content_of(files), kind, _code()]).encode()).hexdigest()[:24]


def content_of(files: tuple[Path, ...]) -> str:
    """Of every byte of a GGUF, in all its parts."""
    return hashlib.sha256(json.dumps([file_hash(file) for file in files]).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        library = version("gguf")
    except PackageNotFoundError:
        library = ""
    return f"{code_hash(PARTS)} {library}"


def find(files: tuple[Path, ...], kind: str) -> Path | None:
    """What is kept of a GGUF, or was made for this process; it is whole, and used now."""
    key = key_of(files, kind)
    if key in _made:
        return _made[key]
    folder = root() / key
    return folder if limit() and _is_whole(folder) else None


def kept(files: tuple[Path, ...], kind: str, size: int, fill: Fill, progress: Progress, *, keep: bool = True) -> Path:
    """The folder that `fill` makes of a GGUF: the one that is kept, or a new one.

    size: bytes that it will have, about.  fill: makes the files, and answers with their hashes.
    keep: False makes it for this process alone, as do the variable and a size beyond the limit.
    Raises CannotWrite before anything is made where the disk has no room for it.
    """
    allowed = limit() if keep else 0
    if size > allowed:
        if allowed:
            progress.note(f"{human_bytes(size)} are beyond the {human_bytes(allowed)} of {VARIABLE}: made anew each time.")
        return _for_now(key_of(files, kind), size, fill)
    folder = root() / key_of(files, kind)
    if _is_whole(folder):
        return folder
    try:
        with _alone(folder, progress):
            if not _is_whole(folder):
                make_room(allowed - size)
                _check_disk(root(), size)
                with new_folder(folder, force=True) as part:
                    write_file(
                        part / MADE, json.dumps({"of": [str(file) for file in files], "kind": kind, "files": fill(part)})
                    )
    except PermissionError as error:
        raise CannotWrite(f"{root()} cannot be written: {error.strerror}.\n  {VARIABLE}=off needs no cache.") from None
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether it is there, and every file in it is what was written; used now."""
    try:
        files: dict[str, str] = json.loads((folder / MADE).read_text(encoding="utf-8"))["files"]
        whole = bool(files) and all(file_hash(folder / name) == said for name, said in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if whole:
        with contextlib.suppress(OSError):
            os.utime(folder / MADE)
    return whole


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """One process makes it, and the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_suffix(".lock")
    lock.touch()
    told = False
    while True:
        with held(lock) as mine:
            if mine:
                yield
                return
        if not told:
            progress.say("another process is making it")
            told = True
        time.sleep(WAIT)


def make_room(allowed: int) -> None:
    """Take away what was used longest ago, until no more than `allowed` bytes are there; nothing of the last hour."""
    found: list[tuple[float, int, Path]] = []
    for mark in root().glob(f"*/{MADE}"):
        with contextlib.suppress(OSError):
            found.append((mark.stat().st_mtime, size_of(mark.parent), mark.parent))
    total = sum(size for _, size, _ in found)
    for used, size, folder in sorted(found):
        if total <= allowed or time.time() - used < IN_USE:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        total -= size


def _check_disk(place: Path, size: int) -> None:
    free = shutil.disk_usage(place).free
    if free < size + SPARE:
        raise CannotWrite(
            f"{place} has room for {human_bytes(free)}, and what is made of this GGUF takes {human_bytes(size)}.\n"
            f"  Set XDG_CACHE_HOME to a larger disk, or with {VARIABLE}=off TMPDIR. bfloat16 takes half of float32."
        )


def _for_now(key: str, size: int, fill: Fill) -> Path:
    """As long as this process lives; made once in it."""
    if key in _made:
        return _made[key]
    _check_disk(Path(tempfile.gettempdir()), size)
    folder = Path(tempfile.mkdtemp(prefix="ropewalk-gguf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        fill(folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, RopewalkError):
            raise CannotWrite(f"{folder} was not written: {error.strerror or error}. Nothing was left behind.") from None
        raise
    _made[key] = folder
    return folder


def text_of(content: Any) -> str:
    """Of a small file: as it is, or as JSON."""
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False) + "\n"
