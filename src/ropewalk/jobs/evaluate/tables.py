"""Tables as pure functions of records."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy

from ropewalk.jobs.evaluate.protocols import CORPUS, Protocol, Window
from ropewalk.jobs.evaluate.protocols.base import DOCUMENTS, TOKENS
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.records import Record
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean

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
        return cluster_mean(self.sums * BITS, self.counts)


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
