"""The tables of runs/gpu_real.py, as pure functions of what it left on disk: results.md and results.json."""

import json
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy
import torch

from gpu_real_input import LONG, SHORT, TASKS, Work
from ropewalk.checkpoints.files import plain
from ropewalk.measure.comparisons import Comparison, compare, compare_shares
from ropewalk.measure.records import Record, Records
from ropewalk.measure.retrieval_tables import task_scores
from ropewalk.measure.statistics import Interval, wilson
from ropewalk.measure.tables import BITS, Sums, sums_by_position, tax_table

CAUSAL, REQUEST = "dynamic-yarn", "dynamic-yarn-request"


@dataclass
class Found:
    """Where results are, and what went wrong on the way."""

    out: Path
    work: Work
    model: str
    device: str
    failures: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        card = torch.cuda.get_device_name() if self.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
        return f"{card}, torch {torch.__version__}, transformers {version('transformers')}, Python {platform.python_version()}"

    def records(self, name: str) -> list[Record]:
        return list(Records(self.out / "records" / name))

    def file(self, name: str) -> list[dict[str, Any]]:
        path = self.out / name
        rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return rows


def write(found: Found) -> None:
    data: dict[str, Any] = {"where": found.where, "model": found.model, "work": found.work.facts, "failures": found.failures}
    lines = [f"{found.where}. {found.work.facts['texts']}."]
    window = found.work.window
    halves = tuple(window * i // 2 for i in range(2 * SHORT + 1))
    wholes = tuple(window * i for i in range(LONG + 1))
    sections = (
        ("bits", "Bits inside the window, agreement beyond it", lambda: bits(found.file("bits.json"))),
        ("short", f"Loss by position, {SHORT} windows", lambda: loss(found.records("short"), halves, window, SHORT)),
        ("long", f"Loss by position, {LONG} windows", lambda: loss(found.records("long"), wholes, window, LONG)),
        ("single", "The same in float32", lambda: loss(found.records("short-float32"), halves, window, SHORT)),
        ("tax", "Inside the window", lambda: tax(found.records("tax"))),
        ("questions", "Questions", lambda: questions(found.records("questions"))),
        ("speed", "Speed and memory", lambda: speed(found.file("speed.json"))),
    )
    for name, title, make in sections:
        made = list(make())
        if made:
            data[name] = [plain(part) for part, _ in made]
            lines += [f"\n## {title}\n", *(line for _, some in made for line in some)]
    lines += [f"\nFAILED: {failure}" for failure in found.failures]
    (found.out / "results.json").write_text(json.dumps(data, indent=1))
    (found.out / "results.md").write_text("\n".join(lines) + "\n")


Part = tuple[Any, list[str]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)] + [""]


def spread(interval: Interval, digits: int = 3, sign: str = "+") -> str:
    return " ".join(
        (f"{interval.value:{sign}.{digits}f}", f"({interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f})")
    )


def loss(records: list[Record], edges: tuple[int, ...], last: int, factor: int) -> Iterator[Part]:
    """Means by position, then each row less the causal one on the same documents; the last column is all from `last` on."""
    records = of_all(records)
    if not records:
        return
    causal = f"{CAUSAL} x{factor}"
    fine, coarse = sums_by_position(records, edges), sums_by_position(records, (0, last, edges[-1]))
    cells = {label: [*row, coarse[label][-1]] for label, row in fine.items()}
    heads = [f"{low:,}-{high:,}" for low, high in [*pairwise(edges), (last, edges[-1])]]
    count = len(next(iter(cells.values()))[0].documents)
    yield (
        {"documents": count, "edges": edges, "last": last, "bits": {k: [c.interval() for c in v] for k, v in cells.items()}},
        [
            f"{count} documents, bits per token with 95 % intervals over documents.\n",
            *table(
                ["", *heads], [[label, *(spread(c.interval(), sign="") for c in row)] for label, row in sorted(cells.items())]
            ),
        ],
    )
    if causal not in cells:
        return
    against = {
        k: [less(c, o) for c, o in zip(cells[causal], row, strict=True)] for k, row in sorted(cells.items()) if k != causal
    }
    yield (
        {"causal minus": against},
        [
            f"{causal} less each other row, paired by document; below 0 the causal plan is better.\n",
            *table(["", *heads], [[label, *(spread(c.difference) for c in row)] for label, row in against.items()]),
        ],
    )


def of_all(records: list[Record]) -> list[Record]:
    """Of the documents that every row has read: a run cut short compares like with like."""
    read: dict[str, set[str]] = defaultdict(set)
    for record in records:
        read[record.key.method].add(record.facts["document"])
    common = set.intersection(*read.values()) if read else set()
    return [record for record in records if record.facts["document"] in common]


def less(a: Sums, b: Sums) -> Comparison:
    assert a.documents == b.documents
    return compare(a.sums * BITS, b.sums * BITS, a.counts)


def tax(records: list[Record]) -> Iterator[Part]:
    found = tax_table(records)
    if found:
        rows = [
            [
                label,
                spread(t.loss, 4),
                spread(t.kl, 4, ""),
                str(t.documents),
                "exactly" if exactly_none(records, label) else "",
            ]
            for label, t in sorted(found.items())
        ]
        head = ["", "bits added (95 %)", "KL, bits (95 %)", "documents", "0 at every token"]
        yield {label: asdict(t) for label, t in found.items()}, table(head, rows)


def exactly_none(records: list[Record], label: str) -> bool:
    """Not rounded to 0: the same float at every token, and the same distribution to what a sum of rounded terms shows."""
    mine = [r for r in records if r.key.method == label]
    return all(numpy.array_equal(r.nll, r.extra["base_nll"]) and abs(r.extra["kl"]).max() < 1e-6 for r in mine)


def questions(records: list[Record]) -> Iterator[Part]:
    """Shares with Wilson intervals; and the causal plan against the static one of its factor, prompt by prompt (McNemar)."""
    if not records:
        return
    scores = task_scores(records, TASKS)
    lengths = sorted({n for found in scores.values() for n in found})
    rows, data = [], []
    for task in TASKS:
        for label, found in sorted(scores.items()):
            cells = [found.get(n, {}).get(task, []) for n in lengths]
            shares = [wilson(sum(cell), len(cell)) if cell else None for cell in cells]
            data.append({"task": task, "row": label, "tries": list(map(len, cells)), "shares": shares})
            rows.append([task, label, *(percent(s, len(c)) for s, c in zip(shares, cells, strict=True))])
    yield {"lengths": lengths, "cells": data}, table(["task", "", *(f"{n:,}" for n in lengths)], rows)
    hits: dict[str, dict[tuple[str, int, str], bool]] = defaultdict(dict)
    for r in records:
        hits[r.key.method][r.key.protocol, r.key.length, r.key.item] = r.facts["exact"]
    ours, rows, tests = hits[f"{CAUSAL} x{LONG}"], [], []
    for other in (f"yarn x{LONG}", f"yarn x{SHORT}", "window", "none"):
        for task in TASKS:
            line = []
            for n in lengths:
                both = sorted(k for k in ours.keys() & hits[other].keys() if k[:2] == (task, n))
                test = compare_shares(*(numpy.array([h[k] for k in both]) for h in (ours, hits[other]))) if both else None
                line.append(f"{test.only_a} to {test.only_b}, p {test.p:.2g}" if test else "")
                tests.append({"task": task, "length": n, "causal against": other, "test": test})
            rows.append([task, other, *line])
    yield (
        tests,
        [
            "Prompts that the causal plan alone got right, to those that the other alone did (McNemar's mid-p).\n",
            *table(["task", "against", *(f"{n:,}" for n in lengths)], rows),
        ],
    )


def percent(share: Interval | None, tries: int) -> str:
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%}) of {tries}" if share else ""


def bits(rows: list[dict[str, Any]]) -> Iterator[Part]:
    if not rows:
        return
    inside, beyond = [], []
    for row in rows:
        start = [row["dtype"], row["attention"], "all" if row["block"] > 2**20 else str(row["block"])]
        if "failure" in row:
            inside.append([*start, "FAILED: " + row["failure"].strip().splitlines()[-1], "", "", ""])
            continue
        *equal, (_, long) = row["inside"].items()
        inside.append([*start, *("same" if same else "OTHER" for _, same in equal), f"{long['positions alike']:.2%}"])
        for label, ways in row["beyond"].items():
            for way, d in ways.items():
                numbers = [
                    f"{d['largest']:.2e}",
                    f"{d['largest'] / d['scale']:.1e}",
                    f"{d['rms share']:.1e}",
                    f"{d['same choice']:.2%}",
                ]
                beyond.append([*start, label, way, *numbers])
    head = ["dtype", "attention", "queries a call"]
    yield (
        rows,
        [
            "Hidden states of the causal plan inside the window, against the model without it, bit for bit.\n",
            *table([*head, "one pass", "chunks", "prefill and tokens", "of two windows, positions alike"], inside),
            "Against one pass, to two windows: the largest difference of a logit, over the largest logit, and RMS over RMS.\n",
            *table([*head, "", "fed in", "largest", "of scale", "RMS", "same first choice"], beyond),
        ],
    )


def speed(rows: list[dict[str, Any]]) -> Iterator[Part]:
    """Medians over turns; ratios are medians of each turn's own."""
    if not rows:
        return
    filed: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        filed[row["tokens"], row["side"]].append(row)
    lines, data = [], []
    for (tokens, side), found in sorted(filed.items()):
        stock = filed[tokens, "static, stock"]
        times = {
            what: [s[what] / f[what] if f[what] else float("nan") for s, f in zip(stock, found, strict=True)]
            for what in ("prefill", "token", "peak_gib")
        }
        middle = {what: statistics.median(f[what] for f in found) for what in times}
        data.append({"tokens": tokens, "side": side, "median": middle, "static over this": times})
        lines.append([
            f"{tokens:,}", side, f"{middle['prefill'] * 1e3:.1f} ms", ratio(times["prefill"]),
            f"{middle['token'] * 1e3:.2f} ms", ratio(times["token"]),
            f"{middle['peak_gib']:.2f} GiB", ratio([1 / x for x in times["peak_gib"]]),
        ])  # fmt: skip
    head = ["tokens", "", "prefill", "times as fast", "a token", "times as fast", "memory beyond weights", "times as much"]
    yield data, table(head, lines)


def ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
