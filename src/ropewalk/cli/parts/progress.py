"""What a verb is doing, on standard error, and how long it will take: a bar on a terminal, a line now and then in a file.

Every verb that takes a while shows a `Bar` before it imports anything heavy, so that there is never silence.
"""

import os
import threading
import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from ropewalk.cli.parts.console import Console
from ropewalk.scaling.units import spoken

Clock = Callable[[], float]
OFTEN, SELDOM = 10.0, 60.0  # seconds between two lines in a file, at first and once it takes long
INSTANT = 0.002  # seconds: a measurement that comes sooner after the one before was found on disk


class Estimate:
    """Time left, from all that was done so far, however long one piece takes: nothing is forgotten.

    What was found on disk comes in no time, and says nothing of how long the rest will take.
    found: is some of the work found?
    """

    def __init__(self, total: float, *, found: bool = False, clock: Clock = time.monotonic):
        self.total, self.done = total, 0.0
        self._found, self._clock = found, clock
        self._worked = self._seconds = 0.0
        self._last = clock()

    def advance(self, cost: float) -> None:
        now = self._clock()
        took, self._last = now - self._last, now
        first, self.done = self.done == 0, self.done + cost
        if not self._found or (took >= INSTANT and not first):
            self._worked += cost
            self._seconds += took

    @property
    def left(self) -> float | None:
        """Seconds, or None where nothing is known yet, or nothing is left."""
        if not self._worked or self.done >= self.total:
            return None
        return max((self.total - self.done) * self._seconds / self._worked - (self._clock() - self._last), 0.0)


class Bar:
    """One stage after another. Use as a context manager.

    transient: leave nothing of it on a terminal.  after: seconds, below which nothing is worth a line in a file.
    """

    def __init__(
        self, what: str, console: Console | None = None, *, transient: bool = False, after: float = 0.0,
        clock: Clock = time.monotonic,
    ):  # fmt: skip
        self._console, self._clock, self._after = console or Console(stderr=True, highlight=False), clock, after
        self._shown = not self._console.quiet and os.environ.get("RANK", "0") == "0"
        self._what, self._said, self._estimate = what, "", None  # type: str, str, Estimate | None
        self._began, self._due, self._ended = clock(), 0.0, threading.Event()
        self._live: Progress | None = None
        self._thread: threading.Thread | None = None
        if self._shown and self._console.is_terminal:
            columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), _Rest(self)
            self._live = Progress(*columns, console=self._console, transient=transient)
            self._task = self._live.add_task(what, total=None)

    def __enter__(self) -> "Bar":
        self._began = self._clock()
        if self._live:
            self._live.start()
        elif self._shown:
            self._open()
            self._thread = threading.Thread(target=self._tick, name="ropewalk-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        if self._live:
            self._live.stop()
        if self._thread:
            self._thread.join()
            self._thread = None

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        """The next stage.  total: of its work, where it is known.  found: is some of it done already?"""
        new, self._what, self._said, self._began = what != self._what, what, "", self._clock()
        self._estimate = None if total is None else Estimate(total, found=found, clock=self._clock)
        if self._live:
            self._live.reset(self._task, description=what, total=total)
        elif self._shown and new:
            self._open()

    def advance(self, cost: float) -> None:
        if self._estimate:
            self._estimate.advance(cost)
            if self._live:
                self._live.update(self._task, completed=self._estimate.done)

    def reach(self, done: float) -> None:
        """So much of this stage is done, all in all."""
        if self._estimate and done > self._estimate.done:
            self.advance(done - self._estimate.done)

    def note(self, sentence: str) -> None:
        """A line of its own, which stays."""
        if self._shown:
            self._console.print(sentence, markup=False, soft_wrap=True)

    def say(self, words: str, what: str | None = None) -> None:
        """Beside the bar, until something else is said.  what: this stage's other name from now on."""
        self._said, self._what = words, what or self._what
        if self._live:
            self._live.update(self._task, description=self._what)

    @property
    def rest(self) -> str:
        """12 %, about 3 min left, and whatever was said."""
        parts = []
        if self._estimate and self._estimate.total:
            parts.append(f"{min(self._estimate.done / self._estimate.total, 1):.0%}")
            parts += [f"about {spoken(left)} left"] if (left := self.left) is not None else []
        return ", ".join(filter(None, [*parts, self._said]))

    @property
    def left(self) -> float | None:
        """Seconds, where they are known."""
        return self._estimate.left if self._estimate else None

    @property
    def is_live(self) -> bool:
        return self._live is not None

    def _open(self) -> None:
        """The first line of a stage."""
        self._due = self._began + self._after
        if not self._after:
            self._line(f"{self._what} ...")
            self._due += OFTEN

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _tick(self) -> None:
        while not self._ended.wait(0.5):
            now = self._clock()
            if now >= self._due:
                so_far = now - self._began
                self._due = now + min(max(so_far / 2, OFTEN), SELDOM)
                self._line(f"{self._what}: {', '.join(filter(None, [self.rest, f'{spoken(so_far)} so far']))}")


class _Rest(ProgressColumn):
    max_refresh = 0.5

    def __init__(self, bar: Bar):
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        return Text(self._bar.rest)
