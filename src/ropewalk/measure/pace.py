"""How long reading takes: units of work, which grow with a text's length, and the seconds that one takes on this machine."""

import time
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
