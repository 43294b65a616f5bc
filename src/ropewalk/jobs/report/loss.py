"""Loss by position as the certificate shows it: buckets, paired comparisons, and how far each method reads."""

import itertools
from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

import numpy

from ropewalk.jobs.evaluate.comparisons import Comparison, perplexity_ratio
from ropewalk.jobs.evaluate.paired_tables import Sums, compare_buckets, document_sums
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean
from ropewalk.jobs.report.plain import kind, plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run

FINE = 16  # buckets of the plot between the trained and the target length
BITS = 1 / log(2)
TRAINED = 1  # the bucket L/2 to L: the model's last stretch where it was trained


def coarse_edges(original: int, target: int) -> list[int]:
    """0, L/2, L, 2 L, 4 L, ... up to the target: the edges of the tables."""
    edges = [0, original // 2, original]
    while edges[-1] * 2 <= target:
        edges.append(edges[-1] * 2)
    return edges


def fine_edges(original: int, target: int) -> list[int]:
    """Quarters of the trained length, then even steps: the edges of the plot."""
    step = max((target - original) // FINE, 1)
    return [*range(0, original, original // 4), *range(original, target - step + 1, step), target]


def loss(run: Run) -> dict[str, Any] | None:
    """Bits per token by position and method; None where nothing was read."""
    edges, fine = coarse_edges(run.original_length, run.reach), fine_edges(run.original_length, run.reach)
    sums = document_sums(run.records, edges)
    rows = {method: _row(sums[method]) for method in run.plans if method in sums}
    if not rows:
        return None
    plot = document_sums(run.records, fine)
    return {
        "buckets": list(itertools.pairwise(edges)),
        "fine_edges": fine,
        "documents": max(len(documents) for documents in sums.values()),
        "rows": {method: [_shown(cell, i, rows) for i, cell in enumerate(row)] for method, row in rows.items()},
        "plot": {method: plain(_row(plot[method])) for method in rows},
        "compared": _compared(sums, rows),
        "prefix": prefix_ratios(run, edges[2:]),
    }


def _row(documents: Sums) -> list[Interval | None]:
    """Bits per token of each bucket, over the documents that were read so far; None where none was."""
    buckets = len(next(iter(documents.values())))
    return [_mean([sums[i] for sums in documents.values() if sums[i, 1]]) for i in range(buckets)]


def _mean(pieces: Sequence[Any]) -> Interval | None:
    if not pieces:
        return None
    nats, tokens = numpy.array(pieces).T
    return cluster_mean(nats * BITS, tokens)


Rows = Mapping[str, Sequence[Interval | None]]


def _shown(cell: Interval | None, bucket: int, rows: Rows) -> dict[str, Any] | None:
    """The lowest of a column is marked, as it is written: to three places."""
    lowest = min(round(c.value, 3) for row in rows.values() if (c := row[bucket]))
    return dict(plain(cell), best=round(cell.value, 3) == lowest) if cell else None


def _compared(sums: Mapping[str, Sums], rows: Rows) -> dict[str, Any] | None:
    """Each method in the last stretch against what readers ask about, as ratios of perplexity on the same documents."""
    last = len(next(iter(rows.values()))) - 1
    means = {method: row[last].value for method, row in rows.items() if row[last]}  # type: ignore[union-attr]
    if len(means) < 2:
        return None
    best = min(means, key=means.__getitem__)
    wanted = ((REFERENCE, TRAINED), (REFERENCE, last), (best, last))
    against = [(method, bucket) for method, bucket in dict.fromkeys(wanted) if method in sums]
    return {
        "against": [
            {"method": method, "bucket": bucket, "best": method == best and bucket == last} for method, bucket in against
        ],
        "rows": {method: [_ratio(sums, (method, last), other) for other in against] for method in means},
    }


def _ratio(sums: Mapping[str, Sums], mine: tuple[str, int], other: tuple[str, int]) -> dict[str, Any] | None:
    """None for a method against itself in the same stretch, or without a document in common."""
    found = None if mine == other else compare_buckets(sums[mine[0]], mine[1], sums[other[0]], other[1])
    if found is None:
        return None
    ratio = perplexity_ratio(found.difference)
    return {"ratio": plain(ratio), "kind": kind(ratio, 1.0), "p": found.p, "detectable": plain(_more(found))}


def _more(found: Comparison) -> float:
    """The smallest detectable difference as a share of perplexity: 0.02 is 2 %."""
    return exp(found.detectable) - 1 if found.detectable < 700 else float("inf")


def prefix_ratios(run: Run, lengths: Sequence[int]) -> dict[str, dict[int, float]]:
    """Loss over all tokens up to a length, as a ratio to that over the first original length: what published curves show."""
    sums = {n: document_sums(run.records, [0, n]) for n in lengths}
    means = {method: {n: _row(sums[n][method])[0] for n in lengths} for method in run.plans if method in sums[lengths[0]]}
    return {
        method: {n: mean.value / first.value for n, mean in row.items() if mean}
        for method, row in means.items()
        if (first := row[lengths[0]])
    }
