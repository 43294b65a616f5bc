"""Where texts come from: files, folders, globs, rows of structured files, a data set of the hub, or the standard library.

What cannot be read is never passed over in silence: each such place is kept with its reason.
"""

import glob
import hashlib
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ropewalk.errors import BadConfig, first_line
from ropewalk.measure.rows import Problem, extra, has_rows, rows_of, text_of

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


LIBRARY = "library"
# What is measured on, and what is trained on; the two sides share no file.
LIBRARY_SIDES: dict[str, Callable[[], Iterator[Path]]] = {
    LIBRARY: partial(library_files, held_out=True),
    "library-train": partial(library_files, held_out=False),
    "library-train-tests": partial(library_files, held_out=False, tests=True),
}
TEXT_FIELD = "text"
STREAMED = 2000  # rows read of a hub data set; the choice among them is by seed
SHUFFLED = 1000  # rows that the hub's stream is shuffled over
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:\w+)?")


class Text(NamedTuple):
    name: str
    text: str


@dataclass
class Texts:
    """An iterable of `Text`; `problems` fills while it is gone through.

    sources: paths, folders, globs, hub ids ("owner/name" or "owner/name:split"), or a side of the standard library:
        "library" (held out), "library-train", or "library-train-tests" (with the library's own test suite).
    text_field: the key or column of the text in rows (.jsonl, .json, .csv, .tsv, .parquet, .arrow, hub data sets); several
        with commas between them are joined, and a conversation is its turns one after another.
    strict: raise BadConfig at the first problem instead of noting it.
    split: of hub data sets that name none.  rows: read of each, shuffled by the seed; None streams all, in their order.
    read: bytes of files gone through so far, to show progress with.
    """

    sources: Sequence[str] = (LIBRARY,)
    text_field: str = TEXT_FIELD
    strict: bool = False
    seed: int = 0
    problems: list[Problem] = field(default_factory=list)
    split: str = "test"
    rows: int | None = STREAMED
    read: int = 0

    def __iter__(self) -> Iterator[Text]:
        self.problems.clear()
        self.read = 0
        for source in self.sources:
            yield from self._of(source)

    def _of(self, source: str) -> Iterator[Text]:
        paths = source_files(source)
        root = library_root() if source in LIBRARY_SIDES else None
        for path in paths:
            if root:
                yield from self._text_file(path, path.relative_to(root).as_posix())
            else:
                yield from self._file(path)
        if not paths:
            yield from self._hub(source)

    def _file(self, path: Path) -> Iterator[Text]:
        if not has_rows(path):
            yield from self._text_file(path)
            return
        for row in rows_of(path, self.text_field, self._count):
            if isinstance(row, Problem):
                self._note(*row)
            else:
                yield from self._field(row.value, row.place)

    def _count(self, read: int) -> None:
        self.read += read

    def _text_file(self, path: Path, name: str | None = None) -> Iterator[Text]:
        text = text_of(path, self._count)
        if isinstance(text, Problem):
            self._note(*text)
        else:
            yield Text(name or path.as_posix(), text)

    def _field(self, row: Any, place: str) -> Iterator[Text]:
        """The text of a row: of the field, or of several, a blank line between them."""
        if not isinstance(row, dict):
            turns = _spoken(row) is not None
            what = 'a conversation without a key; write it as {"messages": [...]}' if turns else f"a JSON {type(row).__name__}"
            self._note(place, f"no text under {self.text_field!r} (there is: {what})")
            return
        names = [self.text_field] if self.text_field in row else self.text_field.split(",")
        parts = [_spoken(row.get(name)) for name in names]
        if all(part is not None for part in parts):
            yield Text(place, "\n\n".join(part for part in parts if part))
        else:
            self._note(place, _missing(row, names[parts.index(None)]))

    def _hub(self, source: str) -> Iterator[Text]:
        """The first rows of a shuffled stream, or all of it as it comes: nothing is fetched before its turn."""
        datasets = extra("datasets")
        name, _, split = source.partition(":")
        try:
            stream = datasets.load_dataset(name, split=split or self.split, streaming=True)
            if self.rows is not None:
                stream = stream.shuffle(seed=self.seed, buffer_size=SHUFFLED)
            for number, row in enumerate(islice(stream, self.rows)):
                yield from self._field(row, f"{source}#{number}")
        except Exception as error:  # the hub's errors have many roots; all end here for a person
            if isinstance(error, BadConfig):
                raise
            raise BadConfig(
                f"{source} is no file here, and could not be streamed from the hub: {type(error).__name__}: "
                f"{first_line(error)}\n"
                f"  Check the name, its split (owner/name:split; without one, {self.split}) and the network."
            ) from None

    def _note(self, place: str, reason: str) -> None:
        if self.strict:
            raise BadConfig(f"{place}: {reason}.\n  Without strict (--strict) it would be counted and passed over.")
        self.problems.append(Problem(place, reason))


def source_files(source: str) -> list[Path]:
    """The files that a source is read from, in that order; none for a data set of the hub.

    Raises BadConfig where there is nothing of that name.
    """
    if source in LIBRARY_SIDES:
        return list(LIBRARY_SIDES[source]())
    paths = find_paths(source) if source.strip() else []  # an empty name, of a variable that is not set, would be this folder
    if not paths and not HUB_ID.fullmatch(source):
        raise BadConfig(
            f"no text called {source!r}: there is no such file or folder, and no file that it matches as a glob.\n"
            "  Give files, folders, globs, or a hub data set as owner/name:split."
        )
    return paths


def find_paths(source: str) -> list[Path]:
    """The file, the files of a folder (hidden ones left out), or what a glob matches, in name order."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(path)))
    return sorted(p for found in glob.glob(str(path), recursive=True) if (p := Path(found)).is_file())


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _spoken(value: Any) -> str | None:
    """A text, or the turns of a conversation one after another, a blank line between them; None for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    turns = [_turn(turn) for turn in value]
    return None if any(turn is None for turn in turns) else "\n\n".join(turn for turn in turns if turn)


def _turn(turn: Any) -> str | None:
    """What one turn says: {"role", "content"} or {"from", "value"}; content may be parts, of which texts are kept."""
    if not isinstance(turn, dict):
        return None
    said = turn.get("content", turn.get("value"))
    if isinstance(said, list):
        texts = [part.get("text") for part in said if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(text for text in texts if isinstance(text, str))
    return said if isinstance(said, str) else None


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def _missing(row: dict[Any, Any], name: str) -> str:
    """Why a row has no text under a name, and the way out."""
    there = ", ".join(str(key) for key in row if key is not None)
    unread = [key for key, value in row.items() if _is_turns(value) and _spoken(value) is None]
    if unread and (name in unread or name not in row):
        return (
            f"{unread[0]!r} holds turns, of which one has no text (a call of a tool, or keys other than role and content): "
            "write the text of the chat template into the file first (tokenizer.apply_chat_template)"
        )
    if name in row:
        return f"{name!r} holds {_what(row[name])} where a text is needed"
    if spoken := [str(key) for key, value in row.items() if isinstance(value, list) and _spoken(value) is not None]:
        return (
            f"no text under {name!r} but a conversation: {spoken[0]!r} as text_field (--text-field {spoken[0]}) "
            "takes its turns one after another, without a chat template; for the template's text write it into the file first "
            "(tokenizer.apply_chat_template)"
        )
    if _turn(row) is not None and row.keys() <= {"role", "content", "from", "value", "name"}:
        return (
            f"no text under {name!r} but one turn of a conversation: write each conversation as one row, its turns in a list"
        )
    if ids := [str(key) for key, value in row.items() if _what(value) == "a list of numbers"]:
        return f"no text under {name!r} but numbers under {ids[0]!r}, of a tokenizer that is not known here: give the texts"
    texts = [str(key) for key, value in row.items() if isinstance(value, str)]
    several = f"; {','.join(texts)} joins several" if len(texts) > 1 else ""
    return f"no text under {name!r} (there is: {there or 'nothing'}); name it with text_field (--text-field){several}"


def _what(value: Any) -> str:
    if isinstance(value, list):
        return "a list of numbers" if value and all(isinstance(item, int) for item in value) else "a list"
    return {bytes: "bytes", dict: "an object", type(None): "null", bool: "true or false"}.get(type(value), "a number")
