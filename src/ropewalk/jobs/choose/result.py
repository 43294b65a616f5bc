"""What a choice comes to: a plan or none, in one sentence with its reasons, and how every plan did."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ropewalk.jobs.choose.race import POINT
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.table import Table

SCHEMA = "ropewalk.choice/1"
PLAN, REPORT = "plan.json", "report.html"
STRETCH, KEEP, NO_STRETCH = "stretch", "keep what is there", "do not stretch"
LEFT_OUT = "left out"
TO_SAVE_TIME = f"{LEFT_OUT} to save time"


@dataclass(frozen=True)
class Asked:
    """to, original: tokens.  budget: seconds."""

    model: str
    to: int
    original: int
    budget: float
    engines: tuple[str, ...]
    out: Path


@dataclass(frozen=True)
class Needless:
    """No document is longer than the window: nothing was measured, for there is nothing to stretch for.

    unread: what could not be read, and why; longer ones may be among them.
    """

    original: int
    to: int
    documents: int
    outcome: str = NO_STRETCH
    plan: ScalingPlan | None = None
    unread: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        whose = "those of your documents that could be read" if self.unread else "your documents"
        more = f" But {len(self.unread):,} could not be read, such as {self.unread[0]}." if self.unread else ""
        return (
            f"Do not stretch: {whose} do not need it. None of the {self.documents:,} is longer than the "
            f"{self.original:,} tokens that the model was trained at.{more}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self), "sentence": self.sentence}

    def _repr_html_(self) -> str:
        return f"<p>{self.sentence}</p>"


@dataclass(frozen=True)
class ChooseResult:
    """What was chosen, why, and what else there was.

    outcome: "stretch", "keep what is there" or "do not stretch".  chosen: its name.  plan: None where nothing is stretched.
    close: the plans that are not told from the chosen one, of those read to the end.  rows: of every candidate, best first.
    held: tokens to which the chosen plan is shown to hold, on documents that did not choose; None: no length is.
    reported: of the finalists, on those documents; excess: their bits per token above the chosen plan's.
    documents: how many chose, were reported on and, where there is a fitted plan, were fitted on.
    commands: what to do next.  more: what a larger budget would settle.
    """

    asked: Asked
    outcome: str
    chosen: str
    plan: ScalingPlan | None
    runner_up: str | None
    close: tuple[str, ...]
    held: int | None
    reasons: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    reported: dict[str, dict[str, Any]]
    commands: dict[str, str]
    more: tuple[str, ...]
    notes: tuple[str, ...]
    documents: dict[str, int]
    kinds: tuple[str, ...]
    seconds: float

    @property
    def sentence(self) -> str:
        return " ".join(self.reasons)

    @property
    def title(self) -> str:
        name, to = Path(self.asked.model).name, f"{self.asked.to:,} tokens"
        if self.outcome == STRETCH:
            return f"{name} to {to}: take {self.chosen}"
        return f"{name} to {to}: {self.outcome}"

    @property
    def times(self) -> float | None:
        """The trained length; None where it is not shown to hold beyond."""
        beyond = self.outcome == STRETCH and self.held is not None and self.held > self.asked.original
        return self.held / self.asked.original if beyond and self.held else None

    @property
    def page(self) -> Path:
        return self.asked.out / REPORT

    @property
    def aside(self) -> tuple[str, ...]:
        """Who was not read, and why."""
        states: dict[str, list[str]] = {}
        for row in self.rows:
            if not row["rounds"]:
                states.setdefault(row["state"], []).append(row["plan"])
        return tuple(f"{state[0].upper()}{state[1:]}: {', '.join(names)}." for state, names in states.items())

    @property
    def table(self) -> Table:
        """Of what was read; who was not stands in the notes.  Behind by: score, with the level shared among the rivals."""
        answer = ("answer, %",) if self.kinds else ()
        columns = ("plan", "rounds", "bits", *answer, "behind by", "")
        read = [row for row in self.rows if row["rounds"]]
        early = any(row["state"] == TO_SAVE_TIME for row in read)
        told = (f"{LEFT_OUT.capitalize()}: to save time, and not shown to be worse.",) if early else ()
        return Table(columns, tuple(_written(row, bool(answer)) for row in read), (*told, *self.notes, *self.aside))

    @property
    def reported_table(self) -> Table:
        found = ("found",) if self.kinds else ()
        heads = (f"bits beyond {self.asked.original:,}", "more than the chosen", *found, "costs inside")
        rows = [
            (
                name,
                interval(row["bits"], ".3f"),
                interval(row["excess"], "+.3f"),
                *((share_found(row),) if found else ()),
                interval(row["inside"], "+.3f"),
            )
            for name, row in self.reported.items()
        ]
        return Table(("on other documents", *heads), tuple(rows))

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.table, self.reported_table

    def to_dict(self) -> dict[str, Any]:
        plan = self.plan.to_dict() if self.plan else None
        asked = {**asdict(self.asked), "out": str(self.asked.out)}
        return {
            "schema": SCHEMA,
            **asdict(self),
            "asked": asked,
            "plan": plan,
            "title": self.title,
            "sentence": self.sentence,
            "point": POINT,
            "aside": list(self.aside),
        }

    def _repr_html_(self) -> str:
        return f"<p><b>{self.title}.</b> {self.sentence}</p>" + "".join(table.to_html() for table in self.tables)


def _written(row: Mapping[str, Any], answer: bool) -> tuple[str, ...]:
    chance = ("" if row["chance"] is None else f"{100 * row['chance']:.0f}",) if answer else ()
    state = LEFT_OUT if row["state"] == TO_SAVE_TIME else row["state"]  # a narrow terminal has room for no more
    return row["plan"], str(row["rounds"]), f"{row['bits']:.3f}", *chance, interval(row["behind"], "+.3f"), state


def interval(cell: Mapping[str, float] | None, form: str) -> str:
    if cell is None:
        return ""
    if not math.isfinite(cell["high"] - cell["low"]):
        return f"{cell['value']:{form}}"
    return f"{cell['value']:{form}} ({cell['low']:{form}} to {cell['high']:{form}})"


def share_found(row: Mapping[str, Any]) -> str:
    return f"{row['found']:g} of {row['tries']}" if row["tries"] else ""
