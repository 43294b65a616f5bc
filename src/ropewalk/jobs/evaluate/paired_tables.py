"""Methods compared on the same documents, bucket by bucket: pure functions of records."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy

from ropewalk.jobs.evaluate.comparisons import Comparison, compare
from ropewalk.jobs.evaluate.records import Record
from ropewalk.jobs.evaluate.statistics import Array

Sums = dict[str, Array]
"""Document to (buckets, 2): the loss of its tokens in nats, and how many they are; no tokens where it was not read so far."""
WINDOW = "window"  # the protocol of a reading


def document_sums(records: Iterable[Record], edges: Sequence[int]) -> dict[str, Sums]:
    """Per method, what each document adds to each bucket: the parts of which `loss_by_position` is the whole."""
    read: dict[str, dict[str, dict[int, Array]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.key.protocol == WINDOW and not record.facts.get("start"):
            read[record.key.method][record.facts["document"]][record.key.length] = record.nll
    return {
        method: {
            name: numpy.array([_sum(by_length, *ends) for ends in itertools.pairwise(edges)])
            for name, by_length in found.items()
        }
        for method, found in read.items()
    }


def _sum(by_length: Mapping[int, Array], low: int, high: int) -> tuple[float, int]:
    covering = [length for length in by_length if length >= high]
    if not covering:
        return 0.0, 0
    piece = by_length[min(covering)][max(low - 1, 0) : high - 1]
    return float(piece.sum(dtype=numpy.float64)), len(piece)


def compare_buckets(a: Sums, bucket: int, b: Sums, other: int) -> Comparison | None:
    """Loss of `a` in one bucket less that of `b` in another or the same, nats per token, over the documents both read so far.

    In the same bucket the tokens are the same, and the difference is pooled over them. In two buckets they are not: there
    documents are compared by their means and count alike. None without a document in common.
    """
    names = sorted(name for name in a.keys() & b.keys() if a[name][bucket, 1] and b[name][other, 1])
    if not names:
        return None
    (mine, counts), (its, its_counts) = (numpy.array([sums[n][i] for n in names]).T for sums, i in ((a, bucket), (b, other)))
    if bucket == other:
        return compare(mine, its, counts)
    return compare(mine / counts, its / its_counts, numpy.ones(len(names)))
