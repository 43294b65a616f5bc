"""Records: every measurement as numbers on disk, so that any table or plot can be made again without the model.

One safetensors file per measurement, named by a hash of its key and written atomically. A run that is killed at any
moment and started again skips what is there and ends with the same files.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ropewalk.errors import BadConfig
from ropewalk.jobs.files import write_file

SCHEMA = "ropewalk.record/1"


@dataclass(frozen=True, slots=True)
class Key:
    """What was measured; two measurements with the same key must give the same numbers.

    model: fingerprint of the weights.  plan: fingerprint of the plan.  method: its name, for people.
    protocol: "position" or the name of a task.  item: hash of the token ids read.  length: tokens in the call.
    """

    model: str
    plan: str
    method: str
    protocol: str
    item: str
    length: int

    @property
    def name(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Record:
    """One measurement.

    nll: float32, -ln p of each scored token.
    facts: what else is needed to read it (document name, depth, dtype, versions, ...): JSON values.
    """

    key: Key
    nll: numpy.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


class Records:
    """The folder of a run's records."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: Key) -> Path:
        return self.folder / f"{key.name}.safetensors"

    def __contains__(self, key: Key) -> bool:
        return self.path(key).is_file()

    def add(self, record: Record) -> None:
        metadata = {"schema": SCHEMA, "key": json.dumps(asdict(record.key)), "facts": json.dumps(record.facts)}
        write_file(self.path(record.key), save({"nll": record.nll.astype(numpy.float32)}, metadata))

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob("*.safetensors")):
            yield read_record(path)


def read_record(path: Path) -> Record:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("schema") != SCHEMA:
                raise BadConfig(f"{path} is not a record of this version ({SCHEMA}).")
            return Record(Key(**json.loads(metadata["key"])), file.get_tensor("nll"), json.loads(metadata["facts"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(
            f"{path} cannot be read as a record: {error}.\n  Delete it and run again; it will be measured anew."
        ) from None


def ids_hash(ids: Any) -> str:
    """Hash of a sequence of token ids."""
    return hashlib.sha256(numpy.asarray(ids, dtype=numpy.int64).tobytes()).hexdigest()[:16]


def weights_hash(folder: Path) -> str:
    """Fingerprint of a checkpoint's weights: names, shapes and the first bytes of each file, not all of them.

    Reading 100 GB to name a model would cost more than measuring it; the header and 1 MiB tell checkpoints apart.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(str(path.stat().st_size).encode())
        with path.open("rb") as stream:
            digest.update(stream.read(2**20))
            stream.seek(max(path.stat().st_size - 2**20, 0))
            digest.update(stream.read(2**20))
    return digest.hexdigest()[:16]
