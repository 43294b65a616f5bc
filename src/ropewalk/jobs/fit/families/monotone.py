"""A ramp with more corners than YaRN's."""

import math

import torch

from ropewalk.jobs.fit.family import Space, family, list_space, yarn_exponents
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

# Turns at which the ramp may bend. Below the first a pair has its factor, from the last upwards pairs are kept.
KNOTS = (0.25, 0.8, 2.0, 5.0, 13.0, 35.0)


@family("monotone")
def monotone(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Factors that fall with the turns, through six knots, and a temperature; written as longrope.

    f_i = s^(g(turns_i)), g piecewise linear in ln(turns) and non-increasing: the drops from 1 to 0 between knots are shares
    of one whole, softmax(ln(yarn's drops) + u), so every point of the box is monotone and inside [1, s].
    """
    x = [math.log(t) for t in KNOTS]
    at = torch.tensor([math.log(t) for t in rope.turns], dtype=torch.float64).clamp(x[0], x[-1])
    left = torch.bucketize(at, torch.tensor(x, dtype=torch.float64), right=True).clamp(1, len(x) - 1) - 1
    knots = torch.tensor(x, dtype=torch.float64)
    along = (at - knots[left]) / (knots[left + 1] - knots[left])
    start = _drops(rope, factor)

    def exponents(u: torch.Tensor) -> torch.Tensor:
        g = 1 - torch.softmax(start + u, 0).cumsum(0)
        return ((1 - along) * g[left] + along * g[left + 1])[None]

    return list_space(rope, (factor,), [-4.0] * len(KNOTS), [4.0] * len(KNOTS), exponents)


def _drops(rope: Rope, factor: float) -> torch.Tensor:
    """ln of how far yarn's g falls before each knot: from 1 to the first, from the first to the second, and so on to 0."""
    released = yarn_exponents(rope, factor)
    pairs = [min(max(round(rope.pair_turning(t)), 0), len(released) - 1) for t in KNOTS[:-1]]
    g = torch.tensor([1.0, *(released[i] for i in pairs), 0.0], dtype=torch.float64)
    return (g[:-1] - g[1:]).clamp(min=0.005).log()
