"""Rows of structured files: .jsonl, .json, .csv, .tsv, .parquet and .arrow (a saved data set), as they are or compressed.

A file whose rows cannot be told apart is never one long text: it is read as what it is, or named as a problem.
"""

import bz2
import csv
import gzip
import importlib
import io
import itertools
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ropewalk.errors import extra_parts, first_line

COMPRESSED: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
# Beside the rows of a data set that `save_to_disk` wrote: what describes them.
DESCRIBES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
# What a file begins with whose text is elsewhere in it, and what it is.
NOT_TEXT = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive (a Word or Excel file is one)",
    b"\x1f\x8b": "compressed by gzip; name it .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
    b"\xff\xfe": "UTF-16 text; convert it to UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it to UTF-8",
    b"\x80\x04": "a Python pickle, which is never opened",
    b"\x80\x05": "a Python pickle, which is never opened",
}
LARGEST_FIELD = 2**31 - 1  # characters of a field of a .csv file; Python's own limit is 128 k
ENCODING = "utf-8-sig"  # UTF-8, without the mark that some programs put before it


class Problem(NamedTuple):
    """place: a file, or file:line.  reason: what is wrong with it."""

    place: str
    reason: str


class TextRow(NamedTuple):
    """value: a mapping of keys or columns, or what stands in its place."""

    place: str
    value: Any


Read = Callable[[int], None]
Rows = Iterator[TextRow | Problem]


def kind_of(path: Path) -> str:
    """The suffix that says how a file is to be read, without that of its compression, in lower case."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()


def has_rows(path: Path) -> bool:
    """Whether a file is read by rows: its suffix says so, or it is JSON under a name that says nothing."""
    return kind_of(path) in READERS or (kind_of(path) in ("", ".txt") and _is_json(path))


def _is_json(path: Path) -> bool:
    """One JSON value, or one a line. Most texts begin with no bracket, and are not read twice."""
    try:
        with path.open("rb") as raw:
            file = _unpacked(path, raw)
            start: bytes = file.read(64)
            if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
                return False
            text = str(start + file.read(), ENCODING)
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError):
        return False
    lines = [line for line in text.splitlines() if line.strip()][:2]
    return _parses(text) or (len(lines) == 2 and all(map(_parses, lines)))


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def rows_of(path: Path, column: str, read: Read) -> Rows:
    """The rows of a structured file; `read` is told the bytes gone through.

    column: the one that is wanted; files that keep columns apart read no other.
    """
    if path.name in DESCRIBES:
        read(path.stat().st_size)
        return
    try:
        yield from (READERS.get(kind_of(path)) or _json)(path, column, read)
    except UnicodeDecodeError as error:
        yield Problem(str(path), f"not UTF-8 (byte {error.start})")
    except (EOFError, lzma.LZMAError, csv.Error) as error:
        yield Problem(str(path), f"damaged: {error}")
    except OSError as error:
        yield Problem(str(path), error.strerror or str(error))


def text_of(path: Path, read: Read) -> str | Problem:
    """The whole of a file without rows."""
    try:
        with path.open("rb") as raw:
            data = _unpacked(path, raw).read()
    except (EOFError, lzma.LZMAError) as error:
        return Problem(str(path), f"damaged: {error}")
    except OSError as error:
        return Problem(str(path), error.strerror or str(error))
    read(path.stat().st_size)
    if data[257:262] == b"ustar":
        return Problem(str(path), "a tar archive; unpack it first")
    try:
        text = str(data, ENCODING)
        return Problem(str(path), "no text: it holds zero bytes") if "\0" in text else text
    except UnicodeDecodeError as error:
        what = next((what for start, what in NOT_TEXT.items() if data.startswith(start)), None)
        return Problem(str(path), f"not UTF-8: {what}" if what else f"not UTF-8 (byte {error.start})")


def _unpacked(path: Path, raw: BinaryIO) -> Any:
    opened = COMPRESSED.get(path.suffix.lower())
    return opened(raw) if opened else raw


def _lines(path: Path, raw: BinaryIO, read: Read) -> Iterator[bytes]:
    before = 0
    for line in _unpacked(path, raw):
        if (now := raw.tell()) > before:
            read(now - before)
            before = now
        yield line


def _jsonl(path: Path, column: str, read: Read) -> Rows:
    with path.open("rb") as raw:
        for number, line in enumerate(_lines(path, raw, read), 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield from _json_line(line, column, f"{path}:{number}")


def _json_line(line: bytes, column: str, place: str) -> Rows:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        yield Problem(place, f"not UTF-8 (byte {error.start} of the line)")
    except (ValueError, RecursionError) as error:
        yield Problem(place, f"not JSON: {first_line(error)}")
    else:
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield from (TextRow(f"{place}#{i}", item) for i, item in enumerate(value, 1))
        else:
            yield TextRow(place, {column: value} if isinstance(value, str) else value)


def _json(path: Path, column: str, read: Read) -> Rows:
    with path.open("rb") as raw:
        data = _unpacked(path, raw).read()
    read(path.stat().st_size)
    try:
        value = json.loads(str(data, ENCODING))
    except RecursionError:
        yield Problem(str(path), "not JSON: nested too deeply")
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a row a line, under the other name
            for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
                yield from _json_line(line, column, f"{path}:{number}") if line.strip() else ()
        else:
            yield Problem(str(path), f"not JSON: {first_line(error)}")
    else:
        yield from _rows_in(value, column, str(path))


def _rows_in(value: Any, column: str, place: str) -> Rows:
    """The rows of one JSON value: an array of them, an object that is one, holds one array of them, or holds columns."""
    if isinstance(value, dict) and column not in value:
        lists = [part for part in value.values() if _is_rows(part)]
        if len(lists) == 1:
            value = lists[0]
    if isinstance(value, dict) and isinstance(found := value.get(column), list) and not _is_rows(found):
        yield from (TextRow(f"{place}#{i}", {column: item}) for i, item in enumerate(found, 1))
    elif isinstance(value, list):
        for i, item in enumerate(value, 1):
            yield TextRow(f"{place}#{i}", {column: item} if isinstance(item, str) else item)
    else:
        yield TextRow(place, value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _csv(path: Path, column: str, read: Read) -> Rows:
    csv.field_size_limit(LARGEST_FIELD)
    with path.open("rb") as raw, io.TextIOWrapper(_unpacked(path, raw), encoding=ENCODING, newline="") as text:
        head = text.readline()
        delimiter = "\t" if kind_of(path) == ".tsv" else _delimiter(head, column)
        table = csv.DictReader(itertools.chain([head], text), delimiter=delimiter)
        before = 0
        for row in table:
            now = raw.tell()
            read(now - before)
            before = now
            row.pop(None, None)  # more fields than the head has names for
            yield TextRow(f"{path}:{table.line_num}", row)


def _delimiter(head: str, column: str) -> str:
    """A comma, unless the column is only there with another, or there is no comma at all."""
    wanted = column.split(",")[0]
    for mark in ",;\t|":
        if wanted in (name.strip().strip('"') for name in head.split(mark)):
            return mark
    return ";" if ";" in head and "," not in head else ","


def _parquet(path: Path, column: str, read: Read) -> Rows:
    parquet = extra("pyarrow.parquet")

    def batches() -> Iterator[Any]:
        file = parquet.ParquetFile(path)
        names = [name for name in column.split(",") if name in file.schema_arrow.names]
        return file.iter_batches(columns=names) if names else iter([file.schema_arrow.empty_table()])

    yield from _columns(path, batches, column, read)


def _arrow(path: Path, column: str, read: Read) -> Rows:
    ipc = extra("pyarrow.ipc")
    if not _belongs(path):
        read(path.stat().st_size)
        return

    def batches() -> Iterator[Any]:
        with path.open("rb") as raw:
            is_file = raw.read(6) == b"ARROW1"
        reader = (ipc.open_file if is_file else ipc.open_stream)(str(path) if is_file else path.open("rb"))
        found = (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else iter(reader)
        first = next(found, None)
        yield reader.schema.empty_table() if first is None else first
        yield from found

    yield from _columns(path, batches, column, read)


def _belongs(path: Path) -> bool:
    """Of a saved data set only the files that it names are its rows: others are left from computing it."""
    try:
        state = json.loads((path.parent / "state.json").read_text(encoding="utf-8"))
        names = {file["filename"] for file in state["_data_files"]}
    except (OSError, ValueError, TypeError, KeyError):
        return True
    return path.name in names


def _columns(path: Path, batches: Callable[[], Iterator[Any]], column: str, read: Read) -> Rows:
    """Rows of a file that keeps columns apart. One problem for the file where it lacks the column."""
    import pyarrow

    wanted, size, number = column.split(","), path.stat().st_size, 0
    try:
        for batch in batches():
            if missing := [name for name in wanted if name not in batch.schema.names]:
                there = ", ".join(batch.schema.names)
                yield Problem(str(path), f"no column {missing[0]!r} (there is: {there}); name it: text_field (--text-field)")
                break
            for row in batch.select(wanted).to_pylist():
                number += 1
                yield TextRow(f"{path}:{number}", row)
        read(size)
    except (OSError, pyarrow.ArrowException) as error:
        yield Problem(str(path), f"not readable as {kind_of(path)[1:]}: {first_line(error)}")


READERS: dict[str, Callable[[Path, str, Read], Rows]] = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".arrow": _arrow,
}  # fmt: skip


def extra(module: str) -> Any:
    """A module that an extra of ours brings."""
    with extra_parts():
        return importlib.import_module(module)
