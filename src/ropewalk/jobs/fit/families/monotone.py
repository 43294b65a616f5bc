"""A ramp with more corners than YaRN's."""

import torch

from ropewalk.jobs.fit.family import KNOTS, Space, at_knots, family, list_space, through_knots, yarn_exponents
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic


@family("monotone")
def monotone(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Factors that fall with the turns, through six knots, and a temperature; written as longrope.

    f_i = s^(g(turns_i)), g piecewise linear in ln(turns) and non-increasing: the drops from 1 to 0 between knots are shares
    of one whole, softmax(ln(yarn's drops) + u), so every point of the box is monotone and inside [1, s].
    """
    pairs, start = through_knots(rope), _drops(rope, factor)

    def exponents(u: torch.Tensor) -> torch.Tensor:
        return pairs(1 - torch.softmax(start + u, 0).cumsum(0))[None]

    return list_space(rope, (factor,), [-4.0] * len(KNOTS), [4.0] * len(KNOTS), exponents)


def _drops(rope: Rope, factor: float) -> torch.Tensor:
    """ln of how far yarn's g falls before each knot: from 1 to the first, from the first to the second, and so on to 0."""
    g = torch.tensor([1.0, *at_knots(rope, yarn_exponents(rope, factor))[:-1], 0.0], dtype=torch.float64)
    return (g[:-1] - g[1:]).clamp(min=0.005).log()
