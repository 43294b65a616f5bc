"""Where texts come from: files, folders, globs, .jsonl, .parquet, a data set of the hub, or the standard library.

What cannot be read is never passed over in silence: each such place is kept with its reason.
"""

import glob
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ropewalk.errors import BadConfig
from ropewalk.jobs.corpus import library_files, library_root

LIBRARY = "library"
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

    sources: paths, folders, globs, hub ids ("owner/name" or "owner/name:split"), or "library": held-out files of the
        standard library.
    text_field: the key or column of the text in .jsonl, .parquet and hub data sets.
    strict: raise BadConfig at the first problem instead of noting it.
    """

    sources: Sequence[str] = (LIBRARY,)
    text_field: str = TEXT_FIELD
    strict: bool = False
    seed: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __iter__(self) -> Iterator[Text]:
        self.problems.clear()
        for source in self.sources:
            yield from self._of(source)

    def _of(self, source: str) -> Iterator[Text]:
        if source == LIBRARY:
            root = library_root()
            for path in library_files(held_out=True):
                yield from self._text_file(path, path.relative_to(root).as_posix())
            return
        paths = find_paths(source)
        if not paths and HUB_ID.fullmatch(source):
            yield from self._hub(source)
            return
        if not paths:
            raise BadConfig(
                f"no text called {source!r}: there is no such file or folder, and no file that it matches as a glob.\n"
                "  Give files, folders, globs, .jsonl, .parquet, or a hub data set as owner/name:split."
            )
        for path in paths:
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[Text]:
        readers = {".jsonl": self._jsonl, ".parquet": self._parquet}
        yield from readers.get(path.suffix.lower(), self._text_file)(path)

    def _text_file(self, path: Path, name: str | None = None) -> Iterator[Text]:
        try:
            yield Text(name or path.as_posix(), path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            self._note(str(path), f"not UTF-8 (byte {error.start})")
        except OSError as error:
            self._note(str(path), error.strerror or str(error))

    def _jsonl(self, path: Path) -> Iterator[Text]:
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
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
            for batch in file.iter_batches(columns=[self.text_field]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield from self._field({self.text_field: value}, f"{path}:{number}")
        except (OSError, pyarrow.ArrowException) as error:
            self._note(str(path), f"not readable as parquet: {str(error).splitlines()[0]}")

    def _hub(self, source: str) -> Iterator[Text]:
        """The first STREAMED rows of a shuffled stream: the whole set is never fetched."""
        datasets = _extra("datasets", "data")
        name, _, split = source.partition(":")
        try:
            stream = datasets.load_dataset(name, split=split or "test", streaming=True)
            for number, row in enumerate(islice(stream.shuffle(seed=self.seed, buffer_size=SHUFFLED), STREAMED)):
                yield from self._field(row, f"{source}#{number}")
        except Exception as error:  # the hub's errors have many roots; all end here for a person
            if isinstance(error, BadConfig):
                raise
            raise BadConfig(
                f"{source} is no file here, and could not be streamed from the hub: {type(error).__name__}: "
                f"{_first_line(error)}\n"
                "  Check the name, its split (owner/name:split; without one, test) and the network."
            ) from None

    def _note(self, place: str, reason: str) -> None:
        if self.strict:
            raise BadConfig(f"{place}: {reason}.\n  Without --strict it would be counted and passed over.")
        self.problems.append(Problem(place, reason))


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
