"""The certificate's sections as plain JSON values, each a pure function of a run; None where the run has no data for it.

Whatever the page shows stands in one of these: the page and `--json` cannot disagree.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import inf, isinf, log
from typing import Any

from ropewalk.checkpoints.files import plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run
from ropewalk.measure.protocols import Position, Protocol, parse_protocol
from ropewalk.measure.records import Readings
from ropewalk.measure.retrieval_tables import RULER, Grid, ScoreCell, retrieval_grids, ruler_table, shares_by_length
from ropewalk.measure.scoring import RELATIVE, RULER_THRESHOLD
from ropewalk.measure.statistics import Interval, kind
from ropewalk.measure.tables import Speed, Sums, speed_table, table, tax_table
from ropewalk.measure.task import known_task

Section = dict[str, Any]


def retrieval(run: Run) -> list[Section]:
    """One section per task that hides its needle at a depth: a grid per method, and the shares by length."""
    return [_retrieval(task, _in_order(run, grids)) for task, grids in retrieval_grids(run.records).items()]


def _retrieval(task: str, grids: Mapping[str, Grid]) -> Section:
    cells = {cell for grid in grids.values() for cell in grid}
    lengths, depths = sorted({n for n, _ in cells}), sorted({d for _, d in cells})
    base = grids.get(REFERENCE, {})
    return {
        "task": task,
        "words": found.summary if (found := known_task(task)) else "",
        "lengths": lengths,
        "depths": depths,
        "tries": sorted({cell.tries for grid in grids.values() for cell in grid.values()}),
        "grids": {
            method: [[_cell(grid.get((n, d)), base.get((n, d)), method) for n in lengths] for d in depths]
            for method, grid in grids.items()
        },
        "by_length": {method: _by_length(grid, base, lengths, method) for method, grid in grids.items()},
    }


def _by_length(grid: Grid, base: Grid, lengths: Sequence[int], method: str) -> list[Section | None]:
    shares, of_base = shares_by_length(grid), shares_by_length(base)
    return [_cell(shares.get(n), of_base.get(n), method) for n in lengths]


def _cell(cell: ScoreCell | None, base: ScoreCell | None, method: str) -> Section | None:
    """same: not told apart from the base model's."""
    if cell is None:
        return None
    same = base is not None and method != REFERENCE and not cell.differs(base)
    return {**plain(cell.share), "tries": cell.tries, "gap": cell.gap, "same": same}


def ruler(run: Run) -> Section | None:
    rows = _in_order(run, ruler_table(run.records, inside=run.original_length))
    if not rows:
        return None
    tasks = sorted({task for row in rows.values() for cell in row.tasks.values() for task in cell}, key=RULER.index)
    return {
        "tasks": tasks,
        "missing_tasks": [task for task in RULER if task not in tasks],
        "lengths": sorted({n for row in rows.values() for n in row.means}),
        "threshold": RULER_THRESHOLD,
        "relative": RELATIVE,
        "rows": {
            method: {
                "means": {n: plain(mean) for n, mean in row.means.items()},
                "tasks": row.tasks,
                "absolute": plain(row.absolute),
                "relative": plain(row.relative),
                "samples": row.samples,
            }
            for method, row in rows.items()
        },
    }


def protocols(run: Run) -> list[Section]:
    """Perplexity by each protocol that run.json names; position is a section of its own."""
    readings = Readings(run.records)
    wanted = [parse_protocol(text) for text in run.facts.get("protocols", ())]
    made = [_protocol(run, p, table(readings, p)) for p in wanted if not isinstance(p, Position)]
    return [section for section in made if section["rows"]]


def _protocol(run: Run, protocol: Protocol, cells: Mapping[str, Mapping[str, Sums]]) -> Section:
    rows = {
        method: {line: plain(perplexity(sums.interval())) for line, sums in lines.items()}
        for method, lines in _in_order(run, cells).items()
    }
    words = (inspect.getdoc(type(protocol)) or "").partition("\n\n")[0]
    return {
        "protocol": str(protocol),
        "words": words,
        "lines": list(dict.fromkeys(n for row in rows.values() for n in row)),
        "rows": rows,
    }


def perplexity(bits: Interval) -> Interval:
    if isinf(bits.high - bits.low):  # one document
        return Interval(2 ** min(bits.value, 1000.0), -inf, inf)
    return Interval(*(2 ** min(end, 1000.0) for end in (bits.value, bits.low, bits.high)))


def tax(run: Run) -> Section | None:
    rows = {
        m: {**plain(row), "perplexity": row.perplexity, "kind": kind(row.loss, 0.0)}
        for m, row in _in_order(run, tax_table(run.records)).items()
    }
    return {"rows": rows} if rows else None


SPEEDS = (
    ("prefill", "prefill, tokens per second, at", ",.0f"),
    ("decode", "decode, tokens per second, after", ",.1f"),
    ("peak_bytes", "peak memory at", "bytes"),
)


def speed(run: Run) -> Section | None:
    """A table for each quantity that was measured: method by length, each cell with its ratio to the model unchanged."""
    found = _in_order(run, speed_table(run.records))
    if not found:
        return None
    lengths = sorted({n for row in found.values() for n in row})
    tables = [_speed(found, lengths, *kind) for kind in SPEEDS]
    return {
        "lengths": lengths,
        "repeats": " to ".join(map(str, sorted({cell.repeats for row in found.values() for cell in row.values()}))),
        "tables": [table for table in tables if any(cell for row in table["rows"].values() for cell in row)],
    }


def _speed(found: Mapping[str, Mapping[int, Speed]], lengths: Sequence[int], name: str, title: str, form: str) -> Section:
    def value(method: str, length: int) -> float | None:
        cell = found.get(method, {}).get(length)
        return getattr(cell, name) if cell else None

    def shown(method: str, length: int) -> Section | None:
        mine, base = value(method, length), value(REFERENCE, length)
        return None if mine is None else {"value": mine, "ratio": mine / base if base and method != REFERENCE else None}

    return {"title": title, "form": form, "rows": {method: [shown(method, n) for n in lengths] for method in found}}


def published() -> dict[str, list[Section]]:
    """anchors.json; each loss curve also as ratios of ln(perplexity) to that of its original length, where it has one."""
    anchors: dict[str, list[Section]] = json.loads((files(__package__) / "anchors.json").read_text(encoding="utf-8"))
    for anchor in anchors["loss"]:
        known = dict(zip(anchor["lengths"], anchor["perplexity"], strict=True))
        own = known.get(anchor["original_length"])
        anchor["ratios"] = [log(p) / log(own) for p in anchor["perplexity"]] if own else []
    return anchors


def _in_order(run: Run, table: Mapping[str, Any]) -> dict[str, Any]:
    """Rows in the order of the run's methods."""
    return {method: table[method] for method in run.plans if method in table}


def anchors(made: Mapping[str, Any]) -> Section | None:
    """Published curves beside what this run has of the same kind."""
    if not made["loss"]:
        return None
    known = published()
    rulers = [anchor for anchor in known["ruler"] if anchor["shown"]] if made["ruler"] else []
    return {"loss": known["loss"], "ruler": rulers, "ruler_sources": sorted({anchor["source"] for anchor in rulers})}
