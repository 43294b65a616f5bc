"""What a model is, byte by byte: a number measured with other bytes, or by other code, is another number.

A checkpoint of 16 GB takes ten seconds to hash. So the hash of each large file is remembered, beside its size, inode and the
two times that the system keeps of its last change; a file of which any of them is another is read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from ropewalk.checkpoints.adapters import Adapter, base_checkpoint
from ropewalk.checkpoints.files import write_file

DECIDING = (  # weights, configs, the tokenizer's files
    "*.safetensors", "*.index.json", "*config.json", "*token*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken",
    "*.jinja",
)  # fmt: skip
LARGE = 2**24  # bytes: smaller files are read every time
TOLD = 2**32  # bytes that are worth a word before they are read
SETTLED = 2 * 10**9  # nanoseconds after a change in which another one might leave the same times
PACKAGES = ("ropewalk", "torch", "transformers")
CODE = ("scaling", "engines", "models", "measure")  # the parts of Ropewalk that make a number


def model_fingerprint(folder: Path, say: Callable[[str], None] = lambda sentence: None) -> str:
    """Of every byte that can decide what the model answers: weights, configs and tokenizer, with the names of their files."""
    paths = sorted({path for pattern in DECIDING for path in folder.glob(pattern) if path.is_file()})
    unread = sum(path.stat().st_size for path in paths if path.stat().st_size >= LARGE and not _remembered(path))
    if unread >= TOLD:
        say(f"reading {unread / 1e9:.1f} GB once, so that this model is known again")
    told = [[path.name, file_hash(path)] for path in paths]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def adapted_fingerprint(adapter: Adapter, say: Callable[[str], None] = lambda sentence: None) -> str:
    """Of an adapter with its weights, and of the base under it."""
    told = [model_fingerprint(base_checkpoint(adapter), say), model_fingerprint(adapter.folder, say)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def measured_by(model: str) -> str:
    """A model's fingerprint, and the code that reads it: what the key of a measurement says."""
    return hashlib.sha256(json.dumps([model, versions()], sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of what computes, for records of what was computed; `code`: the source of Ropewalk's own part in it."""
    return {**{name: version(name) for name in PACKAGES}, "code": code_hash()}


@cache
def code_hash(parts: tuple[str, ...] = CODE) -> str:
    """parts: folders of the package."""
    digest = hashlib.sha256()
    root = Path(str(files("ropewalk")))
    for path in sorted(path for part in parts for path in (root / part).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of its bytes; of a large file that has not changed since it was last read, without reading it."""
    before = _state(path)
    if before["size"] >= LARGE and (known := _remembered(path)):
        return known
    now = time.time_ns()
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    changed = max(before["mtime_ns"], before["ctime_ns"])
    if before["size"] >= LARGE and now - changed > SETTLED and _state(path) == before:
        _remember(path, {**before, "sha256": found})
    return found


def _state(path: Path) -> dict[str, int]:
    """What changes where a file's bytes do: its times too where a program puts back the one that it can (mtime)."""
    stat = path.stat()
    return {
        "size": stat.st_size, "inode": stat.st_ino, "device": stat.st_dev, "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
    }  # fmt: skip


def cache_root() -> Path:
    """What can be made again lies here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ropewalk"


def _memory(path: Path) -> Path:
    return cache_root() / "fingerprints" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}.json"


def _remembered(path: Path) -> str | None:
    try:
        there = json.loads(_memory(path).read_text(encoding="utf-8"))
        known = there.pop("sha256")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(known) if there == _state(path) else None


def _remember(path: Path, facts: dict[str, int | str]) -> None:
    """A cache that cannot be written costs time, no more."""
    try:
        write_file(_memory(path), json.dumps(facts))
    except (OSError, RuntimeError):  # no room, no rights, no home
        return
