"""LongRoPE's space: every pair its own factor."""

from collections.abc import Mapping

import torch

from ropewalk.jobs.fit.family import GROWING, RELEASED, SLOPE, Space, family, list_space, octaves, yarn_exponents
from ropewalk.scaling.method import Option
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

OFTEN = 32.0  # turns from which a pair is kept
SOME = 4.0  # turns at which moves are half as large
MORE = 1.25  # the largest exponent of a causal list: at small scales pairs that turned less than once take more than s


@family("free", can_be_dynamic=True)
def free(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Every pair that turned less than 32 times its own factor from 1 to s, and a temperature; written as longrope.

    f_i = s^(g_i), g_i = yarn's + 0.3 u_i / (1 + turns_i / 4), inside [0, 1]: a pair that turns often sees the same change of
    its factor as a larger change of angle. Causal: a list at 2^(1/2) and at every octave, g_i up to 1.25.
    """
    scales = octaves(factor) if dynamic else (factor,)
    turns = torch.tensor(rope.turns, dtype=torch.float64)
    moved = [i for i, r in enumerate(rope.turns) if r < OFTEN]
    width = 0.3 / (1 + turns[moved] / SOME)

    def lists(options: Mapping[str, Option]) -> torch.Tensor:
        return torch.tensor([yarn_exponents(rope, s, options) for s in scales], dtype=torch.float64)

    start = lists(RELEASED)

    def exponents(u: torch.Tensor) -> torch.Tensor:
        return start.index_add(1, torch.tensor(moved), width * u.view(len(scales), -1))

    low, high = ((end - start[:, moved]) / width for end in (0.0, MORE if dynamic else 1.0))
    grown = [float(GROWING["temperature_slope"]) / SLOPE - 1] * len(scales)
    known = [[*((lists(GROWING) - start)[:, moved] / width).flatten().tolist(), *grown]] if dynamic else []
    return list_space(rope, scales, low.flatten().tolist(), high.flatten().tolist(), exponents, dynamic, known)
