"""Attention over several sets of keys: in parts that tell the logarithm of their sums, or in one masked call."""

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# (output (rows, heads, queries, channels), log sums (rows, heads, queries) in float32 or better)
Part = tuple[torch.Tensor, torch.Tensor]
HALVES = (torch.float16, torch.bfloat16)
# Any of these changes what attention is, in ways that a merge does not know.
CHANGES = ("position_bias", "softcap", "s_aux", "cu_seq_lens_q")


def can_merge(
    stock: Any, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kwargs: Any, flash: bool = False
) -> bool:
    """Is `stock`, given no mask, plain causal attention, for which this device has a kernel that tells its log sums?"""
    plain = flash or stock is sdpa_attention_forward
    changed = kwargs.get("dropout") or any(kwargs.get(name) is not None for name in CHANGES)
    told = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if told is None else told
    alike = query.shape[3] == key.shape[3] == value.shape[3]
    recorded = torch.is_grad_enabled()
    return plain and not changed and causal and alike and not recorded and _works(query.device.type, query.dtype)


@lru_cache
def _works(device: str, dtype: torch.dtype) -> bool:
    """Do the kernels of this machine give what a masked softmax gives? They are called by names that are PyTorch's own."""
    if device not in ("cpu", "cuda") or (device == "cuda" and dtype not in HALVES):
        return False
    numbers = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 64, generator=numbers).to(device, dtype) for n in (40, 60, 60))
    places = torch.arange(60, device=device)
    behind = (places[20:, None] - places).to(device)
    for window in (16, 60):
        scores = (query.float() @ key.float().mT / 8).masked_fill((behind < 0) | (behind >= window), -torch.inf)
        try:
            found = windowed(query, key, value, window, None).answer().transpose(1, 2).float()
        except (RuntimeError, AttributeError, TypeError):
            return False
        if not (found - scores.softmax(-1) @ value.float()).abs().max() <= 16 * max(torch.finfo(dtype).eps, 1e-6):
            return False
    return True


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, *, causal: bool = False, mask: Any = None
) -> Part:
    """query: (rows, heads, n, channels).  key, value: (rows, key heads, tokens, channels), n of them where causal.

    mask: numbers to be added, finite; on the CPU alone.
    """
    if query.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, sums = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
        return out, sums
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    out, sums, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, False, scale=scale)
    return out, sums


def by_key_head(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(rows, heads, 1, channels) as (rows, key heads, queries that share one, channels): keys are then read once for all."""
    return query.reshape(query.shape[0], key.shape[1], -1, query.shape[3])


class Merged:
    """Softmax attention of some queries, added up part by part."""

    def __init__(self, part: Part):
        self.dtype = part[0].dtype
        wide = torch.float32 if self.dtype in HALVES else self.dtype  # what is added up is not rounded in between
        self.out, self.sums = part[0].to(wide), part[1]

    def add(self, part: Part, first: int = 0) -> None:
        """A part of the queries from `first` on, as many as it has."""
        out, sums = part
        served = slice(first, first + sums.shape[-1])
        mine, logs = self.out[:, :, served], self.sums[..., served]
        mine.lerp_(out.to(mine.dtype), torch.sigmoid(sums - logs).to(mine.dtype)[..., None])
        logs.copy_(torch.logaddexp(logs, sums))

    @property
    def part(self) -> Part:
        return self.out, self.sums

    def then(self, later: "Merged") -> "Merged":
        """With the queries that come after."""
        self.out, self.sums = torch.cat([self.out, later.out], 2), torch.cat([self.sums, later.sums], 2)
        return self

    def answer(self) -> torch.Tensor:
        """(rows, queries, heads, channels), as transformers' attention functions have it."""
        return self.out.to(self.dtype).transpose(1, 2)


def mixed(first: Part, second: Part) -> torch.Tensor:
    """Attention of the same queries over two sets of keys: (rows, heads, queries, channels)."""
    wide = torch.promote_types(first[0].dtype, torch.float32)
    share = torch.sigmoid(second[1] - first[1]).to(wide)[..., None]
    return first[0].to(wide).lerp_(second[0].to(wide), share).to(first[0].dtype)


def in_one(
    stock: Any, module: Any, queries: Any, keys: Any, values: Any, masks: Any, spans: Any, length: int, kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One call of any attention function: far and near keys side by side, each in channels of its own.

    spans: the columns that far and near keys stand in, of `length`; weights are given by column.
    """
    (q_far, q_near), (far, near) = queries, keys
    scaling = kwargs.get("scaling") or getattr(module, "scaling", None) or q_far.shape[-1] ** -0.5
    width = far.shape[-1]
    key = torch.cat([pad(far, (0, width)), pad(near, (width, 0))], dim=2)
    mask = None if masks[0] is None else torch.cat([m.expand(*masks[0].shape[:3], -1) for m in masks], dim=-1)
    query = torch.cat([q_far, q_near], dim=-1)
    out, weights = stock(module, query, key, torch.cat(values, dim=2), mask, **{**kwargs, "scaling": scaling})
    if weights is None:
        return out, None
    both = weights.new_zeros(*weights.shape[:3], length)
    for (first, last), part in zip(spans, weights.split([last - first for first, last in spans], dim=-1), strict=True):
        both[..., first:last] += part
    return out, both


def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> Merged:
    """The last n queries over all keys up to themselves: those before them, and a square.

    query: (rows, heads, n, channels).  key, value: (rows, key heads, tokens, channels), n of the tokens or more.
    """
    before = key.shape[2] - query.shape[2]
    merged = Merged(attend(query, key[:, :, before:], value[:, :, before:], scale, causal=True))
    if before:
        merged.add(attend(query, key[:, :, :before], value[:, :, :before], scale))
    return merged


def windowed(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int, scale: float | None) -> Merged:
    """The last n queries, each over the `window` keys that end with its own, or as many as there are.

    In blocks of one window, a query reads its own block up to itself, and of the block before what comes after its place
    there. Read from the end, the latter is causal too. So it is two square causal calls, all blocks in one batch, and the work
    of exactly `window` keys a query.
    """
    n, before = query.shape[2], key.shape[2] - query.shape[2]
    if (early := min(window - before, n)) > 0:  # queries that see everything before them
        merged = causal(query[:, :, :early], key[:, :, : before + early], value[:, :, : before + early], scale)
        return merged.then(windowed(query[:, :, early:], key, value, window, scale)) if early < n else merged
    whole = n // window * window
    key, value = key[:, :, -(n + window) :], value[:, :, -(n + window) :]
    if not whole:
        return _block(query, key, value, scale)
    merged = _blocks(query[:, :, :whole], key, value, window, scale)
    return merged.then(_block(query[:, :, whole:], key[:, :, whole:], value[:, :, whole:], scale)) if whole < n else merged


def _blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int, scale: float | None) -> Merged:
    """Blocks as rows of their own."""
    rows, count = query.shape[0], query.shape[2] // window

    def cut(x: torch.Tensor, skip: int) -> torch.Tensor:
        x = x[:, :, skip : skip + count * window]
        return x.view(*x.shape[:2], count, window, x.shape[3]).transpose(1, 2).flatten(0, 1)

    def back(x: torch.Tensor) -> torch.Tensor:
        return x.view(rows, count, *x.shape[1:]).transpose(1, 2).flatten(2, 3)

    keys, values = (torch.cat([cut(x, 0), cut(x, window)], dim=2) for x in (key, value))
    merged = _block(cut(query, 0), keys, values, scale)
    merged.out, merged.sums = back(merged.out), back(merged.sums.contiguous())
    return merged


def _block(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> Merged:
    """n queries over themselves, and over the window of keys before them, the first i + 1 of which query i does not see."""
    n, window = query.shape[2], key.shape[2] - query.shape[2]
    merged = Merged(attend(query, key[:, :, window:], value[:, :, window:], scale, causal=True))
    if n < window:
        merged.add(attend(query, key[:, :, n:window], value[:, :, n:window], scale))
    if n > 1:  # keys 1 to n - 1, those after a query's own place: from the end they are those up to it
        q, k, v = query[:, :, : n - 1].flip(2), key[:, :, 1:n].flip(2), value[:, :, 1:n].flip(2)
        out, sums = attend(q, k, v, scale, causal=True)
        merged.add((out.flip(2), sums.flip(2)))
    return merged
