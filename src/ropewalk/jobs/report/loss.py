"""Loss by position as the certificate shows it: buckets, paired comparisons, and how far each method reads."""

import itertools
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from ropewalk.jobs.evaluate.comparisons import Comparison, perplexity_ratio
from ropewalk.jobs.evaluate.paired_tables import bucket_sums, compare_sums
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.statistics import Interval
from ropewalk.jobs.evaluate.tables import Sums
from ropewalk.jobs.report.plain import kind, plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run, window_of

FINE = 16  # buckets of the plot between the trained and the target length
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
    readings = Readings(run.records)
    sums = _in_order(run, bucket_sums(readings, edges))
    if not sums:
        return None
    rows = {method: [cell.interval() if cell else None for cell in cells] for method, cells in sums.items()}
    alike = [len({cell.documents for cell in column if cell}) == 1 for column in zip(*sums.values(), strict=True)]
    plot = bucket_sums(readings, fine)
    return {
        "buckets": list(itertools.pairwise(edges)),
        "fine_edges": fine,
        "documents": max(len(readings.documents(method)) for method in sums),
        "rows": {method: [_shown(cell, i, rows, alike) for i, cell in enumerate(row)] for method, row in rows.items()},
        "plot": {method: plain([cell.interval() if cell else None for cell in plot[method]]) for method in sums},
        "compared": _compared(run, sums, rows, alike[-1]),
        "prefix": prefix_ratios(run, edges[2:]),
    }


def _in_order(run: Run, table: Mapping[str, Any]) -> dict[str, Any]:
    return {method: table[method] for method in run.plans if method in table}


Rows = Mapping[str, Sequence[Interval | None]]


def _shown(cell: Interval | None, bucket: int, rows: Rows, alike: Sequence[bool]) -> dict[str, Any] | None:
    """The lowest of a column is marked, as it is written: to three places. Not where methods have read other documents."""
    if cell is None:
        return None
    if not alike[bucket]:
        return dict(plain(cell), best=False)
    lowest = min(round(c.value, 3) for row in rows.values() if (c := row[bucket]))
    return dict(plain(cell), best=round(cell.value, 3) == lowest)


def _compared(run: Run, sums: Mapping[str, Sequence[Sums | None]], rows: Rows, alike: bool) -> dict[str, Any] | None:
    """Each method in the last stretch against what readers ask about, as ratios of perplexity on the same documents."""
    last = len(next(iter(rows.values()))) - 1
    means = {method: row[last].value for method, row in rows.items() if row[last]}  # type: ignore[union-attr]
    if len(means) < 2:
        return None
    best = min(means, key=means.__getitem__) if alike else None
    window = window_of(run)
    wanted = ((REFERENCE, TRAINED), (REFERENCE, last), (window, last), (best, last))
    against = [(method, bucket) for method, bucket in dict.fromkeys(wanted) if method is not None and method in sums]
    return {
        "against": [
            {"method": method, "bucket": bucket, "best": method == best and bucket == last} for method, bucket in against
        ],
        "rows": {method: [_ratio(sums, (method, last), other) for other in against] for method in means},
    }


def _ratio(sums: Mapping[str, Sequence[Sums | None]], mine: tuple[str, int], other: tuple[str, int]) -> dict[str, Any] | None:
    """None for a method against itself in the same stretch, or without a document in common."""
    (method, bucket), (its, its_bucket) = mine, other
    cells = sums[method][bucket], sums[its][its_bucket]
    found = None if mine == other else compare_sums(*cells, same_tokens=bucket == its_bucket)
    if found is None:
        return None
    ratio = perplexity_ratio(found.difference)
    return {"ratio": plain(ratio), "kind": kind(ratio, 1.0), "p": found.p, "detectable": plain(_more(found))}


def _more(found: Comparison) -> float:
    """The smallest detectable difference as a share of perplexity: 0.02 is 2 %."""
    return exp(found.detectable) - 1 if found.detectable < 700 else float("inf")


def prefix_ratios(run: Run, lengths: Sequence[int]) -> dict[str, dict[int, float]]:
    """Loss over all tokens up to a length, as a ratio to that over the first original length: what published curves show."""
    readings = Readings(run.records)
    means = {n: {m: cells[0].mean for m, cells in bucket_sums(readings, [0, n]).items() if cells[0]} for n in lengths}
    first = means[lengths[0]]
    return {m: {n: means[n][m] / first[m] for n in lengths if m in means[n]} for m in run.plans if m in first}
