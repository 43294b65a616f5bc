"""What a stretch costs, as pure functions of records: the short-context tax, speed and memory."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy

from ropewalk.jobs.evaluate.comparisons import compare
from ropewalk.jobs.evaluate.records import Record
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean
from ropewalk.jobs.evaluate.tables import BITS


@dataclass(frozen=True, slots=True)
class Tax:
    """What a plan adds inside the original length, on the same tokens as the model unchanged.

    loss: bits per token added.  kl: KL(base || extended), bits per token.  Both with 95 % intervals over documents.
    """

    loss: Interval
    kl: Interval
    documents: int
    tokens: int

    @property
    def perplexity(self) -> float:
        """The loss as a change of perplexity: 0.01 is one percent more."""
        return float(2**self.loss.value - 1)


def tax_table(records: Iterable[Record]) -> dict[str, Tax]:
    """The short-context tax per method, pooled over tokens; documents are what is resampled."""
    filed: dict[str, dict[str, list[tuple[float, float, int]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.key.protocol == "tax":
            added = record.nll.astype(numpy.float64) - record.extra["base_nll"].astype(numpy.float64)
            kl = float(record.extra["kl"].sum(dtype=numpy.float64))
            filed[record.key.method][record.facts["document"]].append((float(added.sum()), kl, len(added)))
    return {method: _tax(list(documents.values())) for method, documents in filed.items()}


def _tax(documents: list[list[tuple[float, float, int]]]) -> Tax:
    """documents: of each, (loss added, KL, tokens) of its windows, in nats."""
    added, kl, tokens = numpy.array([numpy.sum(windows, axis=0) for windows in documents]).T
    paired = compare(added * BITS, numpy.zeros(len(added)), tokens).difference
    return Tax(paired, cluster_mean(kl * BITS, tokens), len(documents), int(tokens.sum()))


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over repeats. prefill, decode: tokens per second; None where not measured. peak_bytes: of the whole call."""

    prefill: float | None
    decode: float | None
    peak_bytes: float | None
    repeats: int


def speed_table(records: Iterable[Record]) -> dict[str, dict[int, Speed]]:
    """Method to length to speed."""
    filed: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.key.protocol == "speed":
            filed[record.key.method][int(record.facts.get("length", record.key.length))].append(record)
    return {method: {n: _speed(found) for n, found in sorted(lengths.items())} for method, lengths in filed.items()}


def _speed(records: list[Record]) -> Speed:
    return Speed(
        _median(records, "prefill_tokens_per_second"),
        _median(records, "decode_tokens_per_second"),
        _median(records, "peak_bytes"),
        len(records),
    )


def _median(records: list[Record], fact: str) -> float | None:
    values = [record.facts[fact] for record in records if record.facts.get(fact) is not None]
    return float(numpy.median(values)) if values else None
