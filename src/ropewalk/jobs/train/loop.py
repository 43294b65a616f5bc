"""The loop: rows in, gradients added up, one step of AdamW; one line of the log for each."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from ropewalk.errors import NotFinite
from ropewalk.jobs.train.attention import attending
from ropewalk.jobs.train.data.layout import IGNORED, Layout
from ropewalk.jobs.train.data.packing import Rows, StepRows
from ropewalk.jobs.train.recipe import Recipe, Stage
from ropewalk.jobs.train.setup import Trained
from ropewalk.models.limits import peak_bytes


def sums(losses: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor, edges: tuple[int, ...]) -> torch.Tensor:
    """(buckets, 2), float64: nats and number of the labels that each bucket's positions have.

    losses, labels, positions: (rows, columns).  A label at column i is read with positions[i] + 1 tokens before it.
    """
    bounds = torch.tensor(edges[1:-1], device=positions.device)
    which, counted = torch.bucketize(positions, bounds, right=True), labels != IGNORED
    found = torch.zeros(len(edges) - 1, 2, dtype=torch.float64, device=losses.device)
    found[:, 0].index_add_(0, which[counted], losses[counted].double())
    found[:, 1].index_add_(0, which[counted], torch.ones_like(losses[counted], dtype=torch.float64))
    return found


def means(found: torch.Tensor, edges: tuple[int, ...]) -> dict[str, Any]:
    """Nats per token of every bucket that was met, under the names "0-256" and so on."""
    buckets = zip(pairwise(edges), found.tolist(), strict=True)
    return {f"{a}-{b}": nats / count for (a, b), (nats, count) in buckets if count and math.isfinite(nats)}


def rate_at(stage: Stage, step: int) -> float:
    """step: from 0.  Rises for `warm_up` steps to the highest rate, falls so as to be at `floor` times that when the
    stage is over: the last step still moves something, as in transformers' schedules.
    """
    if step < stage.warm_up:
        return stage.rate * (step + 1) / (stage.warm_up + 1)
    done = (step - stage.warm_up) / max(stage.steps - stage.warm_up, 1)
    shape = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[stage.schedule]
    return stage.rate * (stage.floor + (1 - stage.floor) * shape)


BETAS = (0.9, 0.95)
PATIENCE = 3  # steps in a row that may be thrown away


@dataclass
class Reached:
    """Where a run is. stage, step: from 0, the next to do.  updates: of the optimiser.

    skipped: steps thrown away, in a row.  thrown_away: all of them.
    """

    stage: int = 0
    step: int = 0
    updates: int = 0
    tokens: int = 0
    skipped: int = 0
    thrown_away: int = 0


@dataclass
class Loop:
    """Training in one stage. The model carries the stage's plan already, and its attention the stage's kind."""

    trained: Trained
    recipe: Recipe
    stage: Stage
    rows: Rows
    edges: tuple[int, ...]
    optimizer: torch.optim.AdamW
    progress: Reached = field(default_factory=Reached)

    def losses(self, layout: Layout) -> torch.Tensor:
        """(rows, columns, 2): nats and hits of the labels; within `self.installed()` and `self.around(layout)`."""
        found: torch.Tensor = self.trained.model(layout.ids, layout.positions, layout.labels)
        return found

    @contextmanager
    def around(self, layout: Layout) -> Iterator[None]:
        """What must hold during the forward and the backward pass of a micro-batch."""
        parallel, bf16 = self.trained.parallel, self.recipe.precision == "bfloat16"
        with ExitStack() as stack:
            stack.enter_context(attending(layout, parallel.context_group, self.recipe.exchange))
            if bf16 and parallel.world == 1:  # sharded weights are cast where they are gathered
                stack.enter_context(torch.autocast(parallel.device.partition(":")[0], torch.bfloat16))
            yield

    def gradients(self, step: StepRows) -> torch.Tensor:
        """Add the step's gradients to the weights'; (buckets, 2) nats and counts of all processes.

        The loss is the mean over all predicted tokens of the step, whoever holds them: sharding averages over processes, so
        each counts its sum as `world` times its share.
        """
        found = torch.zeros(len(self.edges) - 1, 2, dtype=torch.float64, device=self.trained.parallel.device)
        world = self.trained.parallel.world
        for layout in step.micros:
            with self.around(layout):
                losses = self.losses(layout)[..., 0]
                torch.autograd.backward(losses.sum() * (world / step.labels))
            found += sums(losses.detach(), layout.labels, layout.positions, self.edges)
        return self.trained.parallel.add(found)

    def step(self) -> dict[str, Any]:
        """One step; its line of the log. Raises NotFinite at the third in a row whose numbers are none."""
        now, began = self.progress, time.perf_counter()
        torch.manual_seed(self.recipe.seed * 1_000_003 + now.stage * 10_007 + now.step)
        step = self.rows.step(now.step, self.trained.parallel)
        found = self.gradients(step)
        norm = clip(list(self.trained.weights.values()), self.stage.clip)
        nats, count = found.sum(0).tolist()
        rate = rate_at(self.stage, now.step)
        line = {
            "stage": now.stage, "step": now.step + 1, "loss": nats / count, "gradient_norm": norm, "rate": rate,
            "loss_by_length": means(found, self.edges),
        }  # fmt: skip
        if torch.isfinite(torch.tensor([nats, norm])).all():
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            now.updates, now.skipped = now.updates + 1, 0
        else:
            line["skipped"] = self._throw_away(nats, norm)
        self.optimizer.zero_grad()
        now.step, now.tokens = now.step + 1, now.tokens + self.stage.batch * self.rows.packing.length
        return line | {
            "tokens": now.tokens,
            "seconds": time.perf_counter() - began,
            "peak_bytes": peak_bytes(torch.device(self.trained.parallel.device)),
        }

    def _throw_away(self, nats: float, norm: float) -> str:
        now = self.progress
        now.skipped, now.thrown_away = now.skipped + 1, now.thrown_away + 1
        what = "loss" if nats != nats or abs(nats) == float("inf") else "gradient norm"
        why = (
            f"the {what} of step {now.step + 1} is not a number (loss sum {nats:g}, gradient norm {norm:g}): its "
            f"gradients were thrown away, and the weights are as before ({now.thrown_away} such steps so far)."
        )
        if now.skipped >= PATIENCE:
            raise NotFinite(
                f"{PATIENCE} steps in a row gave no numbers; the last: {why}\n  A rate of {self.stage.rate:g} may be too "
                "high, or a weight overflowed: lower the rate (--rate), lengthen warm_up (--warm-up), or train in float32."
            )
        return why


def clip(weights: list[torch.nn.Parameter], most: float) -> float:
    """Scale the gradients so that their norm is at most `most`; what it was.

    Summed in float64: in float32 the squares of an embedding's gradient lose the sixth digit, and another one in shards.
    """
    norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float64) for p in weights if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    torch.nn.utils.clip_grads_with_norm_(weights, most, norm.float())
    return float(norm)


def make_optimizer(trained: Trained, stage: Stage) -> torch.optim.AdamW:
    """AdamW; only matrices decay."""
    matrices, vectors = ([p for p in trained.weights.values() if (p.ndim > 1) is wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": stage.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=stage.rate, betas=BETAS)
