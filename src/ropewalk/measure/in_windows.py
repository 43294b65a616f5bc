"""Reading as a window does (`window`): documents in windows, and of a sample its end."""

from collections.abc import Iterator
from typing import Any

import torch

from ropewalk.errors import BadLength
from ropewalk.measure.nll import Scores, score
from ropewalk.measure.task import Sample
from ropewalk.measure.window import STRIDES, WindowPlan
from ropewalk.scaling.plan import ScalingPlan

ROWS = 8  # windows a call, at most


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
