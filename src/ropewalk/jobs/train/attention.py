"""Attention within documents, on one process or many: what a query may see is said by the layout, and never guessed.

transformers takes documents from position ids while training, and so mistakes skipped positions for new documents and drops
packing where an all-ones mask is given. Under this implementation's name it makes no mask at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed import _functional_collectives as collectives
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ropewalk.errors import CannotAttach
from ropewalk.jobs.train.data.layout import Layout, Span

NAME = "ropewalk_spans"
GATHER, ULYSSES = "gather", "ulysses"
BLOCK = 512  # queries whose mask exists at one time


class Current:
    """The layout of the micro-batch in flight, and how processes exchange keys.

    Not a context variable: recomputation of checkpointed layers runs on autograd's own threads on accelerators.
    """

    layout: Layout | None = None
    group: Any = None
    exchange: str = GATHER


@contextmanager
def attending(layout: Layout, group: Any = None, exchange: str = GATHER) -> Iterator[None]:
    """Forward and backward of one micro-batch."""
    Current.layout, Current.group, Current.exchange = layout, group, exchange
    try:
        yield
    finally:
        Current.layout = Current.group = None


def register() -> str:
    """Make the implementation known to transformers; its name."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, lambda *args, **kwargs: None)
    return NAME


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any = None, *,
    scaling: float | None = None, dropout: float = 0.0, sliding_window: int | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """transformers' attention interface.  query: (rows, heads, columns here, channels); key and value with fewer heads.

    Answers (rows, columns here, heads, channels). Costs the sum of the squares of the documents' lengths; no mask larger
    than BLOCK queries exists.
    """
    layout = Current.layout
    if layout is None:
        raise CannotAttach(f"{NAME} needs the layout of its micro-batch: call the model inside `attending`.")
    unknown = [name for name in ("s_aux", "softcap", "position_bias") if kwargs.get(name) is not None]
    if unknown or not getattr(module, "is_causal", True):
        raise CannotAttach(
            f"{type(module).__name__} attends with {', '.join(unknown) or 'no causality'}, which spans do not know.\n"
            "  Models of this kind cannot be trained here yet."
        )
    if layout.order is None:
        return _by_spans(query, key, value, layout.spans, scaling, dropout, sliding_window).transpose(1, 2), None
    exchange = _ulysses if Current.exchange == ULYSSES else _gathered
    return exchange(query, key, value, layout, scaling, dropout, sliding_window).transpose(1, 2), None


def _by_spans(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: tuple[Span, ...], *how: Any) -> torch.Tensor:
    """(rows, heads, columns, channels), every span on its own."""
    if len(spans) == 1 and spans[0].rows == (0, len(query)):
        return _span(query, key, value, spans[0], *how)
    rows: dict[tuple[int, int], list[torch.Tensor]] = {}
    for span in spans:
        pick = slice(*span.rows)
        rows.setdefault(span.rows, []).append(_span(query[pick], key[pick], value[pick], span, *how))
    return torch.cat([torch.cat(parts, dim=2) for parts in rows.values()])


def _span(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, span: Span,
    scaling: float | None, dropout: float, window: int | None,
) -> torch.Tensor:  # fmt: skip
    _, first, last, start, end = span
    q, n = query[:, :, first:last], last - first
    more: dict[str, Any] = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    if n == end - start and (window is None or window >= n):
        return scaled_dot_product_attention(q, key[:, :, start:end], value[:, :, start:end], is_causal=True, **more)
    outputs = []
    for a in range(0, n, BLOCK):
        b = min(a + BLOCK, n)
        last_key = end - n + b  # one past the newest key that query b - 1 sees
        low = start if window is None else max(start, last_key - (b - a) - window + 1)
        mask = _lower_right(b - a, last_key - low, window, query.device)
        outputs.append(
            scaled_dot_product_attention(
                q[:, :, a:b], key[:, :, low:last_key], value[:, :, low:last_key], attn_mask=mask, **more
            )
        )
    return torch.cat(outputs, dim=2)


def _lower_right(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(queries, keys), True where seen; the last query sees the last key."""
    behind = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    return (behind >= 0) if window is None else (behind >= 0) & (behind < window)


def _gathered(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, *how: Any) -> torch.Tensor:
    """Everyone gets all keys and values, and keeps its queries (Llama 3, arXiv:2407.21783, section 3.3.2)."""
    assert layout.everyone is not None
    back = layout.everyone.argsort()
    both = torch.cat([key, value], dim=1).contiguous()
    whole = collectives.all_gather_single_autograd(both, gather_dim=2, group=Current.group)
    keys, values = whole[:, :, back].chunk(2, dim=1)
    return _by_spans(query, keys, values, layout.spans, *how)


def _ulysses(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, *how: Any) -> torch.Tensor:
    """Everyone gets all columns of a share of the heads, and gives its columns of the others (arXiv:2309.14509)."""
    assert layout.everyone is not None
    world = Current.group.size()
    if key.shape[1] % world or query.shape[1] % world:
        raise CannotAttach(
            f"Ulysses divides heads: {query.shape[1]} query and {key.shape[1]} key heads do not go into {world} processes.\n"
            "  Use gather as exchange (--exchange), which divides nothing but the row."
        )
    back = layout.everyone.argsort()
    q, k, v = (_swap(x, 1, 2, world)[:, :, back] for x in (query, key, value))
    whole = _by_spans(q, k, v, layout.documents, *how)
    return _swap(whole[:, :, layout.everyone], 2, 1, world)


def _swap(x: torch.Tensor, scatter: int, gather: int, world: int) -> torch.Tensor:
    pieces = torch.stack(x.chunk(world, dim=scatter)).contiguous()
    arrived = collectives.all_to_all_single_autograd(pieces, None, None, Current.group)
    return torch.cat(list(arrived.unbind(0)), dim=gather)
