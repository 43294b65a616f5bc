"""The thread that owns the model: requests wait in a bounded queue, are read one after another, and decode together."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ropewalk.errors import RopewalkError
from ropewalk.jobs.serve.answer import Answer
from ropewalk.jobs.serve.batch import Batch

log = logging.getLogger("ropewalk.serve")


class Busy(RopewalkError):
    """The queue is full; `retry_after` seconds from now there may be room."""

    def __init__(self, waiting: int, retry_after: int):
        super().__init__(f"{waiting} requests are waiting already, and no more are taken. Try again in {retry_after} s.")
        self.retry_after = retry_after


@dataclass(eq=False)
class Job:
    """tell: called from the engine's thread with (text to show, error) each time something was written."""

    answer: Answer
    tell: Callable[[str, Exception | None], None]
    cancelled: bool = False
    started: float = field(default_factory=time.monotonic)


class Engine:
    """most_waiting: requests that may wait.  fits: may these answers be in memory together?"""

    def __init__(self, batch: Batch, most_waiting: int, fits: Callable[[Sequence[Answer]], bool] = lambda answers: True):
        self._batch, self._most_waiting, self._fits = batch, most_waiting, fits
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: dict[Answer, Job] = {}
        self._reading: tuple[Job, Iterator[tuple[int, str]]] | None = None
        self._stopping = False
        self._seconds = 1.0  # what a request has taken lately
        self._thread = threading.Thread(target=self._run, name="ropewalk-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the token that is being written; requests that are not done are left unanswered."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let jobs wait for their turn, all or none. Raises Busy."""
        with self._changed:
            if len(self._waiting) + len(jobs) > self._most_waiting:
                raise Busy(len(self._waiting), self._retry_after())
            self._waiting.extend(jobs)
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            for job in jobs:
                job.cancelled = True
            self._changed.notify()

    def _retry_after(self) -> int:
        return max(1, round(self._seconds * len(self._waiting) / self._batch.most_rows))

    def _run(self) -> None:
        while self._next_turn():
            try:
                self._read_on()
                if self._batch.answers:
                    self._told(self._batch.step())
            except Exception as error:  # the model's: whoever is being served is told, and the next are served
                log.exception("requests failed")
                self._fail(error)

    def _next_turn(self) -> bool:
        """Wait for something to do; let go of cancelled jobs and admit the next. False: time to end."""
        with self._changed:
            while not self._stopping:
                self._let_go()
                if self._reading is None and self._waiting and self._has_room(self._waiting[0].answer):
                    job = self._waiting.popleft()
                    self._reading = job, self._batch.read(job.answer)
                if self._reading or self._batch.answers:
                    return True
                self._changed.wait()
            return False

    def _has_room(self, answer: Answer) -> bool:
        rows = self._batch.answers
        return not rows or (len(rows) < self._batch.most_rows and self._fits([*rows, answer]))

    def _let_go(self) -> None:
        self._waiting = deque(job for job in self._waiting if not job.cancelled)
        if self._reading and self._reading[0].cancelled:
            self._reading = None
        gone = [answer for answer, job in self._running.items() if job.cancelled]
        if gone:
            for answer in gone:
                del self._running[answer]
            self._batch.keep([answer for answer in self._batch.answers if answer in self._running])

    def _read_on(self) -> None:
        """One piece of the prompt that is being read, so that the other rows wait for no more than that."""
        if self._reading is None:
            return
        job, pieces = self._reading
        read, text = next(pieces)
        if read == len(job.answer.prompt):
            next(pieces, None)
            self._reading = None
            self._running[job.answer] = job
            self._told([(job.answer, text)])

    def _told(self, written: Sequence[tuple[Answer, str]]) -> None:
        for answer, text in written:
            job = self._running[answer]
            job.tell(text, None)
            if answer.finish:
                del self._running[answer]
                self._seconds = 0.9 * self._seconds + 0.1 * (time.monotonic() - job.started)

    def _fail(self, error: Exception) -> None:
        failed = [*self._running.values(), *([self._reading[0]] if self._reading else [])]
        self._running.clear()
        self._reading = None
        self._batch.keep([])
        for job in failed:
            job.tell("", error)
