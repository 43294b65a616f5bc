"""Does a method still find what is hidden? Per length, against what the model finds inside its window."""

from collections.abc import Mapping, Sequence

from ropewalk.jobs.evaluate.retrieval_tables import Cell, retrieval_grids, shares_by_length
from ropewalk.jobs.evaluate.scoring import RELATIVE
from ropewalk.jobs.evaluate.statistics import wilson
from ropewalk.jobs.evaluate.verdict import HOLDS, OPEN, WORSE, Found
from ropewalk.jobs.report.run_folder import REFERENCE, Run

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


def _inside(shares: Mapping[str, Mapping[int, Cell]], method: str, original: int) -> float | None:
    """The model unchanged at its longest length inside the window; where it was not asked, the method itself there."""
    for name in (REFERENCE, method):
        lengths = [n for n in shares.get(name, {}) if n <= original]
        if lengths:
            return shares[name][max(lengths)].share.value
    return None


def _judged(task: str, length: int, cell: Cell, inside: float) -> Found:
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
