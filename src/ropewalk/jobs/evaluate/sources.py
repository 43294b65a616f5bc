"""Where texts come from: files, folders, globs, .jsonl, .parquet, a data set of the hub, or a side of the standard library.

What cannot be read is never passed over in silence: each such place is kept with its reason.
"""

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ropewalk.errors import BadConfig
from ropewalk.jobs.corpus import library_files, library_root

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


class Problem(NamedTuple):
    """place: a file, or file:line.  reason: what is wrong with it."""

    place: str
    reason: str


@dataclass
class Texts:
    """An iterable of `Text`; `problems` fills while it is gone through.

    sources: paths, folders, globs, hub ids ("owner/name" or "owner/name:split"), or a side of the standard library:
        "library" (held out), "library-train", or "library-train-tests" (with the library's own test suite).
    text_field: the key or column of the text in .jsonl, .parquet and hub data sets.
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
        readers = {".jsonl": self._jsonl, ".parquet": self._parquet}
        yield from readers.get(path.suffix.lower(), self._text_file)(path)

    def _text_file(self, path: Path, name: str | None = None) -> Iterator[Text]:
        try:
            self.read += path.stat().st_size
            yield Text(name or path.as_posix(), path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            self._note(str(path), f"not UTF-8 (byte {error.start})")
        except OSError as error:
            self._note(str(path), error.strerror or str(error))

    def _jsonl(self, path: Path) -> Iterator[Text]:
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    self.read += len(line)
                    if line.strip():
                        yield from self._row(line, f"{path}:{number}")
        except OSError as error:
            self._note(str(path), error.strerror or str(error))

    def _row(self, line: bytes, place: str) -> Iterator[Text]:
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            self._note(place, f"not UTF-8 (byte {error.start} of the line)")
        except (ValueError, RecursionError) as error:
            self._note(place, f"not JSON: {str(error).splitlines()[0]}")
        else:
            yield from self._field(row, place)

    def _field(self, row: Any, place: str) -> Iterator[Text]:
        value = row.get(self.text_field) if isinstance(row, dict) else None
        if isinstance(value, str):
            yield Text(place, value)
            return
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else f"a JSON {type(row).__name__}"
        self._note(place, f"no text under {self.text_field!r} (there is: {keys or 'nothing'}); name it with --text-field")

    def _parquet(self, path: Path) -> Iterator[Text]:
        parquet = _extra("pyarrow.parquet", "data")
        import pyarrow

        try:
            file = parquet.ParquetFile(path)
            columns = file.schema_arrow.names
            if self.text_field not in columns:
                self._note(
                    str(path), f"no column {self.text_field!r} (there is: {', '.join(columns)}); name it with --text-field"
                )
                return
            number = 0
            size = path.stat().st_size / max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(columns=[self.text_field]):
                self.read += round(batch.num_rows * size)
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield from self._field({self.text_field: value}, f"{path}:{number}")
        except (OSError, pyarrow.ArrowException) as error:
            self._note(str(path), f"not readable as parquet: {str(error).splitlines()[0]}")

    def _hub(self, source: str) -> Iterator[Text]:
        """The first rows of a shuffled stream, or all of it as it comes: nothing is fetched before its turn."""
        datasets = _extra("datasets", "data")
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
                f"{_first_line(error)}\n"
                f"  Check the name, its split (owner/name:split; without one, {self.split}) and the network."
            ) from None

    def _note(self, place: str, reason: str) -> None:
        if self.strict:
            raise BadConfig(f"{place}: {reason}.\n  Without --strict it would be counted and passed over.")
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
            "  Give files, folders, globs, .jsonl, .parquet, or a hub data set as owner/name:split."
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


def _extra(module: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise BadConfig(f"this needs {package}, which is not installed: pip install 'ropewalk[{extra}]'.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]
