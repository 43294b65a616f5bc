"""Tables as pure functions of records."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy

from ropewalk.measure.comparisons import Comparison, compare
from ropewalk.measure.protocols import CORPUS, Protocol, Window
from ropewalk.measure.protocols.base import DOCUMENTS, TOKENS
from ropewalk.measure.records import Readings, Record
from ropewalk.measure.statistics import Interval, cluster_mean

BITS = 1 / math.log(2)


@dataclass(frozen=True, slots=True)
class Sums:
    """One cell of a table, document by document: what paired statistics and intervals are made of.

    documents: names.  sums: (documents,) nats.  counts: (documents,) of what has equal weight in the mean, tokens unless
    the protocol says otherwise.  tokens: (documents,) that were scored.
    """

    documents: tuple[str, ...]
    sums: numpy.ndarray
    counts: numpy.ndarray
    tokens: numpy.ndarray

    @property
    def mean(self) -> float:
        """Nats per token."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean)

    def interval(self) -> Interval:
        """Bits per token with a 95 % interval over documents."""
        return cluster_mean(self.sums * BITS, self.counts).not_below_0()


def table(readings: Readings, protocol: Protocol) -> dict[str, dict[str, Sums]]:
    """A protocol's table: method to line to sums, over the documents whose readings are complete.

    A method under which no document was read completely is left out.
    """
    found = {method: _table_of(readings, protocol, method) for method in readings.methods}
    return {method: cells for method, cells in found.items() if cells}


def _table_of(readings: Readings, protocol: Protocol, method: str) -> dict[str, Sums]:
    rows: dict[str, list[tuple[str, float, int, int]]] = defaultdict(list)
    bos = readings.has_bos(method)
    for name, tokens in readings.documents(method).items():
        if (name == CORPUS) != protocol.corpus or tokens < protocol.needs(bos):
            continue
        cells = {
            label: _sum(readings, method, windows, protocol) for label, windows in protocol.cells(name, tokens, bos).items()
        }
        complete = {label: cell for label, cell in cells.items() if cell}
        if len(complete) == len(cells):
            for label, cell in complete.items():
                rows[label].append((name, *cell))
    return {label: _sums(row) for label, row in rows.items()}


def _sum(readings: Readings, method: str, windows: Sequence[Window], protocol: Protocol) -> tuple[float, int, int] | None:
    """(sum, count, tokens) of one document; None where a reading is missing."""
    pieces = [readings.nll(method, window) for window in windows]
    read = [piece for piece in pieces if piece is not None]
    if len(read) < len(pieces):
        return None
    tokens, sums = sum(map(len, read)), [float(piece.sum(dtype=numpy.float64)) for piece in read]
    if protocol.average == TOKENS:
        return sum(sums), tokens, tokens
    if protocol.average == DOCUMENTS:
        return sum(sums) / tokens, 1, tokens
    return sum(total / len(piece) for total, piece in zip(sums, read, strict=True)), len(read), tokens


def _sums(rows: Sequence[tuple[str, float, int, int]]) -> Sums:
    names, sums, counts, tokens = zip(*rows, strict=True)
    return Sums(names, numpy.array(sums), numpy.array(counts), numpy.array(tokens))


def compat(readings: Readings, conventions: Iterable[Protocol]) -> dict[str, dict[str, float]]:
    """Perplexity by convention, as its own text names it, and method: exp of the mean that each convention takes."""
    return {
        str(convention): {
            method: next(iter(cells.values())).perplexity for method, cells in table(readings, convention).items()
        }
        for convention in conventions
    }


def sums_by_position(records: Iterable[Record] | Readings, edges: Sequence[int]) -> dict[str, list[Sums]]:
    """Sums between successive edges, per method, at any edges that the readings reach.

    A token belongs to the bucket of its own position, 0 being BOS, which nothing predicts. Where a document was read at
    several lengths (dynamic scaling), a bucket comes from the shortest reading that covers it, as a request of that
    length would see it. So every method is judged on the same tokens.
    """
    readings = records if isinstance(records, Readings) else Readings(records)
    found = {method: _by_position(readings, method, edges) for method in readings.methods}
    return {method: buckets for method, buckets in found.items() if buckets}


def _by_position(readings: Readings, method: str, edges: Sequence[int]) -> list[Sums]:
    rows: list[list[tuple[str, float, int, int]]] = [[] for _ in edges[1:]]
    for name in readings.documents(method):
        if name == CORPUS:
            continue
        pieces = [readings.covering(method, name, low, high) for low, high in itertools.pairwise(edges)]
        read = [piece for piece in pieces if piece is not None]
        if len(read) == len(pieces):
            for row, piece in zip(rows, read, strict=True):
                row.append((name, float(piece.sum(dtype=numpy.float64)), len(piece), len(piece)))
    return [_sums(row) for row in rows if row]


def loss_by_position(records: Iterable[Record] | Readings, edges: Sequence[int]) -> dict[str, list[Interval]]:
    """Bits per token between successive edges, per method. See `sums_by_position`."""
    return {method: [cell.interval() for cell in cells] for method, cells in sums_by_position(records, edges).items()}


def edges_of(original: int, target: int) -> tuple[int, ...]:
    """0, L/2, L, 2L, 4L, ... up to the target length: how many tokens a token has before it."""
    doubled = [original << k for k in range(1, 40) if original << k < target]
    return tuple(dict.fromkeys((0, original // 2, original, *doubled, max(target, original))))


def bucket_sums(readings: Readings, edges: Sequence[int]) -> dict[str, list[Sums | None]]:
    """As `sums_by_position`, but each bucket by itself: a run that is half finished has its first buckets.

    A bucket is over the documents that were read so far; None where none was.
    """
    found = [sums_by_position(readings, ends) for ends in itertools.pairwise(edges)]
    return {method: [bucket[method][0] if method in bucket else None for bucket in found] for method in readings.methods}


def compare_sums(a: Sums | None, b: Sums | None, *, same_tokens: bool) -> Comparison | None:
    """Loss of a less that of b, nats per token, over the documents that both have; None without one in common.

    same_tokens: two methods in one bucket; the difference is pooled over tokens. Otherwise, as between two buckets, documents
    are compared by their means and count alike.
    """
    if a is None or b is None:
        return None
    names, mine, its = numpy.intersect1d(a.documents, b.documents, return_indices=True)
    if not len(names):
        return None
    if same_tokens:
        return compare(a.sums[mine], b.sums[its], a.counts[mine])
    return compare(a.sums[mine] / a.counts[mine], b.sums[its] / b.counts[its], numpy.ones(len(names)))


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
    """Short-context degradation per method, pooled over tokens; documents are what is resampled."""
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
    return Tax(paired, cluster_mean(kl * BITS, tokens).not_below_0(), len(documents), int(tokens.sum()))


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
