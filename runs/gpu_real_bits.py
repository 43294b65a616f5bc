"""Does the stretched model have the unstretched one's bits inside its window, and the same numbers however a text is fed?

For runs/gpu_real.py: on a GPU, in float32 and bfloat16, under PyTorch's attention and flash attention's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import is_flash_attn_2_available

from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.scaling.plan import ScalingPlan

FLASH = "flash_attention_2"
TAIL = 12  # tokens fed one by one before and after the place looked at
PIECE = 512  # positions whose logits exist at one time


@contextmanager
def attending(model: Any, attention: str) -> Iterator[str]:
    """The model under another kind of attention for a while, and what to call it in a table."""
    config, before = model.config, model.config._attn_implementation
    known, stand_in = ALL_ATTENTION_FUNCTIONS._global_mapping, attention == FLASH and not is_flash_attn_2_available()
    kept = known.get(FLASH)
    if stand_in:
        known[FLASH] = torch_flash
    config._attn_implementation_internal = attention
    try:
        yield f"{attention}, PyTorch's own kernel in its place" if stand_in else attention
    finally:
        config._attn_implementation_internal = before
        if stand_in:
            known[FLASH] = kept


def torch_flash(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: Any = None, **more: Any
) -> tuple[torch.Tensor, None]:
    """What the package does, by the copy of its kernel in PyTorch: causal from the last query and key; mask is (rows, keys).

    Rows with padding, and the CPU, which has no such kernel, get the same in plain arithmetic.
    """
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    if mask is None and query.is_cuda:
        out = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True, False, scale=scaling)[0]
        return out.transpose(1, 2).contiguous(), None
    queries, keys = query.shape[2], key.shape[2]
    hidden = torch.ones(queries, keys, dtype=torch.bool, device=query.device).triu(keys - queries + 1)[None, None]
    if mask is not None:
        hidden = hidden | ~mask[:, None, None, :keys].bool()
    scores = (query @ key.transpose(2, 3) * scaling).float().masked_fill(hidden, torch.finfo(torch.float32).min)
    return (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).contiguous(), None


@torch.inference_mode()
def states(model: Any, ids: torch.Tensor, edges: Sequence[int] = ()) -> torch.Tensor:
    """(tokens, width): the last hidden states of one row; with edges, fed in calls that part there, through a cache."""
    base = model.base_model
    if not edges:
        found: torch.Tensor = base(ids, use_cache=False).last_hidden_state[0]
        return found
    cache = DynamicCache(config=model.config)
    calls = [
        base(ids[:, first:last], **cache_argument(base, cache), use_cache=True).last_hidden_state[0]
        for first, last in pairwise(edges)
    ]
    return torch.cat(calls)


def around(place: int) -> list[int]:
    """Edges: up to `place` less TAIL in one call, then token by token to `place` and TAIL."""
    return [0, *range(place - TAIL, place + TAIL + 1)]


def every(size: int, length: int) -> list[int]:
    return [*range(0, length, size), length]


def row(model: Any, ids: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(ids)], device=model.device)


def same_bits(model: Any, plan: ScalingPlan, ids: Sequence[int], window: int) -> dict[str, Any]:
    """Hidden states inside the window, with and without the plan. The first three must be equal bit for bit.

    The fourth is of a text of two windows: there the kernels of stock attention are told of other shapes.
    """
    inside, twice = row(model, ids[:window]), row(model, ids[: 2 * window])
    ways = {
        "one pass": (inside, ()),
        "chunks": (inside, every(window // 8 - 24, window)),
        "prefill, then one by one": (inside, around(window - TAIL)),
    }
    found: dict[str, Any] = {}
    before = {name: states(model, *way) for name, way in ways.items()}
    long = states(model, twice)[:window]
    with attach(model, plan):
        for name, way in ways.items():
            found[name] = torch.equal(states(model, *way), before[name])
        ours = states(model, twice)[:window]
    alike = (ours == long).all(-1).float().mean().item()
    found["of a text of two windows"] = {"positions alike": alike, **difference(model, ours, long)}
    return found


def agreement(model: Any, plan: ScalingPlan, ids: Sequence[int], window: int) -> dict[str, Any]:
    """Chunks, and a cache that goes on token by token across a step of the scale, against one pass over the same tokens."""
    length, step = 2 * window, int(window * 2**0.5)
    whole_row = row(model, ids[:length])
    with attach(model, plan) if plan.name != "none" else nullcontext():
        whole = states(model, whole_row)
        chunks = states(model, whole_row, every(window // 8 - 24, length))
        tokens = states(model, whole_row, around(step))[step - TAIL :]
    return {
        "chunks": difference(model, chunks, whole),
        "token by token across a step": difference(model, tokens, whole[step - TAIL : step + TAIL]),
    }


@torch.inference_mode()
def difference(model: Any, a: torch.Tensor, b: torch.Tensor) -> dict[str, float]:
    """Of the logits that two times (tokens, width) make: the largest difference, the largest logit, and how many first choices
    are the same."""
    head, largest, scale, same = model.get_output_embeddings(), 0.0, 0.0, 0
    squares = energy = 0.0
    for x, y in zip(torch.split(a, PIECE), torch.split(b, PIECE), strict=True):
        p, q = head(x).float(), head(y).float()
        largest, scale = max(largest, (p - q).abs().max().item()), max(scale, q.abs().max().item())
        squares, energy = squares + (p - q).square().sum().item(), energy + q.square().sum().item()
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
    return {"largest": largest, "scale": scale, "rms share": (squares / energy) ** 0.5, "same choice": same / len(a)}
