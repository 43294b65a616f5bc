"""The metadata of a GGUF file, and its rope factors: the header alone is read, never the weights.

Format: ggml-org/ggml, docs/gguf.md, versions 2 and 3, little-endian. Every length is checked against the file's before it
is believed.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

from ropewalk.errors import BadConfig

MAGIC = b"GGUF"
FREQS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY, FLOAT32 = 8, 9, 0
LONGEST_NAME = 65_535  # bytes; the format allows no longer key
MOST_KEYS, MOST_TENSORS = 100_000, 1_000_000
KEPT = 4096  # items of an array; vocabularies are passed over


def is_gguf(model: str | Path) -> bool:
    """By its name, or by its first four bytes: Ollama's files have no ending."""
    path = Path(model).expanduser()
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC
    except OSError:
        return False


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
