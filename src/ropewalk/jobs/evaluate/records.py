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

SCHEMA = "ropewalk.record/2"
NLL = "nll"  # the tensor that every record has


@dataclass(frozen=True, slots=True)
class Key:
    """What was measured; two measurements with the same key must give the same numbers.

    model: fingerprint of the checkpoint and of the code that reads it.  plan: fingerprint of the plan.  method: its name, for
    people.
    protocol: "window" for a stretch of a document, or the name of a task.  item: hash of what was read and which of its
    tokens were scored.  length: tokens in the call.
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
    extra: other numbers per token, such as "kl"; kept in the dtype they have.
    """

    key: Key
    nll: numpy.ndarray
    facts: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, numpy.ndarray] = field(default_factory=dict)


class Records:
    """The folder of a run's records, all of one model."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._model: str | None = None

    def path(self, key: Key) -> Path:
        return self.folder / f"{key.name}.safetensors"

    def __contains__(self, key: Key) -> bool:
        return self.path(key).is_file()

    def add(self, record: Record) -> None:
        """Write one record, whole or not at all. Raises BadConfig where the folder is another model's."""
        if NLL in record.extra:
            raise ValueError(f"extra cannot have a tensor called {NLL!r}: that is the loss itself.")
        self.check_model(record.key.model)
        metadata = {"schema": SCHEMA, "key": json.dumps(asdict(record.key)), "facts": json.dumps(record.facts)}
        tensors = {NLL: record.nll.astype(numpy.float32), **record.extra}
        contiguous = {name: numpy.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        write_file(self.path(record.key), save(contiguous, metadata))

    def check_model(self, model: str) -> None:
        """Refuse to mix models: a table of both would compare weights where it says it compares plans.

        One record is looked at: since every record was added under this rule, it speaks for all.
        """
        if self._model is None:
            first = next(iter(self), None)
            self._model = first.key.model if first else model
        if self._model != model:
            raise BadConfig(
                f"{self.folder} holds records of a model with the fingerprint {self._model}; this one's is {model}.\n"
                "  Either the model, its tokenizer or the code that reads them was changed since, or the folder was meant\n"
                "  for another. Give this model a folder of its own, or delete the records."
            )

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob("*.safetensors")):
            yield read_record(path)


def read_record(path: Path) -> Record:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("schema") != SCHEMA:
                raise BadConfig(
                    f"{path} is not a record of this version: its schema is {metadata.get('schema')!r}, not {SCHEMA!r}.\n"
                    "  It was made by another version of Ropewalk, or is something else. Measure again in a new folder."
                )
            extra = {name: file.get_tensor(name) for name in file.keys() if name != NLL}  # noqa: SIM118  (no iterator)
            key, facts = Key(**json.loads(metadata["key"])), json.loads(metadata["facts"])
            return Record(key, file.get_tensor(NLL), facts, extra)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(
            f"{path} cannot be read as a record: {error}.\n  Delete it and run again; it will be measured anew."
        ) from None


def ids_hash(ids: Any) -> str:
    """Hash of a sequence of token ids."""
    return hashlib.sha256(numpy.asarray(ids, dtype=numpy.int64).tobytes()).hexdigest()[:16]


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of a fast tokenizer's serialised form: its vocabulary, merges and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
