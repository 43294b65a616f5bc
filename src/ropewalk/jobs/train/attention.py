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

from ropewalk.errors import CannotAttach, RopewalkError
from ropewalk.jobs.train.data.layout import Layout, Span, lay_out
from ropewalk.scaling.spec import is_local

NAME = "ropewalk_spans"
GATHER, ULYSSES = "gather", "ulysses"
BLOCK = 512  # queries whose mask exists at one time


class Current:
    """The layout of the micro-batch in flight, and how processes exchange keys.

    Not a context variable: recomputation of checkpointed layers runs on autograd's own threads on accelerators.
    narrowest: the fewest tokens back that a mask which the model asked for would have shown.  calls: of `attend`.
    """

    layout: Layout | None = None
    group: Any = None
    exchange: str = GATHER
    narrowest: int | None = None
    calls: int = 0


@contextmanager
def attending(layout: Layout, group: Any = None, exchange: str = GATHER) -> Iterator[None]:
    """Forward and backward of one micro-batch."""
    Current.layout, Current.group, Current.exchange = layout, group, exchange
    try:
        yield
    finally:
        Current.layout = Current.group = Current.narrowest = None


def register() -> str:
    """Make the implementation known to transformers; its name."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, _no_mask)
    return NAME


def _no_mask(*args: Any, local_size: int | None = None, **kwargs: Any) -> None:
    """transformers asks for a mask of each kind of layer.  local_size: of a sliding window or a chunk."""
    if local_size is not None:
        Current.narrowest = min(local_size, Current.narrowest or local_size)


@contextmanager
def masks_of_layouts(name: str) -> Iterator[None]:
    """An attention that is given masks gets those of the layout, and in a sliding window those of what it shows of them."""
    stock = ALL_MASK_ATTENTION_FUNCTIONS[name]

    def make(**asked: Any) -> Any:
        if (layout := Current.layout) is None:
            return stock(**asked)
        of, window = layout.document_of, asked.get("local_size") or layout.length

        def seen(row: Any, head: Any, query: Any, key: Any) -> Any:
            return (of[row, query] == of[row, key]) & (key <= query) & (query - key < window)

        plain = {"allow_is_causal_skip": not bool(of.any()), "use_vmap": False}  # in one document it is plain causality
        return stock(**asked | plain | {"mask_function": seen, "attention_mask": None})

    ALL_MASK_ATTENTION_FUNCTIONS.register(name, make)
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS.register(name, stock)


@torch.no_grad()
def check_attends(model: Any) -> None:
    """Raises CannotAttach for a model that attends in code of its own, which spans cannot replace. For every process."""
    ids = torch.arange(8)[None] % model.get_input_embeddings().weight.shape[0]
    layout = lay_out([(ids[0].numpy(), (8,))]).to(model.device)
    Current.calls, was_training = 0, model.training
    model.eval()
    try:
        with attending(layout):
            model(layout.ids, position_ids=layout.positions, use_cache=False)
    except RopewalkError:
        raise
    except (TypeError, AttributeError, KeyError, ValueError):  # of its own code, which misses a mask
        Current.calls = 0
    finally:
        model.train(was_training)
    if not Current.calls:
        raise CannotAttach(
            f"{type(model).__name__} attends in code of its own, and not through transformers' attention interface: it\n"
            "  cannot be told which documents of a row see each other. Models of this kind cannot be trained here yet."
        )


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
    if sliding_window is None and _is_narrow(module, layout.length):
        raise CannotAttach(
            f"{type(module).__name__} looks {Current.narrowest:,} tokens back in some layers, and leaves that to a mask,\n"
            f"  which spans do without: in rows of {layout.length:,} it would look further. Take rows of at most\n"
            f"  {Current.narrowest:,} (--length)."
        )
    Current.calls += 1
    if layout.order is None:
        found = _by_spans(query, key, value, layout.spans, scaling, dropout, sliding_window)
    else:
        exchange = _ulysses if Current.exchange == ULYSSES else _gathered
        found = exchange(query, key, value, layout, scaling, dropout, sliding_window)
    return found.transpose(1, 2).contiguous(), None  # as transformers' own answer: some modules take a view of it


def _is_narrow(module: Any, length: int) -> bool:
    """Would a mask hide something from this layer in rows of that length? Models whose layers differ name each one's kind."""
    if Current.narrowest is None or Current.narrowest >= length:
        return False
    kinds, layer = getattr(getattr(module, "config", None), "layer_types", None), getattr(module, "layer_idx", None)
    return is_local(kinds[layer]) if kinds and layer is not None else True


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
