"""How long reading takes: units of work, which grow with a text's length, seconds of one on this machine, and progress."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ropewalk.measure.nll import score

TRIED = 1024  # tokens that are read to see how fast a machine is


def units(tokens: int) -> float:
    """Of one pass: linear layers, and attention that grows with the square; at 4,096 tokens as much of each."""
    return tokens * (1 + tokens / 4096)


def pace(model: Any, tokens: int = TRIED, *, times: int = 2) -> float:
    """Seconds a unit: the fastest of so many readings, for in the first memory and threads are made."""
    ids, took = torch.arange(tokens)[None] % model.get_input_embeddings().num_embeddings, []
    for _ in range(times):
        began = time.perf_counter()
        score(model, ids)
        took.append(time.perf_counter() - began)
    return min(took) / units(tokens)


@contextmanager
def told_by_layers(model: Any, cost: float, advance: Callable[[float], None]) -> Iterator[None]:
    """One forward pass, whose cost `advance` is told in parts, as each layer ends; all is taken back where it does not."""
    layers = _layers(model)
    told = 0.0

    def tell(*_: Any) -> None:
        nonlocal told
        part = min(cost / len(layers), cost - told)
        told += part
        advance(part)

    hooks = [layer.register_forward_hook(tell) for layer in layers]
    try:
        yield
    except BaseException:
        advance(-told)
        raise
    finally:
        for hook in hooks:
            hook.remove()
    advance(cost - told)


def _layers(model: Any) -> Sequence[Any]:
    """Of the part that reads text; none where they cannot be told from others, or where a config of its own names no count."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count]
    return list(found[0]) if len(found) == 1 else []
