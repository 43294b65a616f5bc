"""What a fit found: the plan, and how it compares with others on documents that neither searching nor choosing saw."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from ropewalk.jobs.fit.compare import FITTED, Compared
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.table import Table


@dataclass(frozen=True)
class FitResult:
    """plan: of the lowest loss on the choosing documents, the fitted one or, where that did not win, another.

    winner: its name. compared: every plan on the report documents. losses: on the choosing documents, nats.
    documents: how many were read of each set. notes: what the budget had no room for.
    kept: the file with the tokens and bits that compared was made of (`compare.read_report`).
    """

    plan: ScalingPlan
    winner: str
    compared: dict[str, Compared]
    edges: tuple[int, ...]
    losses: dict[str, float]
    fitted: ScalingPlan
    steps: int
    dropped: int
    seconds: float
    documents: dict[str, int]
    notes: tuple[str, ...]
    kept: str
    out: str

    @property
    def table(self) -> Table:
        """Bits per token by position under every plan, and what the fit gains over it, with 95 % intervals."""
        edges = [f"{a}-{b}" for a, b in zip(self.edges, self.edges[1:], strict=False)]
        rows = tuple((name, *_written(row, with_gain=name != FITTED)) for name, row in self.compared.items())
        return Table(("bits per token at", *edges, "beyond the window", "fit gains", "95 %"), rows, self.notes)

    def to_dict(self) -> dict[str, Any]:
        plans = {"plan": self.plan.to_dict(), "fitted": self.fitted.to_dict()}
        return {**dataclasses.asdict(self), **plans, "fingerprint": self.plan.fingerprint}

    def _repr_html_(self) -> str:
        return self.table.to_html()


def _written(row: Compared, *, with_gain: bool) -> tuple[str, ...]:
    gain = (f"{row.gain.value:+.4f}", f"{row.gain.low:+.4f} to {row.gain.high:+.4f}") if with_gain else ("", "")
    return (*(f"{value:.3f}" for value in row.buckets), f"{row.far.value:.4f}", *gain)
