"""The demo: every method on the bundled model at eight times its window, the report of all, the checkpoint of one."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ropewalk.checkpoints.extend import CARD, extend, model_card
from ropewalk.checkpoints.files import write_file
from ropewalk.engines.transformers.checkpoint import BUNDLED, read_config
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest
from ropewalk.jobs.evaluate.result import Outcome
from ropewalk.jobs.report.loss import coarse_edges
from ropewalk.measure.tables import loss_by_position
from ropewalk.progress import SILENT, Progress

METHODS = ("none", "window", "linear", "ntk", "ntk_by_parts", "dynamic-request", "yarn", "dynamic-yarn")
WRITTEN = "yarn"  # the method whose checkpoint is written


@dataclass(frozen=True)
class Demo:
    """What a demo measures: sizes that fit five minutes on two cores."""

    factor: float = 8.0
    methods: Sequence[str] = METHODS
    documents: int = 12
    samples: int = 2
    seed: int = 0
    speed: bool = True

    @property
    def request(self) -> EvalRequest:
        return EvalRequest(
            BUNDLED, tuple(self.methods), factor=self.factor, documents=self.documents, samples=self.samples, seed=self.seed,
            speed=self.speed,
            tasks=("passkey",), device="cpu", dtype="float32",
        )  # fmt: skip


def run_demo(out: Path, demo: Demo, progress: Progress = SILENT) -> Outcome:
    """Evaluate every method into `out`, and write the checkpoint of one. A second run goes on where the first stopped."""
    outcome = evaluate(out, demo.request, progress)
    plan, source = outcome.prepared.plans[WRITTEN], outcome.prepared.source.folder
    extend(source, plan, out / "checkpoint", force=True)
    card = model_card(source.name, plan, read_config(out / "checkpoint"), measured=_measured(outcome))
    write_file(out / "checkpoint" / CARD, card)
    return outcome


def _measured(outcome: Outcome) -> str:
    """For the checkpoint's card: what was measured of its method and of the model as it was."""
    (_, stretch), *_ = outcome.prepared.plans[WRITTEN].stretches
    edges = coarse_edges(stretch.rope.original_length, stretch.target_length)
    losses = loss_by_position(outcome.records, edges)
    head = "| bits per token at | " + " | ".join(f"{low:,} to {high:,}" for low, high in itertools.pairwise(edges)) + " |"
    rows = [f"| {m} | " + " | ".join(f"{b.value:.3f}" for b in losses[m]) + " |" for m in ("none", WRITTEN) if m in losses]
    how = "Held-out files of the Python standard library, position by position; `none` is the model unchanged."
    return "\n".join([how, "", head, "|---" * len(edges) + "|", *rows])
