"""What one reading says and costs: a document and a question under one plan, measured once and kept on disk."""

import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from ropewalk.measure.documents import Document
from ropewalk.measure.faults import BatchSize
from ropewalk.measure.material import Material
from ropewalk.measure.passes import bodies, measure, versions, wanted_passes, window_measurements
from ropewalk.measure.protocols import Protocol
from ropewalk.measure.records import Key, Record, Records, read_record
from ropewalk.measure.retrieval import Asker, sample_key
from ropewalk.measure.retrieval_tables import score_of
from ropewalk.measure.speed import measure_speed, speed_keys
from ropewalk.measure.tables import BITS
from ropewalk.measure.task import Sample
from ropewalk.measure.tax import record_tax, tax_measurements
from ropewalk.models.attach import attach
from ropewalk.scaling.plan import ScalingPlan

SECONDS = "seconds.jsonl"  # beside the records: what each took


@dataclass(frozen=True, slots=True)
class Answer:
    """chance: the probability of the whole right answer.  found: 0 or 1, would it be written?  seconds: that it took, then."""

    chance: float
    found: float
    seconds: float


class Reader:
    """Reads and asks one model under any plan. What is on disk is not measured again, and costs what it did cost.

    clock: in seconds.  tell: is called with what share of a document is read, under which plan.
    used: the keys of what this process asked for, whether it was on disk or not.
    """

    def __init__(
        self, model: Any, model_hash: str, tokenizer_hash: str, material: Material, folder: Path, *,
        facts: dict[str, Any], batch: int = 1, clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str, float], None] = lambda plan, share: None,
    ):  # fmt: skip
        self.model, self.model_hash, self.tokenizer_hash, self.material = model, model_hash, tokenizer_hash, material
        self.records, self.clock, self.tell, self.batch = Records(folder), clock, tell, BatchSize(batch)
        self.facts = {**versions(model), **facts}
        self.asker = Asker(model, model_hash, material, self.records, self.batch, self.facts)
        self.seconds = _known(folder / SECONDS)
        self.used: set[Key] = set()
        self.warm: set[str] = set()  # plans whose speed this process has measured

    @property
    def bos(self) -> int | None:
        found: int | None = self.material.tokenizer.bos_token_id
        return found

    def document(self, plan: ScalingPlan, document: Document, protocol: Protocol) -> tuple[float, float]:
        """(bits per token over every token that the protocol scores, seconds)."""
        passes = wanted_passes([protocol], [document], plan, bos=self.bos).passes
        texts = bodies([document], self.bos)
        wanted = list(
            window_measurements(
                self.model_hash, plan, passes, texts, bos=self.bos, tokenizer_hash=self.tokenizer_hash
            )
        )  # fmt: skip
        keys = [m.key for m in wanted]
        read, total = 0.0, sum(m.cost for m in wanted)

        def advance(cost: float) -> None:
            nonlocal read
            read += cost
            self.tell(plan.name, read / total)

        self._timed(keys, lambda: measure(self.model, plan, wanted, self.records, advance, batch=self.batch))
        last = max(keys, key=lambda key: key.length)
        bits = float(read_record(self.records.path(last)).nll.mean(dtype=numpy.float64)) * BITS
        return bits, self._took(keys)

    def question(self, plan: ScalingPlan, sample: Sample) -> Answer:
        key = sample_key(self.model_hash, plan, sample)
        self._timed([key], lambda: self.asker.ask(plan, [sample], lambda cost: None))
        record = read_record(self.records.path(key))
        return Answer(chance_of(record), score_of(record), self._took([key]))

    def tax(self, plan: ScalingPlan, document: Document) -> float:
        """What the plan costs inside the window, filed; the seconds that it took."""
        wanted = tax_measurements(self.model_hash, plan, [document])
        keys = [m.key for m in wanted]
        self._timed(keys, lambda: record_tax(self.model, plan, wanted, self.records, self.facts, lambda cost: None))
        return self._took(keys)

    def speeds(self, plans: Iterable[ScalingPlan], length: int, repeat: int) -> float:
        """How fast each is, filed; the seconds that it took. Where one is missing all are measured anew: those of another hour
        are not to be compared with those of now."""
        keys = {speed_keys(self.model_hash, plan, length)[repeat]: plan for plan in plans}
        if not all(key in self.records for key in keys):
            self.records.drop(keys)
        for key, plan in keys.items():
            self._timed([key], partial(self._speed, plan, key))
        return self._took(list(keys))

    def _speed(self, plan: ScalingPlan, key: Key) -> None:
        with attach(self.model, plan) as attached:
            self.records.add(measure_speed(self.model, attached, key, self.facts, warm=plan.fingerprint in self.warm))
        self.warm.add(plan.fingerprint)

    @property
    def spent(self) -> float:
        """Seconds that all of it took which is on disk."""
        return sum(self.seconds.values())

    def _took(self, keys: Sequence[Key]) -> float:
        """A process that was killed between a record and its seconds left no word of them: then as long as most took."""
        usual = statistics.median(self.seconds.values()) if self.seconds else 0.0
        return sum(self.seconds.get(key.name, usual) for key in keys)

    def _timed(self, keys: Sequence[Key], work: Callable[[], None]) -> None:
        self.used.update(keys)
        if all(key in self.records for key in keys):
            return
        began = self.clock()
        work()
        took = (self.clock() - began) / len(keys)
        with (self.records.folder / SECONDS).open("a", encoding="utf-8") as stream:
            for key in keys:
                self.seconds[key.name] = took
                stream.write(json.dumps({"record": key.name, "seconds": took}) + "\n")


def chance_of(record: Record) -> float:
    """Of the whole answer: the share that would be right if answers were drawn, and far steadier than what is written."""
    return math.exp(-float(record.nll.sum(dtype=numpy.float64)))


def _known(path: Path) -> dict[str, float]:
    """By the record's name. The line that a killed process left half-written says nothing."""
    found: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            found[row["record"]] = float(row["seconds"])
        except (ValueError, KeyError, TypeError):
            continue
    return found
