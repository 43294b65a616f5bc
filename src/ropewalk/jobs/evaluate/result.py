"""What an evaluation did, in a few numbers and tables, and as a picture."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy

from ropewalk.jobs.evaluate.prepare import Prepared
from ropewalk.measure.comparisons import paired
from ropewalk.measure.records import Readings, Record
from ropewalk.measure.retrieval import Skipped
from ropewalk.measure.retrieval_tables import ladder_shares, retrieval_grids, task_scores
from ropewalk.measure.rows import Problem
from ropewalk.measure.statistics import in_words
from ropewalk.measure.tables import BITS, Sums, speed_table, table, tax_table
from ropewalk.measure.task import split_rung
from ropewalk.table import Table

REPORT = "report.html"
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    records: those of its own plans.  found: how many measurements were on disk before.  skipped: tasks that do not fit.
    problems: texts that could not be read.  failures: what a plan could not be measured for; its other records are kept.
    """

    out: Path
    prepared: Prepared
    records: list[Record]
    found: int
    failures: list[str] = field(default_factory=list)

    @property
    def skipped(self) -> list[Skipped]:
        return self.prepared.skipped

    @property
    def problems(self) -> list[Problem]:
        return self.prepared.choice.problems

    def to_dict(self) -> dict[str, Any]:
        """In a few numbers, as JSON has them."""
        readings = Readings(self.records)
        tables = {
            str(protocol): _in_order(table(readings, protocol), self.prepared.plans) for protocol in self.prepared.protocols
        }
        return {
            "model": self.prepared.request.model,
            "out": str(self.out),
            "report": str(self.out / REPORT) if self.records else None,
            "plans": {name: plan.fingerprint for name, plan in self.prepared.plans.items()},
            "lengths": self.prepared.lengths,
            "bits_per_token": {
                protocol: {method: {line: sums.mean * BITS for line, sums in lines.items()} for method, lines in rows.items()}
                for protocol, rows in tables.items()
            },
            "power": _power(next(iter(tables.values()), {}), self.prepared.request.difference),
            "retrieval": {
                task: _in_order(rows, self.prepared.plans)
                for task, rows in _retrieval(self.records, {sample.task for sample in self.prepared.samples}).items()
            },
            "tax": _in_order(_tax(self.records), self.prepared.plans),
            "speed": _in_order(_speed(self.records), self.prepared.plans),
            "records": len(self.records),
            "found": self.found,
            "documents": {
                "found": self.prepared.choice.found,
                "read": len(self.prepared.documents),
                "duplicates": self.prepared.choice.duplicates,
            },
            "unreadable": [problem._asdict() for problem in self.problems],
            "skipped": [skipped._asdict() for skipped in self.skipped],
            "failures": self.failures,
            "notes": self.prepared.notes,
        }

    @property
    def exit_code(self) -> int:
        return int(bool(self.failures))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Loss by position, the tax, retrieval and speed, each where it was measured."""
        run = self.to_dict()
        speeds = {
            method: {"prefill": s["prefill_tokens_per_second"], "decode": s["decode_tokens_per_second"]}
            for method, s in run["speed"].items()
        }
        made = [
            *(
                Table.of(f"bits per token (perplexity), {protocol.partition(':')[0]}", _each(rows, _bits))
                for protocol, rows in run["bits_per_token"].items()
            ),
            Table.of("bits per token, inside the original length", run["tax"], "{:+z.4f}"),
            *_ladders(self.records, self.prepared.plans),
            *(
                Table.of(f"{task}, % right", _each(rows, lambda share: f"{100 * share:.0f}"))
                for task, rows in run["retrieval"].items()
                if not split_rung(task)
            ),
            Table.of(f"tokens/s at {run['lengths'][-1]:,}", speeds, "{:,.0f}"),
        ]
        return tuple(table for table in made if table.rows)

    def figure(self) -> Any:
        """Loss by position under every plan with 95 % bands: the certificate's plot, as a plotly Figure. None without it."""
        from ropewalk.jobs.report.figures import loss_figure
        from ropewalk.jobs.report.headline import certificate
        from ropewalk.jobs.report.run_folder import read_run

        made = certificate(read_run(self.out))
        if not made["loss"]:
            return None
        import plotly.graph_objects

        drawn = loss_figure(made["loss"]["plot"], made["loss"]["fine_edges"], made["original_length"])
        return plotly.graph_objects.Figure(drawn)

    def _repr_html_(self) -> str:
        figure = self.figure()
        drawn = figure.to_html(full_html=False, include_plotlyjs="cdn") if figure else ""
        return drawn + "".join(table.to_html() for table in self.tables)


def _each(rows: Mapping[str, Mapping[Any, float | None]], written: Callable[[float], str]) -> dict[str, dict[Any, str | None]]:
    return {name: {k: None if v is None else written(v) for k, v in row.items()} for name, row in rows.items()}


def _bits(bits: float) -> str:
    return f"{bits:.3f} ({2**bits:,.2f})" if bits < 30 else f"{bits:.3f} (over a billion)"


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


def _ladders(records: list[Record], plans: Iterable[str]) -> list[Table]:
    """A row a plan, a column a rung, with 95 % intervals; a table for each length."""
    made = []
    for (ladder, length), rows in ladder_shares(retrieval_grids(records)).items():
        shown: dict[str, Mapping[Any, str]] = {
            method: {f"{ladder}-{rung}": cell.written() for rung, cell in row.items()} for method, row in rows.items()
        }
        made.append(Table.of(f"% right at {length:,}", _in_order(shown, plans)))
    return made


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
