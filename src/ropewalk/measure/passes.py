"""Measuring one model under many plans, record by record."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import torch
import transformers

from ropewalk.measure.documents import Document
from ropewalk.measure.faults import BatchSize, check_finite
from ropewalk.measure.in_windows import score_in_windows
from ropewalk.measure.nll import score
from ropewalk.measure.pace import told_by_layers, units
from ropewalk.measure.protocols import CORPUS, Protocol, Window
from ropewalk.measure.records import Key, Record, Records, ids_hash
from ropewalk.measure.window import WindowPlan
from ropewalk.models.attach import attach
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import CAUSAL
from ropewalk.scaling.stretch import Stretch

Advance = Callable[[float], None]
Ranges = tuple[tuple[int, int], ...]  # of indices in a window: each from its first number up to, not including, its second

LONG = 8192  # tokens of one pass: minutes on a small machine
WINDOW = "window"  # the protocol in the key of every reading of a document


def is_prefix_consistent(plan: ScalingPlan) -> bool:
    """Does a token's loss depend only on the tokens before it, and not on how long the reading goes on?

    True for static and causal plans: one pass over the longest length then holds every shorter one. False for the other
    dynamic meanings, and for longrope lists that switch at the original length.
    """
    return shortest_alike(plan, 2**60) == 2


def shortest_alike(plan: ScalingPlan, length: int) -> int:
    """The shortest reading that one of `length` tokens also holds: both rotate alike, so the shorter begins the longer."""
    return max(_shortest_alike(stretch, length) for _, stretch in plan.stretches)


def _shortest_alike(stretch: Stretch, length: int) -> int:
    within = length <= stretch.rope.original_length  # where every dynamic scale is 1
    if stretch.dynamic is not None and stretch.dynamic.semantics != CAUSAL:
        return 2 if within else length
    if switches(stretch):
        return 2 if within else stretch.rope.original_length + 1
    return 2


def switches(stretch: Stretch) -> bool:
    """Does an engine take other factors within the original length than beyond it (longrope with two lists)?"""
    return "short_factor" in dict(stretch.options)


def plan_at(plan: ScalingPlan, length: int) -> ScalingPlan:
    """The plan as an engine applies it to a request of `length` tokens: longrope has a short list for those within L."""
    stretches = tuple(
        (name, replace(s, factor=1.0) if switches(s) and length <= s.rope.original_length else s) for name, s in plan.stretches
    )
    return replace(plan, stretches=stretches)


@dataclass(frozen=True, slots=True)
class TooShort:
    """A document that is too short for what was asked, in tokens without BOS. It takes part in nothing."""

    document: str
    tokens: int
    needed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass that serves several windows with the same beginning.

    window: the longest of them.  scored: indices in it that any of them scores.
    shortest: the length of the shortest window that it can stand for.
    """

    window: Window
    scored: Ranges
    shortest: int


class WantedPasses(NamedTuple):
    passes: list[Pass]
    refused: list[TooShort]


def bodies(documents: Iterable[Document], bos: int | None) -> dict[str, tuple[int, ...]]:
    """Tokens of each document without the BOS before it, by name; and of all in a row, in name order, as CORPUS."""
    named = {d.name: d.ids[1:] if bos is not None and d.ids[:1] == (bos,) else d.ids for d in documents}
    named[CORPUS] = tuple(i for name in sorted(named) for i in named[name])
    return named


def wanted_passes(
    protocols: Sequence[Protocol], documents: Sequence[Document], plan: ScalingPlan, *, bos: int | None
) -> WantedPasses:
    """The fewest forward passes that give every window of every protocol, and the documents that are too short.

    Every protocol of a run is about the same documents: one that is too short for any of them is refused by all.
    Windows with the same document, start and BOS become one pass wherever the plan rotates them alike.
    bos: the tokenizer's, None where it has none.
    """
    has_bos = bos is not None
    texts = bodies(documents, bos)
    needed = max((p.needs(has_bos) for p in protocols if not p.corpus), default=0)
    refused = [TooShort(d.name, n, needed) for d in documents if (n := len(texts[d.name])) < needed]
    texts = bodies([d for d in documents if len(texts[d.name]) >= needed], bos)
    windows: set[Window] = set()
    for protocol in protocols:
        for name, ids in texts.items():
            if (name == CORPUS) == protocol.corpus and len(ids) >= protocol.needs(has_bos):
                windows.update(protocol.windows(name, len(ids), has_bos))
    return WantedPasses(merge(windows, plan), refused)


def merge(windows: Iterable[Window], plan: ScalingPlan) -> list[Pass]:
    """Windows that begin alike and rotate alike, as one pass each: a sweep for a whole grid of lengths."""
    alike: dict[tuple[str, int, bool], list[Window]] = defaultdict(list)
    for window in windows:
        alike[window.document, window.start, window.bos].append(window)
    return [made for key in sorted(alike) for made in _merge(alike[key], plan)]


def _merge(windows: list[Window], plan: ScalingPlan) -> Iterator[Pass]:
    rest = sorted(windows, key=lambda window: -window.length)
    while rest:
        shortest = shortest_alike(plan, rest[0].length)
        held = [window for window in rest if window.length >= shortest]
        yield Pass(replace(held[0], first=min(w.first for w in held)), _union((w.first, w.length) for w in held), shortest)
        rest = rest[len(held) :]


def _union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Overlapping and touching ranges as one."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


@dataclass(frozen=True)
class Measurement:
    """One forward pass to make: the tokens, which to score, and the key and facts to file it under."""

    key: Key
    ids: tuple[int, ...]
    scored: Ranges
    facts: dict[str, Any]

    @property
    def positions(self) -> list[int]:
        """Indices of the scored tokens."""
        return [i for low, high in self.scored for i in range(low, high)]

    @property
    def what(self) -> str:
        """For messages."""
        if "document" not in self.facts:
            return f"a {self.key.protocol} sample of {len(self.ids):,} tokens"
        start = self.facts.get("start", 0)
        return f"the document {self.facts['document']}" + (f", read from token {start:,}" if start else "")

    @property
    def cost(self) -> float:
        """Relative time of the pass: linear layers, and attention that grows with the square of the length."""
        return units(len(self.ids))


def window_measurements(
    model_hash: str, plan: ScalingPlan, passes: Iterable[Pass], texts: Mapping[str, Sequence[int]], *,
    bos: int | None, tokenizer_hash: str,
) -> Iterator[Measurement]:  # fmt: skip
    """texts: as `bodies` gives them."""
    hashes = {name: ids_hash(texts[name]) for name in {p.window.document for p in passes}}
    for one in passes:
        window = one.window
        body = tuple(texts[window.document][window.start : window.end])
        ids = (bos, *body) if window.bos and bos is not None else body
        facts = {
            "document": window.document,
            "document_hash": hashes[window.document],
            "document_tokens": len(texts[window.document]),
            "tokenizer": tokenizer_hash,
            "start": window.start,
            "bos": window.bos,
            "shortest": one.shortest,
        }
        # Not the tokens alone: two documents may begin alike, and other tokens of this one may have been scored before.
        item = hashlib.sha256(json.dumps([window.document, window.start, window.bos, one.scored, ids_hash(ids)]).encode())
        key = Key(model_hash, plan.fingerprint, plan.name, WINDOW, item.hexdigest()[:16], window.length)
        yield Measurement(key, ids, one.scored, facts)


def versions(model: Any) -> dict[str, str]:
    """Facts of every record: what the numbers were made with."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }


def phases(plan: ScalingPlan, wanted: Sequence[Measurement]) -> list[tuple[ScalingPlan, list[Measurement]]]:
    """Measurements by the plan to attach for them: one phase, or two where longrope's lists switch."""
    found: dict[ScalingPlan, list[Measurement]] = defaultdict(list)
    for m in wanted:
        found[plan_at(plan, len(m.ids))].append(m)
    return list(found.items())


def alike(wanted: Sequence[Measurement], batch: int) -> Iterator[list[Measurement]]:
    """Up to `batch` measurements at a time that have the same length and score the same tokens: no padding is needed."""

    def shape(m: Measurement) -> tuple[int, Ranges]:
        return len(m.ids), m.scored

    for _, same in groupby(sorted(wanted, key=shape), key=shape):
        group = list(same)
        for start in range(0, len(group), batch):
            yield group[start : start + batch]


def read(
    model: Any, group: Sequence[Measurement], facts: Mapping[str, Any], window: int | None = None
) -> list[Record]:  # fmt: skip
    """One forward pass for measurements of one shape, as `alike` gives them, under whatever plan is attached.

    window: how many tokens are seen at a time, where that is not all; then it takes several.
    """
    scored = group[0].scored
    ids, positions = torch.tensor([m.ids for m in group], device=model.device), torch.tensor(group[0].positions)
    if window is None:
        nll, greedy = score(model, ids, positions=positions)
    else:
        nll, greedy = score_in_windows(model, ids, positions, window, bos=bool(group[0].facts.get("bos")))
    where = {"first": scored[0][0], "scored": [list(r) for r in scored]}
    return [
        Record(m.key, row.float().cpu().numpy(), {**m.facts, **facts, **where, "exact": bool(right.all())})
        for m, row, right in zip(group, nll, greedy, strict=True)
    ]


def measure(
    model: Any, plan: ScalingPlan, wanted: Sequence[Measurement], records: Records, advance: Advance, *,
    batch: BatchSize | None = None,
) -> None:  # fmt: skip
    """Make the measurements that are not on disk yet. `advance` is told the cost of each, made or found.

    batch: sequences per forward pass, one by default; the numbers do not depend on it (float32: 1e-5 nats). It is halved
    where memory runs out.
    Raises NotFinite for a loss that is no number, and OutOfMemory where one sequence alone does not fit; what was finished
    is kept.
    """
    batch = batch or BatchSize(1)
    missing = [m for m in wanted if m.key not in records]
    advance(_cost(wanted) - _cost(missing))
    facts, window = versions(model), plan.window if isinstance(plan, WindowPlan) else None
    for one_plan, measurements in phases(plan, missing):
        records.check_model(measurements[0].key.model)

        def made(group: Sequence[Measurement]) -> list[tuple[Measurement, Record]]:
            parts = told_by_layers(model, _cost(group), advance) if _is_long(group, window) else nullcontext()
            with parts:
                return list(zip(group, read(model, group, facts, window), strict=True))

        with attach(model, one_plan):
            for same in alike(measurements, len(measurements)):
                for group in batch.run(same, made, _tokens):
                    for m, record in group:
                        check_finite(model, record.nll, m.ids, m.positions, f"{m.what} under {plan.name}")
                        records.add(record)
                    read_now = [m for m, _ in group]
                    if not _is_long(read_now, window):
                        advance(_cost(read_now))


def _tokens(m: Measurement) -> int:
    return len(m.ids)


def _cost(group: Iterable[Measurement]) -> float:
    return sum(m.cost for m in group)


def _is_long(group: Sequence[Measurement], window: int | None) -> bool:
    """Is it one pass, and may it take long enough that its layers are told?"""
    return window is None and sum(map(_tokens, group)) >= LONG
