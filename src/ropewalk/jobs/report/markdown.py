"""The certificate's main tables as Markdown, to paste into a model card."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ropewalk.jobs.report.marks import number, short
from ropewalk.table import Table

Made = Mapping[str, Any]


def markdown(made: Made) -> str:
    parts = [f"**{made['headline']['title']}.** {made['headline']['sentence']}"]
    parts += [part for make in (_loss, _verdicts, _retrieval, _ruler, _tax) for part in make(made)]
    return "\n\n".join([*parts, _foot(made)]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return Table(tuple(head), tuple(map(tuple, rows))).to_markdown().rstrip()


def _loss(made: Made) -> Iterator[str]:
    if made["loss"]:
        head = ["bits per token at", *(f"{low:,} to {high:,}" for low, high in made["loss"]["buckets"])]
        rows = made["loss"]["rows"].items()
        yield _table(head, [[method, *(_interval(cell, ".3f") for cell in cells)] for method, cells in rows])


def _verdicts(made: Made) -> Iterator[str]:
    if made["verdicts"]:
        yield _table(["method", "reads to"], [[v["method"], _reach(v)] for v in made["verdicts"]])


def _reach(verdict: Mapping[str, Any]) -> str:
    if verdict["length"]:
        return number(verdict["length"], ",")
    return "unknown" if verdict["length"] is None else "not decided" if verdict["open"] else "nowhere"


def _retrieval(made: Made) -> Iterator[str]:
    for task in made["retrieval"]:
        head = [f"{task['task']}, % found at", *map(short, task["lengths"])]
        yield _table(head, [[m, *(_interval(cell, "hundred") for cell in cells)] for m, cells in task["by_length"].items()])


def _ruler(made: Made) -> Iterator[str]:
    ruler = made["ruler"]
    if ruler:
        head = [
            f"RULER, {len(ruler['tasks'])} of 13 tasks",
            *map(short, ruler["lengths"]),
            f"effective at {ruler['threshold']}",
        ]
        rows = ruler["rows"].items()
        yield _table(
            head,
            [
                [m, *(_interval(row["means"].get(n), ".1f") for n in ruler["lengths"]), _interval(row["absolute"], "short")]
                for m, row in rows
            ],
        )


def _tax(made: Made) -> Iterator[str]:
    if made["tax"]:
        head = ["short-context degradation", "bits per token", "KL, bits per token"]
        rows = made["tax"]["rows"].items()
        yield _table(head, [[m, _interval(row["loss"], "signed"), _interval(row["kl"], "z.4f")] for m, row in rows])


def _interval(cell: Mapping[str, Any] | None, form: str) -> str:
    if not cell:
        return ""
    if cell["low"] is None or cell["high"] is None:
        return f"{number(cell['value'], form)} (one document)"
    return f"{number(cell['value'], form)} ({number(cell['low'], form)} to {number(cell['high'], form)})"


def _foot(made: Made) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in made["provenance"]["facts"])
    return f"In brackets 95 % intervals. {facts}. Made by `ropewalk report`."
