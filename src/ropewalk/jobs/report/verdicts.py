"""How far each method of a run reads: `evaluate.verdict` on its last stretches, and on what it still finds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ropewalk.jobs.evaluate.paired_tables import bucket_sums, compare_sums
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.statistics import Interval
from ropewalk.jobs.evaluate.tables import BITS, Sums
from ropewalk.jobs.evaluate.verdict import WORSE, LastStretch, Verdict, verdict
from ropewalk.jobs.evaluate.window import WindowPlan
from ropewalk.jobs.report.found import found_by_length
from ropewalk.jobs.report.loss import TRAINED, coarse_edges
from ropewalk.jobs.report.plain import plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run, window_of

UNKNOWN = "No verdict: it needs two documents at least that were read with the method and by its judge, better ten."
NOISE = 1e-5  # nats per token: what the order of additions in float32 may do is no loss
MARGIN = 0.1  # bits per token: 7 % in perplexity
Cells = Mapping[str, Sequence[Sums | None]]


def verdicts(run: Run, margin: float = MARGIN) -> list[dict[str, Any]]:
    """A verdict for each method that read anything: the longest length at which it is shown to hold (`evaluate.verdict`).

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
