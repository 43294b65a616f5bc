"""How far each method of a run reads: `evaluate.verdict` on its last stretches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ropewalk.jobs.evaluate.paired_tables import bucket_sums
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.tables import BITS, Sums
from ropewalk.jobs.evaluate.verdict import LEVEL, LastStretch, verdict
from ropewalk.jobs.report.loss import TRAINED, coarse_edges
from ropewalk.jobs.report.plain import plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run

UNKNOWN = "No verdict: it needs two documents at least that were read with the method and by its judge, better ten."
NOISE = 1e-5  # nats per token: what the order of additions in float32 may do is no loss


def verdicts(run: Run) -> list[dict[str, Any]]:
    """A verdict for each method that read anything: the longest length whose last stretch is not significantly worse.

    Worse than what: than the model unchanged where it was trained, L/2 to L, on the same documents; where the run has no
    such reading, than the method itself there. So a method that spoils everything evenly does not pass. A length of 0 is a
    method for which no stretch passes, None one for which too few documents were read to tell.
    """
    edges = coarse_edges(run.original_length, run.reach)
    sums = bucket_sums(Readings(run.records), edges)
    return [_verdict(method, sums, edges) for method in run.plans if method in sums]


def _verdict(method: str, sums: Mapping[str, Sequence[Sums | None]], edges: Sequence[int]) -> dict[str, Any]:
    judge = REFERENCE if REFERENCE in sums else method
    trained = sums[judge][TRAINED]
    read = {edges[i + 1]: cell for i, cell in enumerate(sums[method]) if i >= TRAINED and cell}
    names = (
        sorted(set(trained.documents).intersection(*(cell.documents for cell in read.values()))) if trained and read else []
    )
    if trained is None or len(names) < 2:
        return {"method": method, "against": judge, "length": None, "worse_at": [], "steps": [], "sentence": UNKNOWN}
    baseline = _stretch(edges[TRAINED + 1], trained, names)
    found = verdict(method, baseline, [_like(baseline, _stretch(n, cell, names)) for n, cell in read.items()], unit="bits")
    return {
        "method": method,
        "against": judge,
        "length": found.longest or 0,
        "worse_at": [step.length for step in found.steps if step.p_worse <= LEVEL],
        "steps": plain(found.steps),
        "sentence": found.words if judge == REFERENCE else _of_itself(found.words),
    }


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
    return words.replace("the unstretched model's at", "its own at").replace("the unstretched model at", "it is itself at")
