"""What a budget has room for: how many documents are read, and when to stop."""

import math
import time
from dataclasses import dataclass, field

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
