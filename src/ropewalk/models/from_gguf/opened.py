"""An opened GGUF: its keys, and its tensors over all of its files. Nothing but headers is read."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.gguf import metadata
from ropewalk.checkpoints.gguf_edit import content, cut
from ropewalk.checkpoints.gguf_places import parts_of
from ropewalk.checkpoints.hub_header import size_of
from ropewalk.engines.gguf_file import FLOAT32, FREQS, LONG, SHORT, GGUFDocument, Tensor, read
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
    parts = parts_of(path)
    documents = tuple(read(part, size_of(part)) for part in parts)
    first = documents[0]
    count = first.value("split.count") or 1
    if count != len(parts):
        raise BadConfig(
            f"{path} says that its model is in {count} files, and it is {len(parts)} by its name.\n"
            "  Files of a model in parts are called NAME-00001-of-00003.gguf and so on: give them their names back."
        )
    places: dict[str, tuple[int, Tensor]] = {}
    for number, document in enumerate(documents):
        if number and document.value("split.no") != number:
            raise BadConfig(f"{parts[number]} says that it is part {document.value('split.no')}, and its name says {number}.")
        for tensor in document.tensors:
            if tensor.name in places:
                raise BadConfig(f"the tensor {tensor.name} is in {parts[number]} and in another part of the same model.")
            places[tensor.name] = number, tensor
    stated = first.value("split.tensors.count")
    if count > 1 and isinstance(stated, int) and stated != len(places):
        raise BadConfig(
            f"{path} and its other parts have {len(places)} tensors, and should have {stated}: are they of one model?"
        )
    found = metadata(first, b"")
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
