"""Loss by position as the certificate shows it: buckets, paired comparisons, and how far each method reads."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from math import exp, log, sqrt
from typing import Any

import numpy

from ropewalk.jobs.evaluate.statistics import Interval
from ropewalk.jobs.evaluate.tables import loss_by_position
from ropewalk.jobs.report.run_folder import REFERENCE, Run

FINE = 16  # buckets of the plot between the trained and the target length
NAT = 1 / log(2)


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


# --- interim, until the paired statistics land
def per_document(records, edges):
    found = {}
    for record in records:
        if record.key.protocol in ("position", "window"):
            found.setdefault(record.key.method, {}).setdefault(record.facts["document"], {})[record.key.length] = record.nll
    table = {}
    for method, documents in found.items():
        rows = {}
        for document, by_length in documents.items():
            row = []
            for low, high in itertools.pairwise(edges):
                covering = [n for n in by_length if n >= high]
                piece = by_length[min(covering)][max(low - 1, 0) : high - 1] if covering else []
                row.append((float(numpy.sum(piece, dtype=numpy.float64)), len(piece)))
            rows[document] = row
        table[method] = rows
    return table


def paired(a, b):
    a, b = numpy.array(a), numpy.array(b)
    picks = numpy.random.default_rng(0).integers(0, len(a), (2000, len(a)))
    drawn = a[picks].sum(1)
    other = b[picks].sum(1)
    low, high = numpy.quantile(drawn[:, 0] / drawn[:, 1] - other[:, 0] / other[:, 1], (0.025, 0.975))
    return Interval(a[:, 0].sum() / a[:, 1].sum() - b[:, 0].sum() / b[:, 1].sum(), float(low), float(high))


def loss(run: Run) -> dict[str, Any] | None:
    edges = coarse_edges(run.original_length, run.target_length)
    fine = fine_edges(run.original_length, run.target_length)
    table = loss_by_position(run.records, edges)
    if not table:
        return None
    rows = {m: [asdict(b) for b in table[m]] for m in run.plans if m in table}
    best = [min(round(row[i]["value"], 3) for row in rows.values()) for i in range(len(edges) - 1)]
    for row in rows.values():
        for cell, lowest in zip(row, best):
            cell["best"] = round(cell["value"], 3) == lowest
    plot = loss_by_position(run.records, fine)
    docs = per_document(run.records, edges)
    compared = _compared(docs, rows, edges)
    return {
        "edges": edges,
        "fine_edges": fine,
        "buckets": list(itertools.pairwise(edges)),
        "documents": max(len(d) for d in docs.values()),
        "rows": rows,
        "plot": {m: [asdict(b) for b in plot[m]] for m in rows},
        "compared": compared,
        "prefix": prefix_losses(run, edges[2:]),
    }


def prefix_losses(run, lengths):
    out = {}
    for m in run.plans:
        vals = {}
        for c in lengths:
            t = loss_by_position([r for r in run.records if r.key.method == m], [0, c])
            vals[c] = t[m][0].value
        out[m] = {c: v / vals[lengths[0]] for c, v in vals.items()}
    return out


def _compared(docs, rows, edges):
    names = sorted(set.intersection(*(set(d) for d in docs.values())))
    last = {m: [docs[m][n][-1] for n in names] for m in rows}
    trained = {m: [docs[m][n][1] for n in names] for m in rows}
    best = min(rows, key=lambda m: rows[m][-1]["value"])
    refs = [(f"against none\nat {edges[1]:,} to {edges[2]:,}", trained["none"], None), ("against none\nhere", last["none"], "none"), (f"against {best},\nthe best here", last[best], best)]
    out = {}
    for m in rows:
        cells = []
        for _, ref, name in refs:
            if m == name:
                cells.append(None)
                continue
            d = paired(last[m], ref)
            cells.append({"value": exp(d.value), "low": exp(d.low), "high": exp(d.high), "kind": "worse" if d.low > 0 else "better" if d.high < 0 else ""})
        diffs = numpy.array([a[0] / a[1] - b[0] / b[1] for a, b in zip(last[m], last[best])])
        out[m] = {"cells": cells, "detectable": None if m == best else exp(2.8 * diffs.std(ddof=1) / sqrt(len(diffs))) - 1}
    return {"columns": [r[0] for r in refs], "rows": out, "detectable_against": best}


def verdicts(run, section):
    docs = per_document(run.records, section["edges"])
    edges = section["edges"]
    names = sorted(docs["none"])
    ref = [docs["none"][n][1] for n in names]
    out = []
    for m in run.plans:
        reach, why = 0, "interim"
        for i, high in enumerate(edges[2:], start=1):
            d = paired([docs[m][n][i] for n in names], ref)
            if d.low > 0:
                break
            reach = high
        out.append({"method": m, "length": reach, "sentence": f"interim: the last stretch at {reach:,} is not significantly worse than at {edges[2]}."})
    return out
