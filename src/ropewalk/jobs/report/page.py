"""The report: a pure function of records and plans."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.io
from plotly.offline import get_plotlyjs

from ropewalk.jobs.evaluate.records import Record
from ropewalk.jobs.evaluate.tables import loss_by_position, passkey_by_length, passkey_grid
from ropewalk.jobs.files import write_file
from ropewalk.jobs.report.figures import FONT, loss_figure, passkey_figure
from ropewalk.scaling.plan import ScalingPlan

FINE = 16  # buckets of the plot between the trained and the target length


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


def write_report(path: Path, records: Sequence[Record], plans: Mapping[str, ScalingPlan]) -> None:
    (_, stretch), *_ = next(iter(plans.values())).stretches
    original, target = stretch.rope.original_length, max(plan.target_length for plan in plans.values())
    edges, fine = coarse_edges(original, target), fine_edges(original, target)
    order = {name: i for i, name in enumerate(plans)}
    losses = _ordered(loss_by_position(records, edges), order)
    grids = _ordered(passkey_grid(records), order)
    by_length = {method: passkey_by_length(grid) for method, grid in grids.items()}
    lengths = sorted(next(iter(by_length.values()), {}))
    options = {"full_html": False, "include_plotlyjs": False, "config": {"displayModeBar": False, "responsive": True}}
    facts = records[0].facts
    page = _template().render(
        title=f"{plans[next(iter(plans))].model}: {original:,} to {target:,} tokens",
        subtitle=f"{len(plans)} methods at factor {target / original:g}, side by side on the same tokens.",
        font=FONT,
        plotlyjs=get_plotlyjs(),
        loss_figure=plotly.io.to_html(
            loss_figure(_ordered(loss_by_position(records, fine), order), fine, original), **options
        ),
        passkey_figure=plotly.io.to_html(passkey_figure(grids), **options),
        buckets=[f"{low:,} to {high:,}" for low, high in itertools.pairwise(edges)],
        losses=_rows({m: [(b.value, b.low, b.high) for b in buckets] for m, buckets in losses.items()}, smallest=True),
        lengths=lengths,
        passkeys=_rows({m: [(shares[n], 0, 0) for n in lengths] for m, shares in by_length.items()}, smallest=False),
        tries=_tries(records),
        plans=[_plan_row(plan) for plan in plans.values()],
        how=_how(records, facts),
    )
    write_file(path, page)


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("ropewalk.jobs.report", ".")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template("page.html.j2")


def _ordered(table: dict[str, Any], order: Mapping[str, int]) -> dict[str, Any]:
    return dict(sorted(table.items(), key=lambda item: order.get(item[0], len(order))))


def _rows(table: Mapping[str, Sequence[tuple[float, float, float]]], *, smallest: bool) -> list[dict[str, Any]]:
    """Rows for the template, the best cell of each column marked."""
    columns = list(zip(*table.values(), strict=True))
    best = [(min if smallest else max)(round(cell[0], 3) for cell in column) for column in columns]  # as shown
    return [
        {
            "method": method,
            "cells": [
                {"value": value, "low": low, "high": high, "best": round(value, 3) == best[i]}
                for i, (value, low, high) in enumerate(cells)
            ],
        }
        for method, cells in table.items()
    ]


def _tries(records: Sequence[Record]) -> int:
    cells = [(r.key.method, r.key.length, r.facts["depth"]) for r in records if r.key.protocol == "passkey"]
    return max((cells.count(cell) for cell in set(cells)), default=0)


def _plan_row(plan: ScalingPlan) -> dict[str, str]:
    (_, stretch), *_ = plan.stretches
    return {
        "name": plan.name,
        "factor": f"1 to {stretch.factor:g}" if stretch.dynamic else f"{stretch.factor:g}",
        "attention_factor": f"{stretch.scaled().attention_factor:.4f}",
        "fingerprint": plan.fingerprint,
    }


def _how(records: Sequence[Record], facts: Mapping[str, Any]) -> str:
    documents = {r.facts["document"] for r in records if r.key.protocol == "window"}
    return (
        f"{len(documents)} held-out files of the Python standard library, each begun by BOS, read in one pass per method; "
        "a token is filed under its own position. Dynamic scaling reads each document once per length and takes "
        "every bucket from the shortest reading that covers it. Means are pooled over tokens; intervals resample documents "
        f"(2,000 times). {facts['dtype']}, {facts['attention']} attention, torch {facts['torch']}, transformers "
        f"{facts['transformers']}. Every number can be made again from the records beside this page, without the model: "
        f"{json.dumps(sorted({r.key.model for r in records}))[1:-1]}."
    )
