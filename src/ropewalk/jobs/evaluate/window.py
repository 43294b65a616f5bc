"""The strongest plain rival of any stretch: the model unchanged that reads only its last tokens, and forgets the rest.

`window` as a method reads a long text in windows of L tokens, L the trained length, each a fresh call without a cache, L/4
tokens further each (`STRIDES`). So a token is predicted from the 3/4 L to L tokens before it, at positions below L, and the
first L from all before them. Where the tokenizer has a BOS, each window begins with it, as a prompt that was cut would. What
lies further back cannot be seen at all: the loss may be low, and the model still reads no further than L.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ropewalk.errors import BadLength
from ropewalk.jobs.evaluate.nll import Scores, score
from ropewalk.jobs.evaluate.task import Sample
from ropewalk.scaling.plan import SCHEMA as PLAN
from ropewalk.scaling.plan import ScalingPlan

METHOD = "window"
STRIDES = 4  # windows that hold a token
ROWS = 8  # windows a call, at most
SCHEMA = "ropewalk.window/1"  # no plan that an engine could be given


@dataclass(frozen=True, slots=True)
class WindowPlan(ScalingPlan):
    """The plan that changes nothing, and how many tokens are seen at a time."""

    window: int = 0

    def __post_init__(self) -> None:
        ScalingPlan.__post_init__(self)
        if self.window < STRIDES:
            raise BadLength(f"a window of {self.window} tokens is too small; ask for {STRIDES} or more.")

    @property
    def name(self) -> str:
        return f"{METHOD}-{self.window}"

    def to_dict(self) -> dict[str, Any]:
        return {**ScalingPlan.to_dict(self), "schema": SCHEMA, "window": self.window}


def window_size(method: str, original: int) -> int | None:
    """`window` is as long as the model was trained, `window-1024` as long as it says; None for other methods."""
    name, _, size = method.partition("-")
    if name != METHOD:
        return None
    if size and not size.isdecimal():
        raise BadLength(f"{method} is no window: write {METHOD}, or {METHOD}-{original} for {original:,} tokens.")
    return int(size) if size else original


def read_plan(text: str) -> ScalingPlan:
    """A plan of a run folder, which may be a window."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None  # ScalingPlan says what is wrong with it
    if isinstance(data, dict) and data.get("schema") == SCHEMA:
        plain = {name: value for name, value in data.items() if name not in ("schema", "window")}
        plan = ScalingPlan.from_json(json.dumps({**plain, "schema": PLAN}))
        return WindowPlan(plan.stretches, plan.target_length, plan.model, int(data["window"]))
    return ScalingPlan.from_json(text)


def score_in_windows(model: Any, ids: torch.Tensor, positions: torch.Tensor, window: int, *, bos: bool) -> Scores:
    """As `nll.score` at `positions`, each from its own window.  bos: ids begin with BOS.

    No call holds more tokens than `ids` does.
    """
    n, stride = ids.shape[1], window // STRIDES
    nll, greedy = (torch.zeros(ids.shape, dtype=kind, device=ids.device) for kind in (torch.float32, torch.bool))
    nll[:, 1:window], greedy[:, 1:window] = score(model, ids[:, :window])
    last = {s: s + window - stride for s in range(stride, n - window + stride, stride)}  # start to the first token it scores
    starts = [s for s, new in last.items() if ((positions >= new) & (positions < new + stride)).any()]
    for group in _groups(starts, n, window):
        pieces = torch.cat([ids[:, s : s + window] for s in group])
        if bos:
            pieces[:, 0] = ids[0, 0]
        found = score(model, pieces, first=window - stride)
        for i, start in enumerate(group):
            rows, at = slice(i * len(ids), (i + 1) * len(ids)), slice(last[start], start + pieces.shape[1])
            nll[:, at], greedy[:, at] = found.nll[rows], found.greedy[rows]
    where = positions.to(ids.device)
    return Scores(nll[:, where], greedy[:, where])


def _groups(starts: list[int], n: int, window: int) -> Iterator[list[int]]:
    """As many whole windows as make one text; the one that the text's end cuts short by itself."""
    whole, size = [s for s in starts if s + window <= n], max(min(n // window, ROWS), 1)
    yield from (whole[i : i + size] for i in range(0, len(whole), size))
    yield from ([s] for s in starts if s + window > n)


def seen_of(plan: ScalingPlan, sample: Sample, start: tuple[int, ...]) -> Sample:
    """What a window sees of a sample: the last tokens of its prompt, with room for the answer; everything for other plans.

    start: how every prompt begins: BOS, or nothing.
    """
    return _cut(sample, plan.window, start) if isinstance(plan, WindowPlan) else sample


def _cut(sample: Sample, window: int, start: tuple[int, ...]) -> Sample:
    room = window - max(sample.new_tokens, sample.answer_end - sample.answer_start)
    if room < 1:
        raise BadLength(
            f"a window of {window:,} tokens has no room for an answer of {sample.new_tokens:,} to {sample.task}, and a "
            "question."
        )
    dropped = sample.answer_start - room
    if dropped <= 0:
        return sample
    start = start if sample.ids[: len(start)] == start else ()
    ids = (*start, *sample.ids[dropped + len(start) :])
    return Sample(
        sample.task, sample.length, sample.depth, sample.index, ids, sample.answer_start - dropped,
        sample.answer_end - dropped, sample.references, sample.new_tokens, None, sample.metadata,
    )  # fmt: skip
