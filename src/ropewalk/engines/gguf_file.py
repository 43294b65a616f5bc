"""A GGUF file as parts that can be put together again: keys and tensor infos as raw bytes, weights as spans of the source.

Format: ggml-org/ggml, docs/gguf.md, versions 2 and 3, little-endian. A file is only read if writing its header again gives
the same bytes; so whatever is not touched comes out bit for bit, and an undo can be exact.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ropewalk.engines.transformers.checkpoint import GGUF_MAGIC as MAGIC
from ropewalk.errors import BadConfig

FREQS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY, FLOAT32 = 8, 9, 0
LONGEST_NAME = 65_535  # bytes; the format allows no longer key
MOST_KEYS, MOST_TENSORS = 100_000, 1_000_000
KEPT = 4096  # items of an array; vocabularies are passed over


class _Reader:
    def __init__(self, stream: BinaryIO, size: int):
        self.stream, self.size = stream, size

    def bytes(self, count: int) -> bytes:
        if count > self.size - self.stream.tell():
            raise ValueError("it ends before its header does")
        return self.stream.read(count)

    def scalar(self, kind: int) -> Any:
        if kind not in SCALARS:
            raise ValueError(f"value type {kind} is not of the format")
        form = SCALARS[kind]
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def text(self, longest: int | None = None) -> str:
        length = self.scalar(10)
        if longest is not None and length > longest:
            raise ValueError(f"a name of {length} bytes")
        return self.bytes(length).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        return self.array() if kind == ARRAY else self.scalar(kind)

    def array(self) -> list[Any]:
        kind, count = self.scalar(4), self.scalar(10)
        if kind == ARRAY:
            raise ValueError("an array of arrays")
        if kind != STRING and count > KEPT:
            self.bytes(count * struct.calcsize(SCALARS.get(kind, "<B")))
            return []
        items = []
        for index in range(count):
            item = self.value(kind)
            if index < KEPT:
                items.append(item)
        return items


def read_header(path: Path) -> dict[str, Any]:
    """Every key of the metadata (long arrays left empty), and the rope factors as lists of numbers where they are there."""
    try:
        with path.open("rb") as stream:
            return _header(_Reader(stream, path.stat().st_size))
    except (ValueError, struct.error, MemoryError) as error:
        raise BadConfig(f"{path} is not a GGUF that can be read: {error}.") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None


def _header(reader: _Reader) -> dict[str, Any]:
    if reader.bytes(4) != MAGIC:
        raise ValueError("it does not start with GGUF")
    version = reader.scalar(4)
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, and 2 and 3 are known")
    tensors, keys = reader.scalar(10), reader.scalar(10)
    if tensors > MOST_TENSORS or keys > MOST_KEYS:
        raise ValueError(f"it claims {tensors} tensors and {keys} keys")
    found: dict[str, Any] = {}
    for _ in range(keys):
        name = reader.text(LONGEST_NAME)
        found[name] = reader.value(reader.scalar(4))
    factors: dict[str, tuple[int, int, int]] = {}
    for _ in range(tensors):
        name, dimensions = reader.text(LONGEST_NAME), reader.scalar(4)
        if name.endswith((".lora_a", ".lora_b")):
            found.setdefault("general.type", "adapter")
        if dimensions > 8:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        shape = [reader.scalar(10) for _ in range(dimensions)]
        kind, offset = reader.scalar(4), reader.scalar(10)
        if name in (FREQS, LONG, SHORT) and len(shape) == 1:
            factors[name] = (shape[0], kind, offset)
    end = reader.stream.tell()
    return {**found, **{name: _floats(reader, found, end, name, *where) for name, where in factors.items()}}


def _floats(reader: _Reader, found: dict[str, Any], end: int, name: str, count: int, kind: int, offset: int) -> list[float]:
    if kind != FLOAT32:
        raise ValueError(f"{name} has tensor type {kind}, not float32")
    aligned = found.get("general.alignment", 32)
    if not isinstance(aligned, int) or aligned <= 0:
        raise ValueError(f"general.alignment is {aligned!r}")
    start = -(-end // aligned) * aligned + offset
    if start > reader.size:
        raise ValueError(f"{name} lies beyond its end")
    reader.stream.seek(start)
    return list(struct.unpack(f"<{count}f", reader.bytes(4 * count)))


LARGEST_HEADER = 64 * 2**20  # bytes; vocabularies of 256,000 words take about 10 million
ALIGNMENT = "general.alignment"
LARGEST_ALIGNMENT = 2**20  # bytes; every published file has 32
# (numbers per block, bytes per block) by tensor type: GGML_QUANT_SIZES of gguf 0.19.0, which a test holds beside it.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36),
    41: (128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `end` of the source file."""

    start: int
    end: int


Piece = bytes | Span


@dataclass(frozen=True, slots=True)
class Tensor:
    """shape: fastest axis first, as the file has it.  kind: ggml's number.  offset: bytes from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        numbers, block = BLOCKS[self.kind]
        return prod(self.shape) // numbers * block


@dataclass(frozen=True, slots=True)
class Document:
    """keys: (name, type and value as the file has them).  data: all that follows the header, in order."""

    version: int
    keys: tuple[tuple[str, bytes], ...]
    tensors: tuple[Tensor, ...]
    data: tuple[Piece, ...]

    def raw(self, name: str) -> bytes | None:
        return dict(self.keys).get(name)

    def value(self, name: str) -> Any:
        """A number, a string, or a list of them; None where the key is absent."""
        raw = self.raw(name)
        return None if raw is None else decoded(raw)

    def tensor(self, name: str) -> Tensor | None:
        return next((tensor for tensor in self.tensors if tensor.name == name), None)

    @property
    def alignment(self) -> int:
        """Bytes."""
        value = self.value(ALIGNMENT)
        if value is None:
            return 32
        if not isinstance(value, int) or not 0 < value <= LARGEST_ALIGNMENT or value & (value - 1):
            raise ValueError(f"{ALIGNMENT} is {str(value)[:40]}, which is no power of 2 up to {LARGEST_ALIGNMENT:,}")
        return value

    @property
    def data_length(self) -> int:
        return sum(map(length, self.data))

    def header(self) -> bytes:
        """Everything before the data, padding included."""
        head = MAGIC + struct.pack("<IQQ", self.version, len(self.tensors), len(self.keys))
        keys = b"".join(packed_text(name) + raw for name, raw in self.keys)
        tensors = b"".join(
            packed_text(t.name)
            + struct.pack(f"<I{len(t.shape)}QIQ", len(t.shape), *t.shape, t.kind, t.offset)
            for t in self.tensors
        )  # fmt: skip
        all_of_it = head + keys + tensors
        return all_of_it + bytes(-len(all_of_it) % self.alignment)


def length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.end - piece.start


def packed_text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def decoded(raw: bytes) -> Any:
    """The value of a key, from its type and bytes."""
    return _Cursor(raw).value()


def read(path: Path) -> Document:
    """The parts of the file. BadConfig where it is cut off, contradicts itself, or has anything the format does not know."""
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            if size < 24:
                raise ValueError("it is too short")
            with mmap.mmap(stream.fileno(), min(size, LARGEST_HEADER), access=mmap.ACCESS_READ) as head:
                return _document(head, size)
    except (ValueError, struct.error, MemoryError, OverflowError) as error:
        raise BadConfig(
            f"{path} is not a GGUF that can be rewritten: {error}.\n  Nothing was written. Is the download complete?"
        ) from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None


class _Cursor:
    def __init__(self, buffer: Any, at: int = 0):
        self.buffer, self.at = buffer, at

    def take(self, count: int) -> bytes:
        if count > len(self.buffer) - self.at:
            raise ValueError("it ends before its header does")
        self.at += count
        return bytes(self.buffer[self.at - count : self.at])

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", errors="surrogateescape")

    def name(self) -> str:
        raw = self.take(min(self.number("<Q"), LONGEST_NAME + 1))
        if not raw or len(raw) > LONGEST_NAME:
            raise ValueError("a name is empty, or longer than the format allows")
        return raw.decode("utf-8")

    def value(self) -> Any:
        kind = self.number("<I")
        if kind != ARRAY:
            return self._item(kind)
        kind, count = self.number("<I"), self.number("<Q")
        return [self._item(kind) for _ in range(count)]

    def _item(self, kind: int) -> Any:
        return self.text() if kind == STRING else self.number(_form(kind))

    def raw_value(self) -> bytes:
        """Type and value, passed over without being taken apart."""
        start, kind, count = self.at, self.number("<I"), 1
        if kind == ARRAY:
            kind, count = self.number("<I"), self.number("<Q")
        if kind == STRING:
            self._pass_texts(count)
        else:
            self.take(count * struct.calcsize(_form(kind)))
        return bytes(self.buffer[start : self.at])

    def _pass_texts(self, count: int) -> None:
        """A vocabulary, in one tight loop: 130,000 words in a fortieth of a second."""
        at, length_at = self.at, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(self.buffer, at)[0]
        except (struct.error, OverflowError):  # a length beyond the end, or beyond what a machine counts to
            at = len(self.buffer) + 1
        self.take(at - self.at)


def _form(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"value type {kind} is not of the format")
    return SCALARS[kind]


def _document(head: Any, size: int) -> Document:
    cursor = _Cursor(head)
    version, tensor_count, key_count = _start(cursor)
    keys = tuple(_unique("key", ((cursor.name(), cursor.raw_value()) for _ in range(key_count))))
    infos = ((name, _tensor(cursor, name)) for name in (cursor.name() for _ in range(tensor_count)))
    tensors = tuple(tensor for _, tensor in _unique("tensor", infos))
    found = Document(version, keys, tensors, ())
    header = found.header()
    if len(header) > size or len(header) > len(head):
        raise ValueError("it ends before its header does")
    if header != bytes(head[: len(header)]):
        raise ValueError("its header is not spelt as the format says (padding that is not zero?)")
    _check_data(found, size - len(header))
    data = (Span(len(header), size),) if size > len(header) else ()
    return Document(version, keys, tensors, data)


def _start(cursor: _Cursor) -> tuple[int, int, int]:
    if cursor.take(4) != MAGIC:
        raise ValueError("it does not start with GGUF")
    version = cursor.number("<I")
    if version in (2 << 24, 3 << 24):
        raise ValueError("it is big-endian, which no current engine on a little-endian machine reads")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, and 2 and 3 are known")
    tensors, keys = cursor.number("<Q"), cursor.number("<Q")
    if tensors > MOST_TENSORS or keys > MOST_KEYS:
        raise ValueError(f"it claims {tensors} tensors and {keys} keys")
    return version, tensors, keys


def _tensor(cursor: _Cursor, name: str) -> Tensor:
    dimensions = cursor.number("<I")
    if dimensions > 4:
        raise ValueError(f"{name} has {dimensions} dimensions")
    shape = tuple(cursor.number("<Q") for _ in range(dimensions))
    return Tensor(name, shape, cursor.number("<I"), cursor.number("<Q"))


def _unique(what: str, named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, item in named:
        if name in seen:
            raise ValueError(f"the {what} {name} is there twice")
        seen.add(name)
        yield name, item


def _check_data(found: Document, available: int) -> None:
    for tensor in found.tensors:
        if tensor.kind not in BLOCKS:
            raise ValueError(f"{tensor.name} has tensor type {tensor.kind}, which is not known")
        if tensor.offset % found.alignment:
            raise ValueError(f"{tensor.name} is not aligned")
        if tensor.offset + tensor.size > available:
            raise ValueError(f"{tensor.name} lies beyond its end")
