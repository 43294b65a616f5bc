"""Find out by measuring which attention modules rotate, which channels, and how; refuse what is not understood."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.call import Rotate
from ropewalk.models.dynamic.kernels import HALVES
from ropewalk.models.dynamic.read import Watching, homes
from ropewalk.models.live import LiveTable

TOKENS = 8


@dataclass(eq=False)
class Seen:
    """What one attention module handed to its attention function, and what came back."""

    query: torch.Tensor
    key: torch.Tensor
    output: Any
    channels: tuple[int, int] | None = None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without a graph, for as long as the block lasts."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def in_single(model: nn.Module) -> Iterator[None]:
    """The half precision weights as float32 for as long as the block lasts; after it they are the very same tensors."""
    held = [(weight, weight.data) for weight in model.parameters() if weight.dtype in HALVES]
    try:
        for weight, half in held:
            weight.data = half.float()
        yield
    finally:
        for weight, half in held:
            weight.data = half


def some_ids(model: nn.Module, count: int) -> torch.Tensor:
    """(1, count) token ids that every vocabulary has, on the model's device; weights that are offloaded are nowhere."""
    config: Any = model.config
    size: int = config.get_text_config().vocab_size
    device = next(tensor.device for tensor in chain(model.parameters(), model.buffers()) if not tensor.is_meta)
    return (torch.arange(1, count + 1, device=device)[None] * 7) % size


def run(model: nn.Module, positions: torch.Tensor | None = None, count: int = TOKENS) -> torch.Tensor:
    """Logits of a few tokens, in evaluation mode and without a graph; with positions, through a cache."""
    ids = some_ids(model, count)
    places = None if positions is None else positions.to(ids.device)
    with evaluating(model):
        logits: torch.Tensor = model(input_ids=ids, position_ids=places, use_cache=positions is not None).logits
    return logits


def probe(model: nn.Module, tables: list[LiveTable]) -> dict[nn.Module, Rotate]:
    """The attention modules that rotate, and how. The model must be under the registered attention function already.

    1. run as it is, and note each module's queries, keys and output;
    2. with NaN for cos and sin: channels that turn NaN are rotated, modules without any are not (NoPE), and a NaN
       that gets past the attention function says that somebody rotates elsewhere;
    3. with cos 1 and sin 0: find the function that turns these queries and keys into those of the first run, bit for bit.
    """
    seen: dict[nn.Module, Seen] = {}

    def note(stock: Any, module: nn.Module, query: Any, key: Any, *rest: Any, **kwargs: Any) -> Any:
        output = stock(module, query, key, *rest, **kwargs)
        seen[module] = Seen(query.clone(), key.clone(), output)
        return output

    with watched(note):
        run(model)
    _mark_channels(model, tables, seen)
    rotating = {module: one for module, one in seen.items() if one.channels}
    if not rotating:
        raise CannotAttach(f"no rotating attention of {type(model).__name__} goes through transformers' attention interface.")
    return _functions(model, rotating, seen)


@contextmanager
def watched(watch: Callable[..., Any]) -> Iterator[None]:
    Watching.now = watch
    try:
        yield
    finally:
        Watching.now = None


def _mark_channels(model: nn.Module, tables: list[LiveTable], seen: dict[nn.Module, Seen]) -> None:
    def nan(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, tuple) or len(output) != 2:
            raise CannotAttach(f"{type(module).__name__} answers in complex numbers, which deferred rotation cannot split.")
        return tuple(torch.full_like(half, torch.nan) for half in output)

    def mark(stock: Any, module: nn.Module, query: Any, key: Any, *rest: Any, **kwargs: Any) -> Any:
        seen[module].channels = _range(module, query, key)
        return seen[module].output

    hooks = [module.register_forward_hook(nan) for module in {table.module for table in tables}]
    try:
        with watched(mark):
            logits = run(model)
    finally:
        for hook in hooks:
            hook.remove()
    if logits.isnan().any():
        raise CannotAttach(
            f"{type(model).__name__} rotates somewhere that does not go through transformers' attention interface,\n"
            "  so nothing can rotate its keys when they are read. Plan for the request meaning: dynamic-...-request."
        )


def _range(module: nn.Module, query: torch.Tensor, key: torch.Tensor) -> tuple[int, int] | None:
    found = [tensor.isnan().flatten(0, -2).any(0).nonzero().flatten().tolist() for tensor in (query, key)]
    if not found[0] and not found[1]:
        return None
    first, last = (found[0] or found[1])[0], (found[0] or found[1])[-1] + 1
    if found[0] != found[1] or found[0] != list(range(first, last)):
        raise CannotAttach(
            f"{type(module).__name__} mixes rotated channels with others before it attends (a norm after the rotation, say):\n"
            "  its keys cannot be rotated when they are read. Plan for the request meaning: dynamic-...-request."
        )
    return first, last


def _functions(model: nn.Module, rotating: dict[nn.Module, Seen], seen: dict[nn.Module, Seen]) -> dict[nn.Module, Rotate]:
    found: dict[nn.Module, Rotate] = {}
    embeddings: dict[nn.Module, Any] = {}

    def still(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if kwargs.get("position_embeddings") is None:
            raise CannotAttach(f"{type(module).__name__} is not given position_embeddings by name.")
        cos, sin = embeddings[module] = kwargs["position_embeddings"]
        return args, {**kwargs, "position_embeddings": (torch.ones_like(cos), torch.zeros_like(sin))}

    def match(stock: Any, module: nn.Module, query: Any, key: Any, *rest: Any, **kwargs: Any) -> Any:
        if module in rotating:
            found[module] = _rotation(module, seen[module], query, key, embeddings[module])
        return seen[module].output

    hooks = [module.register_forward_pre_hook(still, with_kwargs=True) for module in rotating]
    try:
        with watched(match):
            run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _rotation(module: nn.Module, seen: Seen, query: torch.Tensor, key: torch.Tensor, embeddings: Any) -> Rotate:
    """The model's own function that rotates these channels, found by trying those written beside it."""
    assert seen.channels is not None
    for function in dict.fromkeys(f for home in homes(module) for n, f in vars(home).items() if n.startswith("apply_rotary")):
        rotate = _on_channels(function, *seen.channels)
        try:
            same = torch.equal(rotate(query, *embeddings), seen.query) and torch.equal(rotate(key, *embeddings), seen.key)
        except (TypeError, RuntimeError, ValueError):
            continue
        if same:
            return rotate
    raise CannotAttach(
        f"{type(module).__name__} does more to queries and keys than rotate them with a function of its own file\n"
        "  (a norm after the rotation, say): they cannot be rotated when they are read, bit for bit.\n"
        "  Plan for the request meaning: dynamic-...-request."
    )


def _on_channels(function: Any, first: int, last: int) -> Rotate:
    def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        if first == 0 and last == x.shape[-1]:
            turned: torch.Tensor = function(x, x[:, :0], cos, sin)[0]
            return turned
        middle = function(x[..., first:last], x[:, :0, :, first:last], cos, sin)[0]
        return torch.cat([x[..., :first], middle, x[..., last:]], dim=-1)

    return rotate
