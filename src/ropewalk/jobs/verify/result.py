"""What all engines say of all parts of what was written."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ropewalk.jobs.verify.run import FAILED, NOT_RUN, Status, Testimony, Verification
from ropewalk.table import Table

DISAGREE, NONE_RUN = 1, 3


@dataclass(frozen=True, slots=True)
class Absent:
    """An engine that was named and is not here.  reason: where it was looked for, and how to get it."""

    engine: str
    title: str
    reason: str

    @property
    def said(self) -> str:
        return f"{self.title} is not here: {self.reason}"


@dataclass(frozen=True)
class Verified:
    """verified: part by part.  named: whether engines were.  absent: those of them, where none is here."""

    out: str
    verified: tuple[Verification, ...]
    named: bool = False
    absent: tuple[Absent, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: all agree.  1: one does not.  3: one that was named, or every one, could not be run."""
        heard = [testimony.status for one in self.verified for testimony in one.testimonies]
        if any(status in FAILED for status in heard):
            return DISAGREE
        not_run = [status in NOT_RUN for status in heard]
        return NONE_RUN if (any(not_run) if self.named and heard else all(not_run)) else 0

    @property
    def table(self) -> Table:
        rows = [
            (one.title, testimony.name, str(testimony.status), *_sizes(testimony))
            for one in self.verified
            for testimony in one.testimonies
        ]
        rows += [("", one.title, str(Status.ABSENT), "", "") for one in self.absent]
        return Table(("part", "engine", "says", "apart, nats", "without the scaling"), tuple(rows))

    def to_dict(self) -> dict[str, Any]:
        missing = [{"engine": one.engine, "status": str(Status.ABSENT), "reason": one.reason} for one in self.absent]
        found = {"out": self.out, "exit_code": self.exit_code, "verified": [_as_dict(one) for one in self.verified]}
        return found | ({"absent": missing} if missing else {})

    def _repr_html_(self) -> str:
        return self.table.to_html()


def _sizes(testimony: Testimony) -> Iterator[str]:
    compared = testimony.comparison
    yield f"{compared.apart:.1e}" if compared else ""
    yield f"{compared.control:.2g}" if compared else ""


def _as_dict(found: Verification) -> dict[str, Any]:
    sizes = [(c.apart, c.control, c.floor) if (c := t.comparison) else () for t in found.testimonies]
    whole = dataclasses.asdict(found) | {"healthy": found.healthy}
    for testimony, size in zip(whole["testimonies"], sizes, strict=True):
        testimony |= dict(zip(("apart", "control", "floor"), size, strict=False))
    return whole
