"""The thread that owns the model: requests wait in a bounded queue, are read one after another, and decode together."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ropewalk.errors import RopewalkError
from ropewalk.jobs.serve.answer import Answer, Chosen
from ropewalk.jobs.serve.batch import Batch
from ropewalk.progress import SILENT, Progress

log = logging.getLogger("ropewalk.serve")


class Busy(RopewalkError):
    """The queue is full; `retry_after` seconds from now there may be room."""

    def __init__(self, waiting: int, retry_after: int):
        super().__init__(f"{waiting} requests are waiting already, and no more are taken. Try again in {retry_after} s.")
        self.retry_after = retry_after


class Ending(RopewalkError):
    """The server was told to stop before the request was done."""

    def __init__(self) -> None:
        super().__init__("the server is stopping, and does not finish this request. Send it again once it is back.")


@dataclass(eq=False)
class Job:
    """tell: called from the engine's thread with (text to show, error) each time something was written.

    alone: is it written by itself, because a forward with other rows failed?
    """

    answer: Answer
    tell: Callable[[str, Exception | None], None]
    cancelled: bool = False
    alone: bool = False
    started: float = field(default_factory=time.monotonic)


@dataclass
class Reading:
    """A prompt that is being read: the pieces to come, and how many tokens they are."""

    job: Job
    pieces: Iterator[tuple[int, str]]
    tokens: int


class Engine:
    """most_waiting: requests that may wait.  fits: may these answers be in memory together?

    Whatever fails in one request is told to that one alone. Where a forward over several rows fails, nobody can say which of
    them it was: each is read again and written by itself, and only one that fails there has failed.
    """

    def __init__(
        self, batch: Batch, most_waiting: int, fits: Callable[[Sequence[Answer]], bool] = lambda answers: True,
        progress: Progress = SILENT,
    ):  # fmt: skip
        self.most_waiting = most_waiting
        self._batch, self._fits, self._progress = batch, fits, progress
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: dict[Answer, Job] = {}
        self._reading: Reading | None = None
        self._stopping = False
        self._seconds = 1.0  # what a request has taken lately
        self._thread = threading.Thread(target=self._run, name="ropewalk-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """After the token that is being written; requests that are not done are told so. Does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def stop(self) -> None:
        """End, and wait for it."""
        self.end()
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let jobs wait for their turn, all or none. Raises Busy, or Ending."""
        with self._changed:
            if self._stopping:
                raise Ending
            if len(self._waiting) + len(jobs) > self.most_waiting:
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
        try:
            while self._next_turn():
                self._read_on()
                if self._batch.answers:
                    self._write_on()
        finally:  # whatever ends this thread: nobody waits for it in vain
            self._give_up()

    def _next_turn(self) -> bool:
        """Wait for something to do; let go of cancelled jobs and admit the next. False: time to end."""
        with self._changed:
            while not self._stopping:
                self._let_go()
                if self._reading is None and self._waiting and self._has_room(self._waiting[0]):
                    job = self._waiting.popleft()
                    self._reading = Reading(job, self._batch.read(job.answer), len(job.answer.tokens))
                    self._progress.begin(f"reading a prompt of {self._reading.tokens:,} tokens", self._reading.tokens)
                if self._reading or self._batch.answers:
                    return True
                self._changed.wait()
            return False

    def _has_room(self, job: Job) -> bool:
        rows = self._batch.answers
        if job.alone or any(self._running[row].alone for row in rows):
            return not rows
        return not rows or (len(rows) < self._batch.most_rows and self._fits([*rows, job.answer]))

    def _let_go(self) -> None:
        self._waiting = deque(job for job in self._waiting if not job.cancelled)
        if self._reading and self._reading.job.cancelled:
            self._end_reading()
        gone = [answer for answer, job in self._running.items() if job.cancelled]
        if gone:
            for answer in gone:
                del self._running[answer]
            self._batch.keep([answer for answer in self._batch.answers if answer in self._running])

    def _read_on(self) -> None:
        """One piece of the prompt that is being read, so that the other rows wait for no more than that."""
        if self._reading is None:
            return
        reading, job = self._reading, self._reading.job
        try:
            read, text = next(reading.pieces)
        except Exception as error:
            self._end_reading()
            _failed(job, error)
            return
        if read < reading.tokens:
            self._progress.reach(read)
        else:
            next(reading.pieces, None)
            self._end_reading()
            self._running[job.answer] = job
            self._told([(job.answer, text)])

    def _end_reading(self) -> None:
        if self._reading:
            self._progress.reach(self._reading.tokens)
        self._reading = None

    def _write_on(self) -> None:
        try:
            written = self._batch.step()
        except Exception as error:
            self._part(error)
        else:
            self._told(written)

    def _told(self, written: Sequence[tuple[Answer, str | Exception]]) -> None:
        for answer, text in written:
            job = self._running[answer]
            if isinstance(text, Exception):
                del self._running[answer]
                _failed(job, text)
                continue
            job.tell(text, None)
            if answer.finish:
                del self._running[answer]
                self._seconds = 0.9 * self._seconds + 0.1 * (time.monotonic() - job.started)

    def _part(self, error: Exception) -> None:
        """A forward failed. A row that was alone is told; of several, each goes on by itself."""
        jobs = [self._running.pop(answer) for answer in self._batch.answers]
        self._batch.keep([])
        if len(jobs) == 1:
            _failed(jobs[0], error)
            return
        log.warning("a step of %d requests failed (%s); each goes on by itself", len(jobs), type(error).__name__)
        for job in jobs:
            job.alone = True
        with self._changed:
            self._waiting.extendleft(reversed(jobs))

    def _give_up(self) -> None:
        """Time to end: whoever is not answered is told."""
        with self._changed:
            self._stopping = True
            left = [*self._running.values(), *([self._reading.job] if self._reading else []), *self._waiting]
            self._waiting.clear()
        for job in left:
            job.tell("", Ending())


def _failed(job: Job, error: Exception) -> None:
    log.error("a request failed", exc_info=error)
    job.tell("", error)


@dataclass(frozen=True)
class Piece:
    """New text of one of the answers, and the tokens it is made of; finish with the last."""

    index: int
    text: str
    chosen: Sequence[Chosen]
    finish: str | None


class Exchange:
    """Raises Busy where the engine's queue is full."""

    def __init__(self, engine: Engine, answers: Sequence[Answer]):
        self.answers = answers
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._sent = [0] * len(answers)
        self._jobs = [Job(answer, self._teller(index)) for index, answer in enumerate(answers)]
        engine.submit(self._jobs)

    def cancel(self) -> None:
        """Nobody listens any more; does nothing to answers that are done."""
        self._engine.cancel(self._jobs)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Pieces of all answers as they come, until all are done. Raises what went wrong in the engine."""
        left = len(self.answers)
        while left:
            piece = await self._arrived.get()
            if isinstance(piece, Exception):
                raise piece
            left -= piece.finish is not None
            yield piece

    def _teller(self, index: int):  # type: ignore[no-untyped-def]
        def tell(text: str, error: Exception | None) -> None:
            """In the engine's thread, where the answer does not change meanwhile."""
            answer = self.answers[index]
            if error is not None:
                self._put(error)
            elif text or answer.finish:
                self._put(Piece(index, text, self._new(index, answer), answer.finish))

        return tell

    def _new(self, index: int, answer: Answer) -> Sequence[Chosen]:
        """Tokens that were not sent yet; those of a stop string belong to no text."""
        new = answer.chosen[self._sent[index] :]
        self._sent[index] = len(answer.chosen)
        return [one for one in new if one.offset < len(answer.text.whole)] if answer.text.stopped else new

    def _put(self, piece: Piece | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, piece)
