"""Tables as pure functions of records."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy

from ropewalk.jobs.evaluate.records import Record
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean, wilson

BITS = 1 / math.log(2)


def loss_by_position(records: Iterable[Record], edges: Sequence[int]) -> dict[str, list[Interval]]:
    """Bits per token between successive edges, per method.

    A token belongs to the bucket of its own position, 0 being BOS, which nothing predicts: nll[i - 1] is token i's. Where a
    document was read at several lengths (dynamic scaling), a bucket comes from the shortest reading that covers it, as a
    request of that length would see it. So every method is judged on the same tokens.
    """
    readings: dict[str, dict[str, dict[int, numpy.ndarray]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.key.protocol == "position":
            readings[record.key.method][record.facts["document"]][record.key.length] = record.nll
    return {
        method: [_bucket(documents.values(), low, high) for low, high in itertools.pairwise(edges)]
        for method, documents in readings.items()
    }


def _bucket(documents: Iterable[dict[int, numpy.ndarray]], low: int, high: int) -> Interval:
    slices = [by_length[min(n for n in by_length if n >= high)][max(low - 1, 0) : high - 1] for by_length in documents]
    sums = numpy.array([float(piece.sum(dtype=numpy.float64)) for piece in slices])
    counts = numpy.array([len(piece) for piece in slices])
    return cluster_mean(sums * BITS, counts)


def passkey_grid(records: Iterable[Record]) -> dict[str, dict[tuple[int, float], Interval]]:
    """Share of pass keys read back exactly, per method and (length, depth)."""
    hits: dict[str, dict[tuple[int, float], list[bool]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.key.protocol == "passkey":
            hits[record.key.method][record.key.length, record.facts["depth"]].append(record.facts["exact"])
    return {
        method: {cell: wilson(sum(tries), len(tries)) for cell, tries in sorted(cells.items())}
        for method, cells in hits.items()
    }


def passkey_by_length(grid: dict[tuple[int, float], Interval]) -> dict[int, float]:
    """Mean over depths, per length."""
    lengths: dict[int, list[float]] = defaultdict(list)
    for (length, _), cell in grid.items():
        lengths[length].append(cell.value)
    return {length: sum(values) / len(values) for length, values in sorted(lengths.items())}
