"""From run folders to the numbers of docs/table.json and the tables of docs/table.md. No model is asked, nothing is filled in:
what a folder does not hold is an empty cell, and a sentence below the table names it.
"""

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig
from ropewalk.jobs.report.run_folder import Run, read_run, window_of
from ropewalk.measure.comparisons import compare_shares
from ropewalk.measure.records import Readings, Record
from ropewalk.measure.retrieval_tables import ScoreCell, is_retrieval, length_of, score_of
from ropewalk.measure.statistics import Interval, wilson
from ropewalk.measure.tables import BITS, compare_sums, sums_by_position, tax_table
from ropewalk.table import Table

AGAINST, STATIC = "dynamic-yarn", "yarn"
LEVEL = 0.05
MADE = ("device", "dtype", "torch", "transformers")
MARKS = "<!-- measured: {} -->", "<!-- end -->"
Numbers = dict[str, Any]
Rows = dict[str, dict[str, str | None]]


# --- numbers ---


def run_of(folder: Path) -> Run | None:
    """None where there is no run, or one that has not measured anything yet."""
    return read_run(folder) if any((folder / "records").glob("*.safetensors")) else None


def gather(folders: Mapping[str, Path], edges: Sequence[int], window: int, against: str = AGAINST) -> Numbers:
    """What is on disk of each part; a part of which nothing is there is left out."""
    records = {part: _named(run) for part, folder in folders.items() if (run := run_of(folder))}
    inside, ask = ([*records.get(name, ()), *records.get(f"{name}-ruler", ())] for name in ("inside", "ask"))
    found: Numbers = {}
    if "loss" in records:
        found["loss"] = losses(records["loss"], spans_of(edges, window), against)
        found["short"] = {
            method: {"loss": _ends(tax.loss), "kl": _ends(tax.kl), "documents": tax.documents}
            for method, tax in tax_table(records["loss"]).items()
        }
    if inside:
        found["inside"] = {task: cells["none"][window] for task, cells in answers(inside, against).items()}
    if ask:
        found["ask"] = answers(ask, against)
    if "speed" in records:
        found["speed"] = speeds(records["speed"])
    return {**found, "made": {part: _made(some) for part, some in records.items()}} if found else {}


def spans_of(edges: Sequence[int], window: int) -> list[tuple[int, int]]:
    """The stretches of positions, and all beyond the window at the end: where that is one of them, it is there once."""
    beyond = (window, edges[-1])
    return [*(span for span in pairwise(edges) if span != beyond), beyond]


def _named(run: Run) -> list[Record]:
    """The window's row under one name, whatever its size."""
    window = window_of(run)
    return [replace(r, key=replace(r.key, method="window")) if r.key.method == window else r for r in run.records]


def _made(records: Iterable[Record]) -> dict[str, list[str]]:
    """With what: several values where a folder was gone on with elsewhere."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for fact in MADE:
            found[fact] |= {str(record.facts[fact])} if fact in record.facts else set()
    return {fact: sorted(values) for fact, values in found.items() if values}


def losses(records: Iterable[Record], spans: Sequence[tuple[int, int]], against: str) -> dict[str, list[Numbers | None]]:
    """Method to a cell for each stretch: bits per token over its documents; how much less than `against`."""
    readings = Readings(records)
    stretches = [{method: found[0] for method, found in sums_by_position(readings, span).items()} for span in spans]
    found: dict[str, list[Numbers | None]] = {method: [None] * len(spans) for method in readings.methods}
    for i, sums in enumerate(stretches):
        for method, cell in sums.items():
            numbers: Numbers = {"bits": _ends(cell.interval()), "documents": len(cell.documents)}
            if method != against and (less := compare_sums(sums.get(against), cell, same_tokens=True)):
                numbers |= {"less": _ends(less.difference, BITS), "pairs": less.documents}
            found[method][i] = numbers
    return found


def answers(records: Iterable[Record], against: str) -> dict[str, dict[str, dict[int, Numbers]]]:
    """Task to method to length to the share right, and McNemar's test against the same prompts under `against`."""
    filed: dict[str, dict[str, dict[int, dict[str, float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for r in filter(is_retrieval, records):
        filed[r.key.protocol][r.key.method][length_of(r)][r.key.item] = score_of(r)
    found: dict[str, dict[str, dict[int, Numbers]]] = defaultdict(lambda: defaultdict(dict))
    for task, methods in filed.items():
        for method, lengths in methods.items():
            for length, scores in sorted(lengths.items()):
                others = methods[against].get(length, {}) if against in methods and method != against else {}
                found[task][method][length] = _cell(scores, others)
    return found


def _cell(scores: Mapping[str, float], others: Mapping[str, float]) -> Numbers:
    """others: of the reference; only prompts that both were asked are compared, by which are wholly right."""
    found: Numbers = {"share": _ends(wilson(sum(scores.values()), len(scores))), "prompts": len(scores)}
    if both := sorted(scores.keys() & others.keys()):
        test = compare_shares(*(numpy.array([side[prompt] == 1 for prompt in both]) for side in (scores, others)))
        found |= {"alone": [test.only_a, test.only_b], "p": _short(test.p), "pairs": test.prompts}
    return found


def speeds(records: Iterable[Record]) -> dict[str, Numbers]:
    """Method to how many times as fast as static yarn in the same turn: the middle of the turns, the least and the most."""
    filed: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        if record.key.protocol == "speed":
            filed[record.key.method][record.key.item] = record
    found: dict[str, Numbers] = {}
    for method, turns in filed.items():
        if both := sorted(turns.keys() & filed.get(STATIC, {}).keys()):
            pairs = [(turns[turn].facts, filed[STATIC][turn].facts) for turn in both]
            found[method] = {"tokens": length_of(turns[both[0]]), "turns": len(both)}
            found[method] |= {name: _ratios(pairs, f"{name}_tokens_per_second") for name in ("prefill", "decode")}
    return found


def _ratios(pairs: Sequence[tuple[Numbers, Numbers]], fact: str) -> list[float] | None:
    found = [mine[fact] / its[fact] for mine, its in pairs if mine.get(fact) and its.get(fact)]
    return [_short(x) for x in (statistics.median(found), min(found), max(found))] if found else None


def _ends(interval: Interval, unit: float = 1.0) -> list[float | None]:
    """No ends where one document says nothing of others."""
    ends = interval.value * unit, interval.low * unit, interval.high * unit
    return [_short(x) if math.isfinite(x) else None for x in ends]


def _short(x: float) -> float:
    return float(f"{x:.6g}")


# --- tables ---


def tables(cases: Mapping[str, Numbers]) -> str:
    """Everything as Markdown, by the name of its place in the page, in order."""
    return "\n".join(f"## {name}\n\n{block}" for name, block in blocks(cases).items())


def blocks(cases: Mapping[str, Numbers]) -> dict[str, str]:
    return {"overview": overview(cases), **{key: case_tables(case) for key, case in cases.items()}}


def overview(cases: Mapping[str, Numbers]) -> str:
    """A row a method, a column a model: bits per token less than the reference, beyond the trained window."""
    read = {f"{case['model']} x{case['factor']}": case for case in cases.values() if "loss" in case}
    rows: Rows = {name: {} for name in _rows(*read.values())}
    for head, case in read.items():
        cells = {method: found[-1] for method, found in case["loss"].items() if found[-1]}
        for method, cell in cells.items():
            if "less" in cell:
                rows[method][head] = _spelt(cell["less"], "+z.3f")
        if base := cells.get(case["against"]):
            rows[case["against"]][head] = f"reference, {base['bits'][0]:.3f} bits"
    return _table("less than the reference, beyond the window", list(read), rows) if read else "Nothing is measured yet.\n"


def case_tables(case: Numbers) -> str:
    return "\n".join([loss_tables(case), _paid(case), _inside(case), _asked(case), _made_with(case)])


def _rows(*cases: Numbers) -> list[str]:
    """The methods of the table, and whatever else was measured."""
    parts = [case.get(part, ()) for part in ("methods", "loss", "short", "speed") for case in cases]
    return list(dict.fromkeys(name for part in parts for name in part))


def loss_tables(case: Numbers) -> str:
    if "loss" not in case:
        return "Loss is not measured yet.\n"
    counts = {cell["documents"] for cells in case["loss"].values() for cell in cells if cell}
    told = "" if len(counts) == 1 else "; rows of other documents are compared by the paired table alone"
    heads, rows = _heads(case), _by_stretch(case, lambda cell: f"{cell['bits'][0]:.3f}")
    for method, cells in case["loss"].items():
        rows[method]["documents"] = _many(cell["documents"] for cell in cells if cell)
    return f"Bits per token by position{told}.\n\n{_table('bits per token', [*heads, 'documents'], rows)}\n{less_table(case)}"


def less_table(case: Numbers) -> str:
    against = case["against"]
    rows = _by_stretch(case, lambda cell: _spelt(cell["less"], "+z.3f") if "less" in cell else None)
    rows.pop(against, None)
    pairs = _many(cell["pairs"] for cells in case["loss"].values() for cell in cells if cell and "pairs" in cell)
    return (
        f"The same, less than {against}: above 0 the row is the better one. Paired over {pairs} documents, 95 % intervals.\n\n"
        f"{_table(f'less than {against}', _heads(case), rows)}"
    )


def _heads(case: Numbers) -> list[str]:
    spans = spans_of(case["edges"], case["window"])
    return [*(f"{low:,}-{high:,}" for low, high in spans[:-1]), f"beyond {case['window']:,}"]


def _by_stretch(case: Numbers, written: Callable[[Numbers], str | None]) -> Rows:
    rows: Rows = {name: {} for name in _rows(case)}
    for method, cells in case["loss"].items():
        rows[method] = {head: written(cell) for head, cell in zip(_heads(case), cells, strict=True) if cell}
    return rows


def _paid(case: Numbers) -> str:
    """What short texts pay, and time."""
    short, speed = case.get("short", {}), case.get("speed", {})
    heads = ["added inside", "KL", "prefill", "decoding"]
    rows: Rows = {name: {} for name in _rows(case)}
    for name in ("none", "window"):
        rows.setdefault(name, {}).update(dict.fromkeys(heads[:2], "is the base"))
    for method, cells in short.items():
        rows[method] |= {heads[0]: _spelt(cells["loss"], "+z.3f"), heads[1]: _spelt(cells["kl"], "z.3f")}
    for method, cells in speed.items():
        rows[method] |= {
            head: "reference" if method == STATIC else _spelt(cells[name], ".2f")
            for head, name in ((heads[2], "prefill"), (heads[3], "decode"))
            if cells[name]
        }
    told = []
    if short:
        count = _many(cells["documents"] for cells in short.values())
        told.append(
            f"what short texts pay is bits per token added inside {case['window']:,} tokens, and the divergence from the base"
        )
        told[-1] += f", over {count} documents with 95 % intervals"
    if speed:
        tokens, turns = (_many(cells[name] for cells in speed.values()) for name in ("tokens", "turns"))
        told.append(f"speed is how many times as fast as static {STATIC} beside it at {tokens} tokens")
        told[-1] += f", the middle of {turns} turns, least and most"
    said = "; ".join(told) or "what short texts pay, and speed, are not measured yet"
    return f"{said[0].upper()}{said[1:]}.\n\n{_table('what it costs', heads, rows)}"


def _inside(case: Numbers) -> str:
    cells = case.get("inside")
    if not cells:
        return "What the model can do inside its window is not measured yet.\n"
    told = ", ".join(f"{task} {_percent(cells[task])}" for task in case["tasks"] if task in cells)
    never = ", ".join(task for task in case["tasks"] if task not in cells)
    able = [task for task in case["tasks"] if task in cells and cells[task]["share"][0] >= case["can"]]
    prompts = _many(cell["prompts"] for cell in cells.values())
    return (
        f"Retrieval. Inside {case['window']:,} tokens, without a stretch, % right of {prompts} prompts with 95 % intervals: "
        f"{told}. What is at least {100 * case['can']:g} there is asked beyond: {', '.join(able) or 'none of them'}. "
        f"Not measured, or longer than the window: {never or 'none'}.\n"
    )


def _asked(case: Numbers) -> str:
    found = case.get("ask")
    if not found:
        return "Nothing is asked beyond the window yet.\n"
    counts = {cell["prompts"] for cells in found.values() for row in cells.values() for cell in row.values()}
    lengths = sorted({int(n) for cells in found.values() for row in cells.values() for n in row} | {*case["ask_at"]})
    heads = [f"{task} {n:,}" for task in case["tasks"] if task in found for n in lengths]
    rows: Rows = {name: {} for name in _rows(case)}
    for task, cells in found.items():
        for method, row in cells.items():
            for n, cell in row.items():
                of = "" if len(counts) == 1 else f" of {cell['prompts']}"
                rows.setdefault(method, {})[f"{task} {int(n):,}"] = _percent(cell) + of
    return (
        f"% right of {_many(counts)} prompts with 95 % intervals. A star: the same prompts tell the row from "
        f"{case['against']} (McNemar's mid-p below {LEVEL:g}, each cell by itself).\n\n{_table('% right', heads, rows)}"
    )


def _made_with(case: Numbers) -> str:
    told: dict[str, list[str]] = defaultdict(list)
    for part, made in case["made"].items():
        words = [f"{fact if fact in MADE[2:] else ''} {' and '.join(values)}".strip() for fact, values in made.items()]
        told[", ".join(words)].append(part)
    return "Made with " + "; ".join(f"{what} ({', '.join(parts)})" for what, parts in told.items()) + ".\n"


def _table(name: str, heads: Sequence[str], rows: Mapping[str, Mapping[str, str | None]]) -> str:
    """What is empty is named below; a row that has nothing is named there alone."""
    whole = {row: {head: cells.get(head) or None for head in heads} for row, cells in rows.items()}
    lacking: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row, cells in whole.items():
        lacking[tuple(head for head in heads if cells[head] is None)].append(row)
    told = [
        ", ".join(names) + ("" if missing == tuple(heads) else f" ({', '.join(missing)})")
        for missing, names in lacking.items()
        if missing
    ]
    shown = {row: cells for row, cells in whole.items() if any(cells.values())}
    return Table.of(name, shown, notes=[f"Not measured: {'; '.join(told)}."] if told else []).to_markdown()


def _spelt(ends: Sequence[float | None], form: str) -> str:
    value, low, high = ends
    if value == low == high == 0:
        return "exactly 0"
    return (
        f"{value:{form}} (one document)" if low is None or high is None else f"{value:{form}} ({low:{form}} to {high:{form}})"
    )


def _percent(cell: Numbers) -> str:
    written = ScoreCell(Interval(*cell["share"]), cell["prompts"]).written()
    return written + (" *" if cell.get("p", 1) < LEVEL else "")


def _many(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    return "no" if not found else f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


# --- the page ---


def grown(kept: Numbers, found: Numbers) -> Numbers:
    """A part that was not measured now is as it was, and so is a task that was not asked: each has a folder of its own."""
    in_pieces = {part: {**kept.get(part, {}), **found[part]} for part in ("inside", "ask", "made") if part in found}
    return {**kept, **found, **in_pieces}


def write_page(docs: Path, found: Mapping[str, Numbers]) -> None:
    """Into the marked places of table.md; what was not found keeps what table.json has."""
    page, numbers = docs / "table.md", docs / "table.json"
    kept = json.loads(numbers.read_text(encoding="utf-8")) if numbers.exists() else {}
    cases = {**kept, **{key: grown(kept.get(key, {}), case) for key, case in json.loads(json.dumps(found)).items()}}
    text = page.read_text(encoding="utf-8")
    for name, block in blocks(cases).items():
        begin, end = MARKS[0].format(name), MARKS[1]
        head, there, rest = text.partition(begin)
        if not there or end not in rest:
            raise BadConfig(f"{page} has no place for {name}: it begins with {begin} and ends with {end}.")
        text = f"{head}{begin}\n\n{block}\n{rest[rest.index(end) :]}"
    written = re.sub(r"\[[^][{}]+\]", lambda found: " ".join(found[0].split()), json.dumps(cases, indent=1))
    write_file(numbers, written + "\n")
    write_file(page, text)
