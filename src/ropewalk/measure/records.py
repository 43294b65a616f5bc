"""Records: every measurement as numbers on disk, so that any table or plot can be made again without the model.

One safetensors file per measurement, named by a hash of its key and written atomically. A run that is killed at any
moment and started again skips what is there and ends with the same files.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig
from ropewalk.measure.protocols import Window

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

    def drop(self, keys: Iterable[Key]) -> None:
        """Those that are there."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

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
        return self.beside(())

    def beside(self, keys: Iterable[Key]) -> Iterator[Record]:
        """All but those of these keys."""
        known = {key.name for key in keys}
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.stem not in known:
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
            _check_facts(facts)
            return Record(key, file.get_tensor(NLL), facts, extra)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadConfig):
            raise
        raise BadConfig(
            f"{path} cannot be read as a record: {error}.\n  Delete it and run again; it will be measured anew."
        ) from None


FACTS = {  # of those that tables are made of
    "document": str, "start": int, "length": int, "document_tokens": int, "shortest": int, "score": int | float,
    "depth": int | float, "scored": list,
}  # fmt: skip


def _check_facts(facts: dict[str, Any]) -> None:
    """ValueError for facts of another kind than those that a run writes."""
    for name, kind in FACTS.items():
        if facts.get(name) is not None and not isinstance(facts[name], kind):
            raise ValueError(f"{name} is {facts[name]!r}")
    ranges = facts.get("scored") or ()
    if not all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair) for pair in ranges):
        raise ValueError(f"scored is {ranges!r}")


def ids_hash(ids: Any) -> str:
    """Hash of a sequence of token ids."""
    return hashlib.sha256(numpy.asarray(ids, dtype=numpy.int64).tobytes()).hexdigest()[:16]


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of a fast tokenizer's serialised form: its vocabulary, merges and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]


WINDOW = "window"


class Place(NamedTuple):
    document: str
    start: int
    bos: bool


class Reading(NamedTuple):
    """One record, with the facts that place it.

    length: tokens in the call.  shortest: of the windows that it can stand for.  scored: ranges of indices.  tokens: of the
    whole document.
    """

    record: Record
    length: int
    shortest: int
    scored: Sequence[Sequence[int]]
    tokens: int

    def part(self, low: int, high: int) -> numpy.ndarray | None:
        """-ln p of the tokens with index low to high; None where not all of them were scored."""
        before = 0
        for start, end in self.scored:
            if start <= low and high <= end:
                return self.record.nll[before + low - start : before + high - start]
            before += end - start
        return None


def _read(record: Record) -> tuple[Place, Reading]:
    """Facts that are absent say: the whole of a document, from its start, all tokens, under a static plan."""
    facts, length = record.facts, record.key.length
    bos = facts.get("bos", True)
    scored = facts.get("scored") or [[length - len(record.nll), length]]
    if sum(end - start for start, end in scored) != len(record.nll):
        raise BadConfig(
            f"the record {record.key.name} of {facts['document']} has {len(record.nll)} losses for the tokens {scored}.\n"
            "  Delete its file and run again."
        )
    tokens = facts.get("document_tokens", length - bos)
    place = Place(facts["document"], facts.get("start", 0), bos)
    return place, Reading(record, length, facts.get("shortest", 2), scored, tokens)


class Readings:
    """Readings by method and place. Records of other protocols are passed over."""

    def __init__(self, records: Iterable[Record]):
        self._by_method: dict[str, dict[Place, list[Reading]]] = defaultdict(lambda: defaultdict(list))
        for record in records:
            if record.key.protocol == WINDOW:
                place, reading = _read(record)
                self._by_method[record.key.method][place].append(reading)
        for places in self._by_method.values():
            for found in places.values():
                found.sort(key=lambda reading: reading.length)

    @property
    def methods(self) -> list[str]:
        return list(self._by_method)

    def documents(self, method: str) -> dict[str, int]:
        """Tokens, without BOS, of every document of which something was read, in name order."""
        places = sorted(self._by_method.get(method, {}).items(), key=lambda item: item[0])
        return {place.document: max(reading.tokens for reading in found) for place, found in places}

    def has_bos(self, method: str) -> bool:
        """Was any reading begun by BOS? If none was, the tokenizer has none."""
        return any(place.bos for place in self._by_method.get(method, {}))

    def nll(self, method: str, window: Window) -> numpy.ndarray | None:
        """-ln p, nats, of the window's tokens from `first` to its end; None where no reading holds them.

        From the shortest reading that holds the window and is allowed to stand for it, that is, rotates it alike.
        """
        for reading in self._at(method, window.document, window.start, window.bos):
            if reading.shortest <= window.length <= reading.length:
                found = reading.part(window.first, window.length)
                if found is not None:
                    return found
        return None

    def covering(self, method: str, document: str, low: int, high: int) -> numpy.ndarray | None:
        """-ln p of tokens low to high of a document read from its start, as the shortest reading that covers them saw them."""
        for bos in (True, False):
            for reading in self._at(method, document, 0, bos):
                if reading.length >= high and (found := reading.part(max(low, 1), high)) is not None:
                    return found
        return None

    def _at(self, method: str, document: str, start: int, bos: bool) -> Sequence[Reading]:
        return self._by_method.get(method, {}).get(Place(document, start, bos), ())
