"""What a run says while it works, and at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.jobs.train.preflight import Proof


@dataclass(frozen=True)
class Event:
    """What a person is told. kind: index, proof, step, evaluation, checkpoint, alarm, resumed, export, flat."""

    kind: str
    facts: dict[str, Any]


Watch = Callable[[Event], None]


@dataclass(frozen=True)
class Result:
    """model: the folder of the trained model; None after a preflight alone.  evaluations: of each, its line of the log."""

    model: Path | None
    proofs: list[Proof]
    steps: int
    tokens: int
    thrown_away: int
    evaluations: list[dict[str, Any]]
