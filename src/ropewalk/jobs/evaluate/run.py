"""Measuring one model under many plans, record by record."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from ropewalk.jobs.evaluate.documents import Document, encoder
from ropewalk.jobs.evaluate.nll import score
from ropewalk.jobs.evaluate.records import Key, Record, Records, ids_hash
from ropewalk.jobs.evaluate.tasks.passkey import PassKey, make_passkey
from ropewalk.models.attach import attach
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import CAUSAL

Advance = Callable[[float], None]


@dataclass(frozen=True)
class Measurement:
    """One forward pass to make: the tokens, the first to score, and the key and facts to file it under."""

    key: Key
    ids: tuple[int, ...]
    first: int
    facts: dict[str, Any]

    @property
    def cost(self) -> float:
        """Relative time of the pass: linear layers, and attention that grows with the square of the length."""
        return len(self.ids) * (1 + len(self.ids) / 4096)


def is_prefix_consistent(plan: ScalingPlan) -> bool:
    """Does a token's loss depend only on the tokens before it, and not on how long the reading goes on?

    True for static and causal plans: one pass over the longest length then holds every shorter one. False for the other
    dynamic meanings, and for longrope lists that switch at the original length.
    """
    causal = all(stretch.dynamic is None or stretch.dynamic.semantics == CAUSAL for _, stretch in plan.stretches)
    return causal and all("short_factor" not in dict(stretch.options) for _, stretch in plan.stretches)


def position_measurements(
    model_hash: str, plan: ScalingPlan, documents: Sequence[Document], lengths: Sequence[int]
) -> Iterator[Measurement]:
    """Whole documents: one pass at the longest length, or one per length where the plan's scale depends on it."""
    for document in documents:
        for length in [max(lengths)] if is_prefix_consistent(plan) else sorted(lengths):
            ids = document.ids[:length]
            key = Key(model_hash, plan.fingerprint, plan.name, "position", ids_hash(ids), length)
            yield Measurement(key, ids, 1, {"document": document.name})


def passkey_measurements(
    model_hash: str, plan: ScalingPlan, samples: Sequence[tuple[float, PassKey]]
) -> Iterator[Measurement]:
    for depth, sample in samples:
        key = Key(model_hash, plan.fingerprint, plan.name, "passkey", ids_hash(sample.ids), len(sample.ids))
        yield Measurement(key, sample.ids, len(sample.ids) - sample.answer_length, {"depth": depth})


def passkey_samples(
    tokenizer: Any, documents: Sequence[Document], lengths: Sequence[int], depths: Sequence[float], count: int, seed: int = 0
) -> list[tuple[float, PassKey]]:
    """(depth, sample) for every length and depth, `count` of each: the same for every method, so that methods pair."""
    encode = encoder(tokenizer)
    newlines = {i for i in range(len(tokenizer)) if tokenizer.decode([i]).startswith("\n")}
    rng = random.Random(seed)
    return [
        (
            depth,
            make_passkey(
                rng.choice(documents).ids[1:],
                encode,
                length=length,
                depth=depth,
                rng=rng,
                bos=tokenizer.bos_token_id,
                newlines=newlines,
            ),
        )
        for length in lengths
        for depth in depths
        for _ in range(count)
    ]


def measure(model: Any, plan: ScalingPlan, wanted: Sequence[Measurement], records: Records, advance: Advance) -> None:
    """Make the measurements that are not on disk yet. `advance` is told the cost of each, made or found."""
    missing = [m for m in wanted if m.key not in records]
    advance(sum(m.cost for m in wanted) - sum(m.cost for m in missing))
    if not missing:
        return
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }
    with attach(model, plan):
        for m in missing:
            ids = torch.tensor([m.ids], device=model.device)
            nll, greedy = score(model, ids, first=m.first)
            facts = {**m.facts, **versions, "first": m.first, "exact": bool(greedy.all())}
            records.add(Record(m.key, nll[0].float().cpu().numpy(), facts))
            advance(m.cost)
