"""Loss by context length, from the losses of tokens and where they stood."""

import math
from itertools import pairwise
from typing import Any

import torch

from ropewalk.jobs.train.layout import IGNORED


def sums(losses: torch.Tensor, labels: torch.Tensor, positions: torch.Tensor, edges: tuple[int, ...]) -> torch.Tensor:
    """(buckets, 2), float64: nats and number of the labels that each bucket's positions have.

    losses, labels, positions: (rows, columns).  A label at column i is read with positions[i] + 1 tokens before it.
    """
    bounds = torch.tensor(edges[1:-1], device=positions.device)
    which, counted = torch.bucketize(positions, bounds, right=True), labels != IGNORED
    found = torch.zeros(len(edges) - 1, 2, dtype=torch.float64, device=losses.device)
    found[:, 0].index_add_(0, which[counted], losses[counted].double())
    found[:, 1].index_add_(0, which[counted], torch.ones_like(losses[counted], dtype=torch.float64))
    return found


def means(found: torch.Tensor, edges: tuple[int, ...]) -> dict[str, Any]:
    """Nats per token of every bucket that was met, under the names "0-256" and so on."""
    buckets = zip(pairwise(edges), found.tolist(), strict=True)
    return {f"{a}-{b}": nats / count for (a, b), (nats, count) in buckets if count and math.isfinite(nats)}
