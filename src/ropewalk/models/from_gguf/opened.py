"""An opened GGUF: its keys, and its tensors over all of its files. Nothing but headers is read."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf import metadata
from ropewalk.checkpoints.gguf_edit import content, cut
from ropewalk.checkpoints.gguf_parts import read_parts
from ropewalk.engines.gguf_file import FLOAT32, FREQS, LONG, SHORT, GGUFDocument, Tensor
from ropewalk.errors import BadConfig


@dataclass(frozen=True, slots=True, eq=False)
class OpenedGGUF:
    """path: the first of its files.  found: its short keys, and the rope factors as lists of numbers.
    places: of each tensor the number of its file, and itself.
    """

    path: Path
    parts: tuple[Path, ...]
    documents: tuple[GGUFDocument, ...]
    found: Mapping[str, Any]
    places: Mapping[str, tuple[int, Tensor]]

    @property
    def arch(self) -> str:
        return str(self.found.get("general.architecture"))

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor for name, (_, tensor) in self.places.items()}

    @property
    def numbers(self) -> int:
        """How many the weights have."""
        return sum(tensor.count for tensor in self.tensors.values())

    def value(self, key: str) -> Any:
        """Of any key, long ones too."""
        return self.documents[0].value(key)

    def start(self, name: str) -> tuple[Path, int]:
        """The file of a tensor, and where it begins."""
        part, tensor = self.places[name]
        return self.parts[part], len(self.documents[part].header()) + tensor.offset


def open_parts(path: Path) -> OpenedGGUF:
    """BadConfig where a file is damaged, or the parts are not of one model."""
    parts, documents = read_parts(path)
    places = {tensor.name: (number, tensor) for number, document in enumerate(documents) for tensor in document.tensors}
    found = metadata(documents[0], b"")
    for name in (FREQS, LONG, SHORT):
        if name in places:
            number, tensor = places[name]
            found[name] = _factors(parts[number], documents[number], tensor)
    return OpenedGGUF(parts[0], parts, documents, found, places)


def _factors(path: Path, document: GGUFDocument, tensor: Tensor) -> list[float]:
    if tensor.kind != FLOAT32 or len(tensor.shape) != 1:
        raise BadConfig(
            f"{tensor.name} of {path} has shape {list(tensor.shape)} and type {tensor.kind}, and is a list of float32."
        )
    with path.open("rb") as origin:
        raw = content(cut(document.data, tensor.offset, tensor.offset + tensor.size), origin)
    return [shortest(number) for (number,) in struct.iter_unpack("<f", raw)]


def shortest(number: float) -> float:
    """The decimal that somebody wrote, of which a float32 keeps the nearest binary number: 1.01, not 1.0099999904632568."""
    for digits in range(6, 9):
        if struct.pack("<f", float(f"{number:.{digits}g}")) == struct.pack("<f", number):
            return float(f"{number:.{digits}g}")
    return number
