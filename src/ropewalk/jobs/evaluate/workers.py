"""Several processes of one run, as `torchrun` starts them: each measures its share, the first writes the report.

Nothing but progress goes between them: every process writes its records into the same folder, under names that no other
writes. A process says through a small key-value store that it is alive, done, or has failed; so a process that died is
noticed by its silence, however long the measurements of the others take.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from ropewalk.errors import RopewalkError, Stopped, first_line

T = TypeVar("T")

SILENCE = 1800.0  # seconds without a measurement, after which a process is taken for dead
POLL = 0.2  # seconds


class Workers:
    """This process among those of the run. Alone, it is the first of one, and every method returns at once."""

    def __init__(self, rank: int = 0, world: int = 1, store: Any = None, silence: float = SILENCE):
        self.rank = rank
        self.world = world
        self.silence = silence
        self._store = store
        self._beats = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T], group: Callable[[T], int] | None = None) -> list[T]:
        """The items of this process: in turn, or whole groups in turn where items are read together."""
        return [item for i, item in enumerate(items) if (group(item) if group else i) % self.world == self.rank]

    def beat(self) -> None:
        """Say that something was finished."""
        if self._store is not None:
            self._beats += 1
            self._store.set(f"beat/{self.rank}", str(self._beats))

    def first_alone(self, work: Callable[[], T]) -> T:
        """The first process does `work` while the others wait; then they do it and find it done."""
        if self.is_first:
            result = work()
            self._tell("ready")
            return result
        self._wait_for([0], "ready")
        return work()

    def finish(self) -> None:
        """The first process waits here for all others; they go on at once."""
        self._tell("done")
        if self.is_first and self.world > 1:
            self._wait_for(range(1, self.world), "done")

    def fail(self, error: BaseException) -> None:
        self._tell("failed", first_line(error))

    def _tell(self, word: str, text: str = "1") -> None:
        if self._store is not None:
            self._store.set(f"{word}/{self.rank}", text)

    def _wait_for(self, ranks: Sequence[int], word: str) -> None:
        waiting = dict.fromkeys(ranks, (time.monotonic(), b""))
        while waiting:
            for rank in list(waiting):
                if self._has(f"{word}/{rank}"):
                    del waiting[rank]
                else:
                    waiting[rank] = self._still_alive(rank, *waiting[rank])
            time.sleep(POLL if waiting else 0)

    def _still_alive(self, rank: int, since: float, beat: bytes) -> tuple[float, bytes]:
        if self._has(f"failed/{rank}"):
            raise Stopped(f"process {rank} of {self.world} failed: {self._get(f'failed/{rank}').decode()}")
        newest = self._get(f"beat/{rank}") if self._has(f"beat/{rank}") else b""
        if newest != beat:
            return time.monotonic(), newest
        if time.monotonic() - since > self.silence:
            raise Stopped(
                f"process {rank} of {self.world} has finished nothing for {self.silence:g} seconds; it is taken for dead.\n"
                "  What was finished is kept: start the run again. If one measurement really takes longer, raise\n"
                "  silence (--silence)."
            )
        return since, beat

    def _has(self, key: str) -> bool:
        return bool(_reach(lambda: self._store.check([key])))

    def _get(self, key: str) -> bytes:
        found: bytes = _reach(lambda: self._store.get(key))
        return found


def _reach(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except RuntimeError as error:  # torch's DistError: the process that keeps the store is gone
        raise Stopped(f"the process that keeps the run together cannot be reached: {first_line(error)}") from None


@contextmanager
def workers(silence: float = SILENCE) -> Iterator[Workers]:
    """The processes that `torchrun` started, or this one alone. An error is told to the others before it goes on."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Workers()
        return
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=min(silence, 300))))
    ours = Workers(rank, world, store, silence)
    try:
        yield ours
    except BaseException as error:
        if not isinstance(error, Stopped):
            with suppress(RuntimeError, RopewalkError):
                ours.fail(error)
        raise
