"""At attach, whatever the version of transformers: a cache continued across a step must give what one pass gives."""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach, RopewalkError
from ropewalk.models.caches import cache_argument, cache_of
from ropewalk.models.dynamic.cache import STATE
from ropewalk.models.dynamic.kernels import HALVES
from ropewalk.models.dynamic.ladder import Ladder
from ropewalk.models.dynamic.probe import evaluating, in_single, some_ids
from ropewalk.scaling.schedule import CAUSAL, RECOMPUTE, REQUEST

COUNT, BEFORE, SHORTER = 11, 7, 3  # tokens of the first row, how many before the step, by how many the second row has fewer
FAR = 3
LARGEST = 10**9  # weights that are held in float32 beside themselves: 4 GB
EDGES = (6, 7, 8)  # where the calls part: a prefill, a token before the step and one after it, a chunk


def check_cache(model: nn.Module, ladder: Ladder, stock: Callable[[], AbstractContextManager[None]]) -> None:
    """Two rows of different lengths through a cache, in four calls, against one without: five passes of a few tokens.

    They stand across the first step of the schedule, where the meaning promises equality there; else within one step.
    stock: a block within which the model is the stock model.  What that cannot do either is not held against the plan: then
    one row alone is tried, and a model whose own cache is wrong is said to have one.

    Raises CannotAttach where the plan's answers differ, or where a cache that must be refused goes unnoticed.
    """
    positions = torch.arange(*_span(ladder))
    if ladder.near:  # a few tokens far before the others
        positions[:FAR] = torch.arange(min(FAR, len(positions)))
    if ladder.semantics == RECOMPUTE:
        _must_refuse(model, positions)
        return
    for lengths in ((len(positions), max(len(positions) - SHORTER, 1)), (len(positions),)):
        with ladder.request.of(int(positions[-1]) + 1) if ladder.semantics == REQUEST else nullcontext():
            off, allowed = _off(model, positions, lengths, planned=True), _allowed(model)
            if off > allowed and _is_small(model):
                with in_single(model):  # after many layers in halves rounding alone can be as much: the same, without it
                    again, allowed = _off(model, positions, lengths, planned=True), _allowed(model)
                off = min(off, again)  # where there is no room for it, or no kernel, nothing is found
        if off <= allowed:
            return
        with stock():
            its_own = _off(model, positions - positions[0], lengths, planned=False)
        if its_own <= _allowed(model):
            raise CannotAttach(
                f"with a cache {type(model).__name__} gives other logits than in one pass: {off:.1e} of their own size off.\n"
                "  Tested with a few tokens, as every plan with deferred rotation is; without the plan they agree.\n"
                f"{_in_halves(model)}"
                "  This version of transformers may hand its caches on in a way that is not known: docs/versions.md names\n"
                "  those that were tried.\n"
                "  Plan for one scale per request instead: dynamic-...-request."
            )
    warnings.warn(
        f"{type(model).__name__} gives other logits with a cache than without, also without a plan ({its_own:.1e} of their "
        "own size off): only use_cache=False is exact.",
        stacklevel=2,  # ours, so that the command line shows it as a note
    )


def _span(ladder: Ladder) -> tuple[int, int]:
    """The first position to read, and the one after the last."""
    window, reach = ladder.schedule.original_length, ladder.reach
    if ladder.semantics == CAUSAL:
        first = max(min(window - BEFORE, reach - COUNT), 0)
        return first, min(first + COUNT, reach)
    top = int(ladder.starts[-1]) if len(ladder.starts) else reach  # without a grid no step is as long as a call
    return (reach - COUNT, reach) if reach - top >= COUNT else (0, min(COUNT, window))


def _dtype(model: nn.Module) -> torch.dtype:
    return next(weight.dtype for weight in model.parameters() if weight.is_floating_point())


def _allowed(model: nn.Module) -> float:
    """Half the digits must agree: sums in another order cost a few, keys at wrong positions nearly all.

    Of float64 no more than of float32, in which eager attention takes its softmax.
    """
    return float(max(torch.finfo(_dtype(model)).eps, torch.finfo(torch.float32).eps) ** 0.5)


def _in_halves(model: nn.Module) -> str:
    kind = str(_dtype(model)).removeprefix("torch.")
    return (
        f"  In {kind} rounding alone can be as much in a deep model: load it as float32.\n" if _dtype(model) in HALVES else ""
    )


def _is_small(model: nn.Module) -> bool:
    """Are its weights halves, and few enough to be held twice over?"""
    return _dtype(model) in HALVES and sum(weight.numel() for weight in model.parameters()) <= LARGEST


def _off(model: Any, positions: torch.Tensor, lengths: tuple[int, ...], planned: bool) -> float:
    """Root mean square of (logits with a cache - logits without), over that of the logits; the worse of the rows."""
    ids, worst = some_ids(model, len(positions)), 0.0
    places = positions[None].to(ids.device)
    with evaluating(model):
        try:
            together, cache = _in_calls(model, ids, places, lengths)
        except RopewalkError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):  # of the stock model's own code, too
            return math.inf
        if planned and getattr(cache, STATE, None) is None:
            raise _unnoticed(model)
        more = {"attention_mask": torch.ones_like(ids)} if _jumps(positions) else {}
        whole = model(ids, position_ids=places, use_cache=False, **more).logits[0].double()
        for row, length in enumerate(lengths):
            alone = whole[:length]  # rows begin alike, and what follows changes nothing before it
            difference = together[row, -length:].double() - alone
            share = float(difference.square().mean().sqrt() / (alone - alone.mean(-1, keepdim=True)).square().mean().sqrt())
            worst = max(worst, share if share == share else math.inf)
    return worst


def _in_calls(model: Any, ids: torch.Tensor, places: torch.Tensor, lengths: tuple[int, ...]) -> tuple[torch.Tensor, Any]:
    """(rows, tokens, vocabulary) logits of rows that begin alike, padded on the left to the longest, and the cache."""
    count = ids.shape[1]
    padding = count - torch.tensor(lengths, device=ids.device)[:, None]
    columns = torch.arange(count, device=ids.device)[None]
    kept = (columns - padding).clamp(min=0)
    tokens, places, mask = ids[0, kept], places[0, kept], (columns >= padding).long()
    cache, logits = None, []
    for first, last in pairwise([0, *(edge for edge in EDGES if edge < count), count]):
        more: dict[str, Any] = {} if cache is None else cache_argument(model, cache)
        if len(lengths) > 1 or _jumps(places[0]):
            more["attention_mask"] = mask[:, :last]
        output = model(tokens[:, first:last], position_ids=places[:, first:last], use_cache=True, **more)
        cache = cache_of(output)
        logits.append(output.logits)
    return torch.cat(logits, dim=1), cache


def _jumps(positions: torch.Tensor) -> bool:
    """Without a mask of ones transformers takes a jump of positions for the start of another document."""
    return bool((positions.diff() != 1).any())


def _must_refuse(model: Any, positions: torch.Tensor) -> None:
    """A plan that recomputes has no use for a cache, and must not continue one."""
    ids = some_ids(model, 3)
    places = positions[None, :3].to(ids.device)
    with evaluating(model):
        cache = cache_of(model(ids[:, :2], position_ids=places[:, :2], use_cache=True))
        try:
            model(ids[:, 2:], position_ids=places[:, 2:], use_cache=True, **cache_argument(model, cache))
        except CannotAttach:
            return
    raise _unnoticed(model)


def _unnoticed(model: nn.Module) -> CannotAttach:
    return CannotAttach(
        f"{type(model).__name__} continues a cache, and its attention is not told of it by a name that is known.\n"
        "  This version of transformers may be newer than this Ropewalk: docs/versions.md names those that were tried."
    )
