"""An evaluation in a few numbers, as JSON has them: what the command line prints."""

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy

from ropewalk.jobs.evaluate.job import REPORT, Outcome
from ropewalk.measure.comparisons import paired
from ropewalk.measure.records import Readings, Record
from ropewalk.measure.retrieval_tables import task_scores
from ropewalk.measure.statistics import in_words
from ropewalk.measure.tables import BITS, Sums, speed_table, table, tax_table

T = TypeVar("T")


def summary(outcome: Outcome) -> dict[str, Any]:
    prepared = outcome.prepared
    readings = Readings(outcome.records)
    tables = {str(protocol): _in_order(table(readings, protocol), prepared.plans) for protocol in prepared.protocols}
    return {
        "model": prepared.request.model,
        "out": str(outcome.out),
        "report": str(outcome.out / REPORT) if outcome.records else None,
        "plans": {name: plan.fingerprint for name, plan in prepared.plans.items()},
        "lengths": prepared.lengths,
        "bits_per_token": {
            protocol: {method: {line: sums.mean * BITS for line, sums in lines.items()} for method, lines in rows.items()}
            for protocol, rows in tables.items()
        },
        "power": _power(next(iter(tables.values()), {}), prepared.request.difference),
        "retrieval": {
            task: _in_order(rows, prepared.plans)
            for task, rows in _retrieval(outcome.records, {sample.task for sample in prepared.samples}).items()
        },
        "tax": _in_order(_tax(outcome.records), prepared.plans),
        "speed": _in_order(_speed(outcome.records), prepared.plans),
        "records": len(outcome.records),
        "found": outcome.found,
        "documents": {
            "found": prepared.choice.found,
            "read": len(prepared.documents),
            "duplicates": prepared.choice.duplicates,
        },
        "unreadable": [problem._asdict() for problem in outcome.problems],
        "skipped": [skipped._asdict() for skipped in outcome.skipped],
        "failures": outcome.failures,
        "notes": prepared.notes,
    }


def _in_order(rows: dict[str, T], plans: Iterable[str]) -> dict[str, T]:
    return {name: rows[name] for name in plans if name in rows}


def _power(rows: dict[str, dict[str, Sums]], wished: float | None) -> dict[str, str]:
    """What so many documents can tell of each method against the first, in the last line of a table."""
    first, *others = rows.items() or [("", {})]
    found = {}
    for method, lines in others:
        a, b = (list(cells.values())[-1] for cells in (lines, first[1]))
        if a.documents == b.documents:
            error = paired(a.sums * BITS, b.sums * BITS, a.counts).error
            found[method] = in_words(error, len(a.documents), wished, unit="bits per token")
    return found


def _tax(records: list[Record]) -> dict[str, dict[str, float]]:
    """Bits per token that a plan adds inside the original length, and KL(base || extended), over all tokens."""
    return {method: {"loss": tax.loss.value, "kl": tax.kl.value} for method, tax in tax_table(records).items()}


def _retrieval(records: list[Record], tasks: Iterable[str]) -> dict[str, dict[str, dict[int, float]]]:
    """Task to method to length to mean score, 0 to 1."""
    return {
        task: {
            method: {n: float(numpy.mean(cell[task])) for n, cell in lengths.items()}
            for method, lengths in task_scores(records, [task]).items()
        }
        for task in sorted(tasks)
    }


def _speed(records: list[Record]) -> dict[str, dict[str, float | None]]:
    """Medians over repeats, per method; a run measures one length."""
    rows = {method: next(iter(lengths.values())) for method, lengths in speed_table(records).items()}
    return {
        method: {
            "prefill_tokens_per_second": speed.prefill,
            "decode_tokens_per_second": speed.decode,
            "peak_bytes": speed.peak_bytes,
        }
        for method, speed in rows.items()
    }
