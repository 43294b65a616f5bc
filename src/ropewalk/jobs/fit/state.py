"""The best so far, on disk from the first minute: a search that is interrupted goes on from it."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ropewalk.checkpoints import runs
from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, OutputExists

SCHEMA = "ropewalk.fit/1"


@dataclass
class SearchState:
    """key: what was searched, with what, on what. u: the best point.  loss: its loss on the documents that choose, nats.
    losses: of the plans without a fit, there. choosing: how many documents choose. steps, dropped, seconds: of all runs
    together."""

    key: dict[str, Any]
    u: list[float]
    loss: float
    losses: dict[str, float] = field(default_factory=dict)
    choosing: int = 0
    steps: int = 0
    dropped: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        write_file(path, json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=2) + "\n")


def state_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.fit.json")


def load_state(out: Path, key: dict[str, Any], *, force: bool) -> SearchState | None:
    """The state of an earlier run of the same search beside `out`; None where there is none, or `force` starts anew."""
    path = state_path(out)
    if force or not path.exists():
        if out.exists() and not force:
            raise OutputExists(
                f"{out} exists already, and no search beside it to go on with. Choose another name, or force (--force)."
            )
        return None
    try:
        data = runs.read(path)
        if data.pop(runs.SCHEMA) != SCHEMA:
            raise ValueError("another schema")
        state = SearchState(**data)
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"{path} is not the state of a search: {error}.\n  Delete it, or force (--force).") from None
    if told := runs.differences(state.key, json.loads(json.dumps(key))):
        differ = sorted(name for name in {*key, *state.key} if key.get(name) != state.key.get(name))
        raise OutputExists(
            f"{path} belongs to another search: other {', '.join(differ)}; what differs:\n{told}\n"
            "  Ask for the same to go on with it, choose another name, or begin anew: force (--force)."
        )
    return state


LEAST = 2  # documents that are read whatever the budget: one has no interval
CHOICE, REPORT = 0.25, 0.3  # shares of the budget that reading plans before and after the search may take
SAFETY = 1.1  # readings vary


@dataclass
class Budget:
    """limit: seconds for everything.  started: on time.monotonic's clock.  reading: seconds that one document takes.

    notes: what a person should know about what did not fit.
    """

    limit: float
    started: float = field(default_factory=time.monotonic)
    reading: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        return self.limit - self.seconds

    def note_excess(self) -> None:
        if self.left < 0:
            self.notes.append(
                f"{self.seconds:.0f} s were spent instead of {self.limit:.0f}: the least that is read is {LEAST} documents to "
                f"choose and {LEAST} to report on, at {self.reading:.1f} s a reading."
            )

    def room(self, share: float, plans: int, documents: int, what: str) -> int:
        """How many of `documents` can be read under that many plans in a share of the budget; notes it where not all can."""
        a_document = self.reading * plans * SAFETY
        n = min(max(int(share * self.limit / a_document), LEAST), documents)
        if n < documents:
            self.notes.append(
                f"{what}: {n} of {documents} documents, at {self.reading:.1f} s a reading and {plans} plans; all of them need "
                f"a budget of {math.ceil(documents * a_document / share)} s."
            )
        return n
