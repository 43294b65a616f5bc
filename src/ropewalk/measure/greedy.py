"""Greedy generation for tasks that look for substrings: batched, stopped as soon as the score is settled."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import groupby, pairwise
from typing import Any

import torch
from transformers import DynamicCache

from ropewalk.measure.material import Material
from ropewalk.measure.reuse import PrefixReader, can_reuse
from ropewalk.measure.scoring import cleaned, decided, scoring
from ropewalk.measure.task import Sample
from ropewalk.models import served
from ropewalk.models.caches import cache_argument
from ropewalk.scaling.plan import ScalingPlan

Done = Callable[[int, list[int]], bool]
SHARED_ENOUGH = 0.5  # of the tokens of two neighbours, from which one cache beats a batch


def generate_answers(
    model: Any, plan: ScalingPlan, samples: Sequence[Sample], material: Material, *, scoring_name: str,
    batch: int = 8, reuse: bool = True, attached: Any = None,
) -> list[tuple[str, float]]:  # fmt: skip
    """(what the model writes, its score) for each sample.

    Generation ends at the end-of-text token, after new_tokens, or once every reference that counts has been written.
    attached: needed for a dynamic plan, whose scale is fixed for prompt and new tokens together (the *request* meaning).
    """

    def done(i: int, ids: list[int]) -> bool:
        return decided(scoring_name, material.decode(ids), samples[i].references)

    prompts = [sample.prompt for sample in samples]
    limits = [sample.new_tokens for sample in samples]
    ends = served.ends(model)
    if reuse and can_reuse(model, plan) and _begin_alike(prompts):
        written = greedy_shared(model, prompts, limits, ends=ends, done=done)
    else:
        written = greedy(model, prompts, limits, ends=ends, done=done, batch=batch, attached=attached)
    texts = [cleaned(material.decode(ids)) for ids in written]
    rate = scoring(scoring_name)
    return [(text, rate(text, sample.references)) for text, sample in zip(texts, samples, strict=True)]


def _begin_alike(prompts: Sequence[Sequence[int]]) -> bool:
    ordered = sorted(map(tuple, prompts))
    shared = sum(_common(a, b) for a, b in pairwise(ordered))
    return shared > SHARED_ENOUGH * sum(map(len, ordered[1:])) > 0


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int], *, ends: frozenset[int],
    done: Done = lambda i, ids: False, batch: int = 8, attached: Any = None,
) -> list[list[int]]:  # fmt: skip
    """What greedy decoding writes after each prompt, the end token left out.

    Prompts of equal length go together, so that there is never padding and a row's numbers do not depend on its
    neighbours' lengths. A row leaves the batch when it is done.
    """
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), limits[i], i))
    written: dict[int, list[int]] = {}
    for _, same in groupby(order, key=lambda i: (len(prompts[i]), limits[i])):
        rows = list(same)
        for start in range(0, len(rows), batch):
            group = rows[start : start + batch]
            n = len(prompts[group[0]]) + limits[group[0]]
            with attached.request(n) if attached is not None else nullcontext():
                written.update(_decode(model, group, prompts, limits[group[0]], ends, done))
    return [written[i] for i in range(len(prompts))]


@torch.inference_mode()
def _decode(
    model: Any, rows: list[int], prompts: Sequence[Sequence[int]], limit: int, ends: frozenset[int], done: Done
) -> dict[int, list[int]]:
    written: dict[int, list[int]] = {i: [] for i in rows}
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([list(prompts[i]) for i in rows], device=model.device)
    for _ in range(limit):
        logits = model(ids, **cache_argument(model, cache), use_cache=True, logits_to_keep=1).logits[:, -1]
        chosen = logits.argmax(-1).tolist()
        going = [r for r, token in enumerate(chosen) if _goes_on(written, rows[r], token, ends, done)]
        if not going:
            break
        if len(going) < len(rows):
            cache.batch_select_indices(torch.tensor(going, device=model.device))
        rows = [rows[r] for r in going]
        ids = torch.tensor([[chosen[r]] for r in going], device=model.device)
    return written


def _goes_on(written: dict[int, list[int]], row: int, token: int, ends: frozenset[int], done: Done) -> bool:
    if token in ends:
        return False
    written[row].append(token)
    return not done(row, written[row])


def greedy_shared(
    model: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int], *, ends: frozenset[int],
    done: Done = lambda i, ids: False,
) -> list[list[int]]:  # fmt: skip
    """As `greedy`, one prompt at a time on one cache, each shared beginning read once (see `reuse`)."""
    reader = PrefixReader(model)
    written: dict[int, list[int]] = {}
    for i in sorted(range(len(prompts)), key=lambda i: tuple(prompts[i])):
        ids, written[i] = list(prompts[i]), []
        while len(written[i]) < limits[i]:
            token = int(reader.logits(ids, len(ids))[-1].argmax())
            if not _goes_on(written, i, token, ends, done):
                break
            ids.append(token)
    return [written[i] for i in range(len(prompts))]
