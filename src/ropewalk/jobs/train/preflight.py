"""Proofs before the hours are spent, on the model, the processes and the rows of the run itself. Each can fail.

Each proof reads one short row of two documents. "Nothing moves" is always shown beside something that must.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from ropewalk.errors import BadLength, Mismatch
from ropewalk.jobs.train import checkpoints as keep
from ropewalk.jobs.train.data.layout import IGNORED, Layout, lay_out, shard
from ropewalk.jobs.train.data.packing import StepRows
from ropewalk.jobs.train.loop import Loop, clip
from ropewalk.jobs.train.parallel import check_rotary
from ropewalk.models.attach import Attached

TOKENS = 512  # of the row that is read
STILL, MOVES = 2e-5, 1e-3  # nats: what float32 rounding explains, and what a token in sight does at least
WIPED = 0.1  # not 0: adapters that begin at 0 would be as before
ROUGH = 2e-2  # nats, in bfloat16


@dataclass(frozen=True)
class Proof:
    """passed: None where it does not apply."""

    name: str
    passed: bool | None
    said: str
    seconds: float


class Preflight:
    def __init__(self, loop: Loop, attached: Attached, run: Path):
        self.loop, self.attached, self.run = loop, attached, run
        self.parallel = loop.trained.parallel
        bf16 = loop.recipe.precision == "bfloat16"
        self.still, self.moves = (ROUGH, 10 * ROUGH) if bf16 else (STILL, MOVES)
        row = loop.rows.packing.row(0).ids
        divides = 4 * self.parallel.context
        self.ids = row[: min(len(row), TOKENS) // divides * divides].copy()
        self.half = len(self.ids) // 2
        if self.half < 4:
            raise BadLength(f"rows of {len(row)} tokens prove nothing: take {8 * divides} or more as length (--length).")

    def proofs(self) -> Iterator[Proof]:
        """One after the other; every process does the same. Leaves no gradients and the weights as they were."""
        works: dict[str, Callable[[], tuple[bool | None, str]]] = {
            "rotary": self.rotary,
            "documents apart": self.apart,
            "causal": self.causal,
            "packed as alone": self.packed,
            "one process as many": self.alike,
            "accumulation": self.accumulation,
            "save and load": self.saved,
        }
        self.loop.trained.model.eval()
        try:
            for name, work in works.items():
                began = time.perf_counter()
                passed, said = work()
                yield Proof(name, passed, said, time.perf_counter() - began)
        finally:
            self.loop.trained.model.train()

    def rotary(self) -> tuple[bool, str]:
        try:
            word = check_rotary(self.loop.trained.model, self.attached, self.parallel)
        except Mismatch as error:
            return False, str(error)
        count = self.parallel.world
        return True, f"cos and sin are the plan's on {count} process{'es' * (count > 1)} (rotary {word})"

    def apart(self) -> tuple[bool, str]:
        before = self.read(self.ids, two=True)
        after = self.read(self.changed(self.half // 2), two=True)
        moved, own = (
            self.difference(before, after, slice(self.half, None)),
            self.difference(before, after, slice(0, self.half)),
        )
        said = f"a token of document 1 moves document 1 by {own:.1e} nats and document 2 by {moved:.1e}"
        return moved <= self.still and own >= self.moves, said

    def causal(self) -> tuple[bool, str]:
        where = 3 * len(self.ids) // 4
        before, after = self.read(self.ids), self.read(self.changed(where))
        # The token itself is the label of the column before it.
        past, future = self.difference(before, after, slice(0, where - 1)), self.difference(before, after, slice(where, None))
        said = f"a token moves what comes before it by {past:.1e} nats and what follows by {future:.1e}"
        return past <= self.still and future >= self.moves, said

    def packed(self) -> tuple[bool, str]:
        both = self.read(self.ids, two=True)
        alone = torch.cat([self.read(self.ids[: self.half]), self.read(self.ids[self.half :])], dim=1)
        moved = self.difference(both, alone, slice(None))
        return moved <= self.still, f"two documents in a row and one at a time differ by {moved:.1e} nats"

    def alike(self) -> tuple[bool | None, str]:
        if self.parallel.context == 1:
            return None, "rows are not shared between processes"
        moved = self.difference(self.read(self.ids, two=True), self.read(self.ids, two=True, alone=True), slice(None))
        return moved <= self.still, f"the row on {self.parallel.context} processes and on one differ by {moved:.1e} nats"

    def accumulation(self) -> tuple[bool, str]:
        other, lengths = numpy.roll(self.ids, self.half // 2), (self.half, self.half)
        whole = [lay_out([(row, lengths)]) for row in (self.ids, other)]
        together = lay_out([(row, lengths) for row in (self.ids, other)])
        for masked in (whole[1].labels[0], together.labels[1]):  # one row counts for less: a mean of means would differ
            masked[: self.half] = IGNORED
        labels = int((together.labels != IGNORED).sum()) * self.parallel.data  # the same rows on every data-parallel group
        apart = self.gradient([self.mine(layout) for layout in whole], labels)
        at_once = self.gradient([self.mine(together)], labels)
        off = abs(apart - at_once) / max(at_once, 1e-30)
        return off <= self.still * 10, f"gradients of two rows at once and one by one: norms {at_once:.6g} and {apart:.6g}"

    def saved(self) -> tuple[bool, str]:
        before, place = self.read(self.ids), self.run / "preflight"
        keep.begin(self.loop.optimizer)
        facts = {"step": 0, "updates": 0, "run": "preflight"}
        try:
            folder = keep.save(place, self.loop.trained, self.loop.optimizer, facts, 1)
            with torch.no_grad():
                for p in self.loop.trained.weights.values():
                    p.fill_(WIPED)
            blank = self.difference(before, self.read(self.ids), slice(None))
            keep.load(folder, self.loop.trained, self.loop.optimizer)
            moved = self.difference(before, self.read(self.ids), slice(None))
            self.parallel.wait()
        finally:
            if self.parallel.is_first:
                keep.remove(place)
        said = f"saved, wiped (moves by {blank:.1e} nats) and loaded again, the model differs by {moved:.1e}"
        return moved == 0 and blank >= self.moves, said

    def changed(self, where: int) -> numpy.ndarray:
        """The row with another token at `where`."""
        ids = self.ids.copy()
        ids[where] = next((int(i) for i in self.ids if i != ids[where]), int(ids[where] == 0))
        return ids

    def mine(self, layout: Layout, alone: bool = False) -> Layout:
        rank, world = (0, 1) if alone else (self.parallel.context_rank, self.parallel.context)
        return shard(layout, rank, world).to(self.parallel.device)

    @torch.no_grad()
    def read(self, ids: numpy.ndarray, two: bool = False, alone: bool = False) -> torch.Tensor:
        """(1, tokens) nats by column of the whole row, on every process.  alone: every process reads all of it."""
        lengths = (self.half, len(ids) - self.half) if two else (len(ids),)
        alone = alone or len(ids) % (2 * self.parallel.context) > 0
        layout = self.mine(lay_out([(ids, lengths)]), alone)
        with self.loop.around(layout):
            losses = self.loop.losses(layout)[..., 0].double()
        if layout.order is None:
            return losses
        whole = torch.zeros(1, len(ids), dtype=torch.float64, device=losses.device)
        whole[:, layout.order] = losses
        return self.parallel.add(whole) / self.parallel.data

    def difference(self, a: torch.Tensor, b: torch.Tensor, where: slice) -> float:
        return float((a - b)[:, where].abs().max())

    def gradient(self, micros: list[Layout], labels: int) -> float:
        self.loop.gradients(StepRows(micros, labels))
        norm = clip(list(self.loop.trained.weights.values()), float("inf"))
        self.loop.optimizer.zero_grad()
        return norm


def check(proofs: list[Proof]) -> None:
    """Raises Mismatch for the first proof that failed, with what to do about it."""
    for proof in proofs:
        if proof.passed is False:
            raise Mismatch(f"preflight: {proof.name}: {proof.said}.\n  {WAYS_OUT[proof.name]} Nothing was trained.")


WAYS_OUT = {
    "rotary": "Something changed the rotary tables after the plan was attached; load the model without its own rope scaling.",
    "documents apart": "Documents of a row see each other: put one in each row, long_share=1, and report the model.",
    "causal": "This model looks ahead, and a language model must not: it is not one that can be trained so.",
    "packed as alone": "Packing changes what a document says: put one in each row, long_share=1, and report the model.",
    "one process as many": "Sharing rows changes the numbers: use context=1, and report model and torch.",
    "accumulation": "The loss is not the mean over all tokens of a step: take the rows of a process as micro (--micro).",
    "save and load": "What is saved is not what is loaded: look at the file system before spending hours on this run.",
}
