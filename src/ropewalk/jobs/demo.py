"""The whole story on the bundled model: plan seven stretches, measure them, write a checkpoint and a report."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ropewalk.jobs.card import model_card
from ropewalk.jobs.evaluate.documents import library_documents
from ropewalk.jobs.evaluate.protocols import Position
from ropewalk.jobs.evaluate.records import Record, Records, tokenizer_hash, weights_hash
from ropewalk.jobs.evaluate.run import (
    Measurement,
    bodies,
    measure,
    passkey_measurements,
    passkey_samples,
    wanted_passes,
    window_measurements,
)
from ropewalk.jobs.evaluate.tables import loss_by_position
from ropewalk.jobs.extend import CARD, extend
from ropewalk.jobs.files import write_file
from ropewalk.jobs.report.loss import coarse_edges
from ropewalk.jobs.report.page import write_report
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.checkpoint import BUNDLED, bundled_model, read_config
from ropewalk.scaling.dialects.transformers import read
from ropewalk.scaling.plan import ScalingPlan, make_plan

METHODS = ("none", "linear", "ntk", "ntk_by_parts", "dynamic-request", "yarn", "dynamic-yarn")
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Demo:
    """What a demo measures: sizes that fit five minutes on two cores."""

    factor: float = 8.0
    methods: Sequence[str] = METHODS
    documents: int = 12
    samples: int = 2
    seed: int = 0


Start = Callable[[float, int, int], Callable[[float], None]]


def run_demo(out: Path, demo: Demo, start: Start) -> dict[str, ScalingPlan]:
    """Measure every method into `out`/records and write plans, checkpoint and report. Returns the plans by method.

    start: told the total cost, how many measurements there are and how many were found on disk; answers a function
    that takes each finished cost.
    A second run in the same folder goes on where the first stopped.
    """
    source = bundled_model()
    spec = read(read_config(source))
    plans = {name: make_plan(spec, factor=demo.factor, method=name, model=BUNDLED) for name in demo.methods}
    for name, plan in plans.items():
        write_file(out / "plans" / f"{name}.json", plan.to_json())
    extend(source, plans["yarn"], out / "checkpoint", force=True)

    model, tokenizer, records = load_model(source), load_tokenizer(source), Records(out / "records")
    wanted = _measurements(demo, plans, tokenizer, weights_hash(source), spec.max_length)
    every = [m for measurements in wanted.values() for m in measurements]
    advance = start(sum(m.cost for m in every), len(every), sum(m.key in records for m in every))
    for name, measurements in wanted.items():
        measure(model, plans[name], measurements, records, advance)
    keys = {m.key.name for m in every}
    measured = [record for record in records if record.key.name in keys]
    _write_card(out / "checkpoint", source, plans, measured)
    write_report(out / "report.html", measured, plans)
    return plans


def _write_card(checkpoint: Path, source: Path, plans: dict[str, ScalingPlan], records: list[Record]) -> None:
    """The checkpoint's card again, with what was measured of its method and of the model as it was."""
    (_, stretch), *_ = plans["yarn"].stretches
    edges = coarse_edges(stretch.rope.original_length, stretch.target_length)
    losses = loss_by_position(records, edges)
    head = "| bits per token at | " + " | ".join(f"{low:,} to {high:,}" for low, high in itertools.pairwise(edges)) + " |"
    rows = [f"| {m} | " + " | ".join(f"{b.value:.3f}" for b in losses[m]) + " |" for m in ("none", "yarn") if m in losses]
    how = "Held-out files of the Python standard library, position by position; `none` is the model unchanged."
    table = "\n".join([how, "", head, "|---" * len(edges) + "|", *rows])
    write_file(checkpoint / CARD, model_card(source, plans["yarn"], read_config(checkpoint), measured=table))


def _measurements(
    demo: Demo, plans: dict[str, ScalingPlan], tokenizer: Any, model_hash: str, original: int
) -> dict[str, list[Measurement]]:
    target, bos = round(original * demo.factor), tokenizer.bos_token_id
    lengths = [original * 2**i for i in range(target.bit_length()) if original * 2**i <= target]
    documents = library_documents(tokenizer, tokens=target, count=demo.documents, seed=demo.seed)
    samples = passkey_samples(tokenizer, documents, lengths, DEPTHS, demo.samples, demo.seed)
    texts, protocol, tokens = bodies(documents, bos), Position((0, *lengths)), tokenizer_hash(tokenizer)
    return {
        name: [
            *window_measurements(
                model_hash,
                plan,
                wanted_passes([protocol], documents, plan, bos=bos).passes,
                texts,
                bos=bos,
                tokenizer_hash=tokens,
            ),
            *passkey_measurements(model_hash, plan, samples),
        ]
        for name, plan in plans.items()
    }
