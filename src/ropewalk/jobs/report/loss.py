"""Loss by position as the certificate shows it: buckets, paired comparisons, and how far each method reads."""

import itertools
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

import numpy

from ropewalk.checkpoints.files import plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run, window_of
from ropewalk.measure.comparisons import Comparison, perplexity_ratio
from ropewalk.measure.protocols import CORPUS
from ropewalk.measure.records import Readings
from ropewalk.measure.retrieval_tables import ScoreCell, retrieval_grids, shares_by_length
from ropewalk.measure.scoring import RELATIVE
from ropewalk.measure.statistics import Interval, kind, wilson
from ropewalk.measure.tables import BITS, Sums, bucket_sums, compare_sums
from ropewalk.measure.verdict import HOLDS, OPEN, WORSE, Found, LastStretch, Verdict, verdict
from ropewalk.measure.window import WindowPlan

SKILL = 0.5  # of what is hidden inside the window; who finds less there says nothing by missing it beyond
SHOWN = 0.5  # of the share inside: what chance must not reach
MOST = 100_000  # samples


def found_by_length(run: Run, method: str, edges: Sequence[int]) -> dict[int, Found]:
    """For each edge beyond the window, what of every task was found at the lengths up to it, and above the edge before."""
    told: dict[int, list[Found]] = {}
    for task, grids in retrieval_grids(run.records).items():
        shares = {name: shares_by_length(grid) for name, grid in grids.items()}
        inside = _inside(shares, method, run.original_length)
        if inside is not None and inside < SKILL:
            continue
        for length, cell in shares.get(method, {}).items():
            edge = next((n for n in edges if length <= n), None)
            if edge is not None and length > run.original_length:
                told.setdefault(edge, []).append(_judged(task, length, cell, 1.0 if inside is None else inside))
    return {edge: _together(each) for edge, each in told.items()}


def _inside(shares: Mapping[str, Mapping[int, ScoreCell]], method: str, original: int) -> float | None:
    """The model unchanged at its longest length inside the window; where it was not asked, the method itself there."""
    for name in (REFERENCE, method):
        lengths = [n for n in shares.get(name, {}) if n <= original]
        if lengths:
            return shares[name][max(lengths)].share.value
    return None


def _judged(task: str, length: int, cell: ScoreCell, inside: float) -> Found:
    share, bar = cell.share, RELATIVE * inside
    said = f"{task} at {length:,} is found in {share.value:.0%} of {cell.tries}"
    if share.high < bar:
        return Found(WORSE, f"{said}, in {inside:.0%} inside the trained length")
    if share.value >= bar and share.low >= SHOWN * inside:
        return Found(HOLDS, said)
    needed = _needed(share.value, inside) if share.value >= bar else None
    more = f"about {needed:,} samples would decide" if needed else "more samples would decide"
    return Found(OPEN, f"{said} ({share.low:.0%} to {share.high:.0%}), too few to tell: {more}")


def _needed(share: float, inside: float) -> int | None:
    """Samples that show what these say, if they go on like this."""
    return next((n for n in range(2, MOST) if wilson(share * n, n).low >= SHOWN * inside), None)


def _together(each: Sequence[Found]) -> Found:
    """The worst of several tasks and lengths decides, and is what is said."""
    worst = max(each, key=lambda one: (HOLDS, OPEN, WORSE).index(one.state))
    return worst if worst.state != HOLDS else Found(HOLDS, ", ".join(one.words for one in each))


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
        "documents": max(len(readings.documents(method).keys() - {CORPUS}) for method in sums),
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


UNKNOWN = "No verdict: it needs two documents at least that were read with the method and by its judge, better ten."
NOISE = 1e-5  # nats per token: what the order of additions in float32 may do is no loss
MARGIN = 0.1  # bits per token: 7 % in perplexity
Cells = Mapping[str, Sequence[Sums | None]]


def verdicts(run: Run, margin: float = MARGIN) -> list[dict[str, Any]]:
    """A verdict for each method that read anything: the longest length at which it is shown to hold (`measure.verdict`).

    Compared with what: with the model unchanged where it was trained, L/2 to L, on the same documents; where the run has no
    such reading, with the method itself there. So a method that spoils everything evenly does not pass. A length of 0 is a
    method for which no length is shown, None one for which too few documents were read to tell.
    """
    edges = coarse_edges(run.original_length, run.reach)
    sums = bucket_sums(Readings(run.records), edges)
    return [_verdict(run, method, sums, edges, margin) for method in run.plans if method in sums]


def _verdict(run: Run, method: str, sums: Cells, edges: Sequence[int], margin: float) -> dict[str, Any]:
    judge = REFERENCE if REFERENCE in sums else method
    trained = sums[judge][TRAINED]
    read = {edges[i + 1]: cell for i, cell in enumerate(sums[method]) if i >= TRAINED and cell}
    names = (
        sorted(set(trained.documents).intersection(*(cell.documents for cell in read.values()))) if trained and read else []
    )
    made = {"method": method, "against": judge, "margin": margin, "length": None, "open": True, "worse_at": [], "steps": []}
    if trained is None or len(names) < 2:
        return {**made, "sentence": UNKNOWN}
    baseline = _stretch(edges[TRAINED + 1], trained, names)
    stretches = [_like(baseline, _stretch(n, cell, names)) for n, cell in read.items()]
    found = verdict(method, baseline, stretches, margin=margin, unit="bits", found=found_by_length(run, method, edges))
    plan = run.plans[method]
    seen = plan.window if isinstance(plan, WindowPlan) else None
    return {
        **made,
        "length": min(found.longest or 0, seen or found.longest or 0),
        "open": _is_open(found, baseline.length),
        "worse_at": [step.length for step in found.steps if step.loss == WORSE],
        "steps": plain(found.steps),
        "sentence": _of_a_window(method, seen, found) if seen else _sentence(run, method, found, sums, judge),
    }


def _is_open(found: Verdict, original: int) -> bool:
    """No length is shown to hold, and the first one beyond the window is not shown to fail: more would decide."""
    first = next((step for step in found.steps if step.length > original), found.steps[0])
    return found.longest is None and WORSE not in (first.loss, first.found.state if first.found else "")


def _sentence(run: Run, method: str, found: Verdict, sums: Cells, judge: str) -> str:
    words = found.words if judge == REFERENCE else _of_itself(found.words)
    return " ".join([words, *_beside_the_window(run, method, sums)])


def _of_a_window(method: str, seen: int, found: Verdict) -> str:
    last = found.steps[-1]
    return (
        f"{method} sees {seen:,} tokens at a time, so it reads no further than that; what it loses at {last.length:,} is "
        f"{last.difference.value:+.3f} bits. It is what a stretch must beat."
    )


def _beside_the_window(run: Run, method: str, sums: Cells) -> list[str]:
    """The strongest plain rival, where it was read: the model unchanged that forgets all but its last tokens."""
    window = window_of(run)
    if window is None or window not in sums or method == REFERENCE:
        return []
    compared = compare_sums(sums[method][-1], sums[window][-1], same_tokens=True)
    if compared is None or compared.documents < 2:
        return []
    gap = Interval(*(end * BITS for end in (compared.difference.value, compared.difference.low, compared.difference.high)))
    better = "less" if gap.high < 0 else "more" if gap.low > 0 else "neither less nor more"
    return [
        f"It loses {better} in the last stretch than {window}, the model unchanged that sees no more than that many tokens "
        f"({gap.value:+.3f} bits, {gap.low:+.3f} to {gap.high:+.3f})."
    ]


def _stretch(length: int, cell: Sums, names: Sequence[str]) -> LastStretch:
    """In bits, of the documents named and in their order."""
    where = [cell.documents.index(name) for name in names]
    return LastStretch(length, cell.sums[where] * BITS, cell.counts[where])


def _like(baseline: LastStretch, stretch: LastStretch) -> LastStretch:
    """Documents that differ by rounding alone do not differ."""
    same = baseline.sums / baseline.counts * stretch.counts
    near = abs(stretch.sums - same) < NOISE * BITS * stretch.counts
    return LastStretch(stretch.length, numpy.where(near, same, stretch.sums), stretch.counts)


def _of_itself(words: str) -> str:
    """The verdict's sentence speaks of the unstretched model; without one in the run, a method was judged by itself."""
    return words.replace("the unstretched model's at", "its own at").replace("the unstretched model reads", "it reads")
