"""What the benchmarks share: sides in turns in one run, medians, ratios of paired rounds, memory of a process of its own.

Absolute times mean nothing on somebody else's machine, so every benchmark measures what it compares with beside it.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Made = TypeVar("Made")
Clock = Callable[[], float]
WALL, PROCESSOR = time.perf_counter, time.process_time  # on a busy machine the wall clock measures the neighbours


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, and between what the middle half of them lies."""

    value: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, {self.rounds} rounds)"


def timed(work: Callable[[], Made], clock: Clock = WALL) -> tuple[float, Made]:
    """(seconds, what was made)."""
    began = clock()
    made = work()
    return clock() - began, made


def in_turns(sides: Mapping[str, Callable[[], Made]], rounds: int, warm: int = 0) -> dict[str, list[Made]]:
    """What each side gives, round by round. Another side begins each round: who comes first pays for memory that is new.

    warm: rounds before, which are not counted.
    """
    found: dict[str, list[Made]] = {name: [] for name in sides}
    for number in range(-warm, rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            made = sides[name]()
            if number >= 0:
                found[name].append(made)
    return found


def seconds_of(
    sides: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1, clock: Clock = WALL
) -> dict[str, list[float]]:
    """Seconds of each side, round by round."""
    return in_turns({name: lambda work=work: timed(work, clock)[0] for name, work in sides.items()}, rounds, warm)


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Of paired rounds; one round alone is its own interval."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    low, value, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return Ratio(value, low, high, len(found))


def high_water() -> float:
    """This program's own peak resident memory, MB. `ru_maxrss` would do, but it survives exec: a child has its parent's."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def child(script: str, *arguments: object) -> Any:
    """What the script prints as its last line, JSON, in a process of its own, whose memory is its own too."""
    done = subprocess.run([sys.executable, "-W", "ignore", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout.splitlines()[-1])
