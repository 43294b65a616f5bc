"""A GGUF file as parts that can be put together again: keys and tensor infos as raw bytes, weights as spans of the source.

Format: ggml-org/ggml, docs/gguf.md, versions 2 and 3, little-endian. A file is only read if writing its header again gives
the same bytes; so whatever is not touched comes out bit for bit, and an undo can be exact.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from ropewalk.engines.gguf_values import Cursor
from ropewalk.engines.transformers.checkpoint import GGUF_MAGIC as MAGIC
from ropewalk.errors import BadConfig

T = TypeVar("T")

FREQS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
FACTORS = (FREQS, LONG, SHORT)
FLOAT32 = 0
MOST_KEYS, MOST_TENSORS = 100_000, 1_000_000
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
class ByteSpan:
    """Bytes `start` to `end` of the source file."""

    start: int
    end: int


Piece = bytes | ByteSpan


@dataclass(frozen=True, slots=True)
class Tensor:
    """shape: fastest axis first, as the file has it.  kind: ggml's number.  offset: bytes from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def count(self) -> int:
        """Numbers."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        numbers, block = BLOCKS[self.kind]
        return self.count // numbers * block


@dataclass(frozen=True, slots=True)
class GGUFDocument:
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
        return alignment_of(self.value(ALIGNMENT))

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


def alignment_of(value: Any) -> int:
    """Bytes, from the key's value; 32 where it is absent."""
    if value is None:
        return 32
    if not isinstance(value, int) or not 0 < value <= LARGEST_ALIGNMENT or value & (value - 1):
        raise ValueError(f"{ALIGNMENT} is {str(value)[:40]}, which is no power of 2 up to {LARGEST_ALIGNMENT:,}")
    return value


def length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.end - piece.start


def packed_text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def decoded(raw: bytes) -> Any:
    """The value of a key, from its type and bytes."""
    return Cursor(raw).value()


def read(path: Path, size: int | None = None) -> GGUFDocument:
    """The parts of the file. BadConfig where it is cut off, contradicts itself, or has anything the format does not know.

    size: bytes of the whole, where `path` holds its header and no weights.
    """

    def take(file: Any, there: int) -> GGUFDocument:
        return _document(file, there if size is None else size)

    return _mapped(path, take, "rewritten", ".\n  Nothing was written. Is the download complete?")


def read_header(path: Path) -> dict[str, Any]:
    """Every key of the metadata (long arrays left empty), and the rope factors as lists of numbers where they are there.

    For looking only: what engines overlook, such as weights that are missing or of an unknown type, is no error here.
    """
    return _mapped(path, _header, "read", ".")


def spans(beginning: bytes) -> list[ByteSpan]:
    """Where the header of a file is, and the lists of rope factors that a reader of it also reads.

    beginning: of the file, as much as there is. TooShort where the header goes on behind it, ValueError where it is none.
    """
    cursor = Cursor(beginning)
    _, tensors, keys = _start(cursor)
    found = {name: cursor.raw_value() for name in (cursor.name() for _ in range(keys))}
    named = ((name, _tensor(cursor, name)) for name in (cursor.name() for _ in range(tensors)))
    infos = [info for _, info in _unique("tensor", named)]  # or a header would ask for one list a million times
    aligned = alignment_of(decoded(found[ALIGNMENT]) if ALIGNMENT in found else None)
    start = -(-cursor.at // aligned) * aligned
    lists = (info for info in infos if info.name in FACTORS and info.kind in BLOCKS)
    return [ByteSpan(0, start), *(ByteSpan(start + info.offset, start + info.offset + info.size) for info in lists)]


def _mapped(path: Path, take: Callable[[Any, int], T], purpose: str, hint: str) -> T:
    """What `take` makes of the file's bytes and their number; BadConfig where it cannot."""
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            if size < 24:
                raise ValueError("it is too short: it ends before its header does")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as file:
                return take(file, size)
    except (ValueError, struct.error, MemoryError, OverflowError) as error:
        raise BadConfig(f"{path} is not a GGUF that can be {purpose}: {error}{hint}") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None


def _document(file: Any, size: int) -> GGUFDocument:
    cursor = Cursor(file, end=min(size, len(file), LARGEST_HEADER), errors="strict")
    version, tensor_count, key_count = _start(cursor)
    keys = tuple(_unique("key", ((cursor.name(), cursor.raw_value()) for _ in range(key_count))))
    infos = ((name, _tensor(cursor, name)) for name in (cursor.name() for _ in range(tensor_count)))
    tensors = tuple(tensor for _, tensor in _unique("tensor", infos))
    found = GGUFDocument(version, keys, tensors, ())
    header = found.header()
    if len(header) > cursor.end:
        raise ValueError("it ends before its header does")
    if header != file[: len(header)]:
        raise ValueError("its header is not spelt as the format says (padding that is not zero?)")
    _check_data(found, size - len(header))
    data = (ByteSpan(len(header), size),) if size > len(header) else ()
    return GGUFDocument(version, keys, tensors, data)


def _header(file: Any, size: int) -> dict[str, Any]:
    cursor = Cursor(file, errors="replace")
    _, tensors, keys = _start(cursor)
    found = {cursor.name(): cursor.brief_value() for _ in range(keys)}
    infos = [_tensor(cursor, cursor.name()) for _ in range(tensors)]
    if any(info.name.endswith((".lora_a", ".lora_b")) for info in infos):
        found.setdefault("general.type", "adapter")
    factors = [info for info in infos if info.name in FACTORS and len(info.shape) == 1]
    if factors:
        aligned = alignment_of(found.get(ALIGNMENT))
        start = -(-cursor.at // aligned) * aligned
        found |= {info.name: _floats(file, info, start + info.offset) for info in factors}
    return found


def _floats(file: Any, info: Tensor, start: int) -> list[float]:
    if info.kind != FLOAT32:
        raise ValueError(f"{info.name} has tensor type {info.kind}, not float32")
    if start > len(file):
        raise ValueError(f"{info.name} lies beyond its end")
    return list(struct.unpack(f"<{info.shape[0]}f", Cursor(file, start).take(4 * info.shape[0])))


def _start(cursor: Cursor) -> tuple[int, int, int]:
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


def _tensor(cursor: Cursor, name: str) -> Tensor:
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


def _check_data(found: GGUFDocument, available: int) -> None:
    for tensor in found.tensors:
        if tensor.kind not in BLOCKS:
            raise ValueError(f"{tensor.name} has tensor type {tensor.kind}, which is not known")
        if tensor.offset % found.alignment:
            raise ValueError(f"{tensor.name} is not aligned")
        if tensor.offset + tensor.size > available:
            raise ValueError(f"{tensor.name} lies beyond its end")
