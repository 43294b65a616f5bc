"""Methods compared on the same documents, bucket by bucket: pure functions of readings."""

import itertools
from collections.abc import Sequence

import numpy

from ropewalk.jobs.evaluate.comparisons import Comparison, compare
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.tables import Sums, sums_by_position


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
