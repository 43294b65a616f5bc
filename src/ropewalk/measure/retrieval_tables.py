"""Tables of retrieval as pure functions of records: depth by length, and how far a model gets."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy

from ropewalk.measure.records import Record
from ropewalk.measure.scoring import RELATIVE, effective_length
from ropewalk.measure.statistics import Interval, wilson
from ropewalk.measure.task import by_rung

# Hsieh et al. 2024, arXiv:2404.06654v3, table 1; the threshold of 85.6 belongs to the mean over all thirteen.
RULER = tuple(
    "niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue "
    "niah_multiquery vt cwe fwe qa_1 qa_2".split()
)
NOT_TASKS = frozenset(("window", "tax", "speed"))  # every other protocol is the name of a task


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """What happened at one length and depth.

    share: mean score, 0 to 1, with its 95 % Wilson interval.  tries: samples.
    gap: bits per answer token that the needle is worth: -log2 p of the answer without it, less with it; None: not measured.
    """

    share: Interval
    tries: int
    gap: float | None = None

    def differs(self, other: "ScoreCell") -> bool:
        """Does the 95 % interval of the difference leave 0 out?

        Newcombe 1998, Stat. Med. 17:873, method 10, for independent samples: of the same prompts, rather too wide.
        """
        low, high = sorted((self.share, other.share), key=lambda share: share.value)
        return high.value - low.value > math.hypot(high.value - high.low, low.high - low.value)

    def written(self) -> str:
        """Percent, with its interval."""
        value, low, high = (f"{100 * share:.0f}" for share in (self.share.value, self.share.low, self.share.high))
        return f"{value} ({low}-{high})"


Grid = dict[tuple[int, float], ScoreCell]


def is_retrieval(record: Record) -> bool:
    return record.key.protocol not in NOT_TASKS


def score_of(record: Record) -> float:
    """0 to 1. A record made before scores were kept says only whether the answer was exact."""
    return float(record.facts["score"] if "score" in record.facts else record.facts["exact"])


def retrieval_grids(records: Iterable[Record]) -> dict[str, dict[str, Grid]]:
    """Task to method to (length, depth) to cell, for the tasks that hide their needle at a depth.

    A score of several references is a fraction. Wilson's interval takes the sum of the scores as hits: a variable in [0, 1]
    never varies more than a yes-or-no of the same mean, so the interval is then too wide rather than too narrow.
    """
    filed: dict[str, dict[str, dict[tuple[int, float], list[Record]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for record in records:
        if is_retrieval(record) and record.facts.get("depth") is not None:
            filed[record.key.protocol][record.key.method][length_of(record), record.facts["depth"]].append(record)
    return {
        task: {method: {cell: _cell(found) for cell, found in sorted(cells.items())} for method, cells in methods.items()}
        for task, methods in sorted(filed.items(), key=lambda item: by_rung(item[0]))
    }


def length_of(record: Record) -> int:
    """The length asked for; a sample may be some tokens shorter."""
    return int(record.facts.get("length", record.key.length))


def _cell(records: Sequence[Record]) -> ScoreCell:
    gaps = [
        (record.facts["nll_without"] - float(record.nll.mean(dtype=numpy.float64))) / numpy.log(2)
        for record in records
        if record.facts.get("nll_without") is not None
    ]
    tries = len(records)
    return ScoreCell(
        wilson(sum(score_of(record) for record in records), tries), tries, float(numpy.mean(gaps)) if gaps else None
    )


def shares_by_length(grid: Grid) -> dict[int, ScoreCell]:
    """All depths together, per length: hits and tries are added up."""
    hits: dict[int, float] = defaultdict(float)
    tries: dict[int, int] = defaultdict(int)
    for (length, _), cell in grid.items():
        hits[length] += cell.share.value * cell.tries
        tries[length] += cell.tries
    return {length: ScoreCell(wilson(hits[length], tries[length]), tries[length]) for length in sorted(hits)}


def ladder_shares(grids: Mapping[str, Mapping[str, Grid]]) -> dict[tuple[str, int], dict[str, dict[int, ScoreCell]]]:
    """(ladder, length) to method to rung to cell, all depths together."""
    found: dict[tuple[str, int], dict[str, dict[int, ScoreCell]]] = defaultdict(lambda: defaultdict(dict))
    for task, methods in grids.items():
        stem, rung = by_rung(task)
        for method, grid in methods.items() if stem != task else ():
            for length, cell in shares_by_length(grid).items():
                found[stem, length][method][rung] = cell
    return {key: {method: dict(sorted(row.items())) for method, row in rows.items()} for key, rows in sorted(found.items())}


TaskScores = dict[int, dict[str, list[float]]]
"""Length to task to the score of each sample, 0 to 1."""


def task_scores(records: Iterable[Record], tasks: Iterable[str]) -> dict[str, TaskScores]:
    """Method to length to task to scores, for the tasks named."""
    wanted = set(tasks)
    found: dict[str, dict[int, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for record in records:
        if record.key.protocol in wanted:
            found[record.key.method][length_of(record)][record.key.protocol].append(score_of(record))
    return {
        method: {n: dict(sorted(cells.items())) for n, cells in sorted(lengths.items())} for method, lengths in found.items()
    }


@dataclass(frozen=True, slots=True)
class RulerRow:
    """One method on RULER: percent by length, and how far that carries.

    tasks: length to task to percent.  means: length to the mean over the tasks, with a 95 % interval.
    absolute, relative: effective length at 85.6 %, and at 85 % of the method's own best mean; 0 where no length passes.
    """

    tasks: dict[int, dict[str, float]]
    means: dict[int, Interval]
    absolute: Interval
    relative: Interval
    samples: int


def ruler_table(
    records: Iterable[Record], tasks: Iterable[str] = RULER, inside: int | None = None
) -> dict[str, RulerRow]:  # fmt: skip
    """RULER's table per method, over whichever of its tasks were run at *every* length of that method.

    A mean over other tasks at one length than at another would say more about the tasks than about the length.
    inside: the trained length; who scores nothing up to it has no relative effective length.
    """
    rows = {}
    for method, scores in task_scores(records, tasks).items():
        common = set.intersection(*(set(cell) for cell in scores.values()))
        kept = {n: {task: cell[task] for task in cell if task in common} for n, cell in scores.items()}
        if common:
            rows[method] = _ruler_row(kept, inside)
    return rows


def _ruler_row(scores: Mapping[int, Mapping[str, Sequence[float]]], inside: int | None) -> RulerRow:
    percent = {n: {task: 100 * float(numpy.mean(s)) for task, s in cell.items()} for n, cell in scores.items()}
    return RulerRow(
        percent,
        {n: _mean(scores[n]) for n in scores},
        effective_length(scores),
        effective_length(scores, relative=RELATIVE, inside=inside),
        sum(len(s) for cell in scores.values() for s in cell.values()),
    )


def _mean(cell: Mapping[str, Sequence[float]]) -> Interval:
    """The mean over tasks in percent, with the tasks' Wilson intervals joined into one.

    Ends: mean -+ sqrt(sum((share - end)^2)) / tasks (Zou, Huang & Zhang 2009, Comput. Stat. Data Anal. 53:1080). Unlike a
    bootstrap it has a width where every sample was right.
    """
    shares = [wilson(sum(scores), len(scores)) for scores in cell.values()]
    mean = sum(share.value for share in shares) / len(shares)
    below = math.sqrt(sum((share.value - share.low) ** 2 for share in shares)) / len(shares)
    above = math.sqrt(sum((share.high - share.value) ** 2 for share in shares)) / len(shares)
    return Interval(100 * mean, 100 * (mean - below), 100 * (mean + above))
