"""Text that every Python user already has: the source of the standard library, split once into training and held-out files.

The split is a hash of the file's relative name, so it is the same on every machine, and a file that was held out
while the bundled model was trained is held out wherever the model is read again.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Character maps and generated tables: megabytes of numbers that teach nothing about code.
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data", "cjkencodings", "data"}
TEST_FOLDERS = {"test", "tests", "idle_test"}


def is_held_out(relative_name: str) -> bool:
    """True for about one file in five, decided by the SHA-256 of its POSIX name relative to the library's root."""
    return hashlib.sha256(relative_name.encode()).digest()[0] % 5 == 0


def library_root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def library_files(*, held_out: bool, tests: bool = False, root: Path | None = None) -> Iterator[Path]:
    """Source files of the standard library, in name order.

    held_out: which side of the split.
    tests: include the library's own test suite (some distributions ship Python without it).
    """
    root = root or library_root()
    skipped = SKIPPED_FOLDERS if tests else SKIPPED_FOLDERS | TEST_FOLDERS
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if skipped.isdisjoint(relative.parts) and is_held_out(relative.as_posix()) == held_out:
            yield path


def joined_files(size: int) -> Iterator[tuple[str, str]]:
    """(name, text) of held-out files in a row, of `size` bytes and more each: for lengths that no file has alone.

    In name order, so that neighbours are mostly of one package; the library's tests, where they are there, come last. A text
    is of other files than any other.
    """
    root = library_root()
    plain = list(library_files(held_out=True))
    tests = sorted(set(library_files(held_out=True, tests=True)) - set(plain))
    names: list[str] = []
    texts: list[str] = []
    for path in [*plain, *tests]:
        if text := read_text(path):
            names.append(path.relative_to(root).as_posix())
            texts.append(text)
        if sum(map(len, texts)) >= size:
            yield f"{names[0]} and {len(names) - 1} more files", "\n".join(texts)
            names, texts = [], []


def is_held_out_file(path: Path) -> bool:
    """True for a file of this Python's library, by any path to it, that is on the side which models are measured on."""
    try:
        relative = path.resolve().relative_to(library_root().resolve())
    except (OSError, ValueError):
        return False
    return relative.suffix == ".py" and SKIPPED_FOLDERS.isdisjoint(relative.parts) and is_held_out(relative.as_posix())


def read_text(path: Path) -> str | None:
    """The file's text, or None where it is not UTF-8 (the library keeps a few such files to test decoders)."""
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return None
