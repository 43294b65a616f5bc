"""LongRoPE's space: every pair its own factor."""

import torch

from ropewalk.jobs.fit.family import Space, family
from ropewalk.jobs.fit.lists import list_space, yarn_exponents
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

OFTEN = 32.0  # turns from which a pair is kept
SOME = 4.0  # turns at which moves are half as large


@family("free")
def free(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Every pair that turned less than 32 times its own factor from 1 to s, and a temperature; written as longrope.

    f_i = s^(g_i), g_i = yarn's + 0.3 u_i / (1 + turns_i / 4), inside [0, 1]: a pair that turns often sees the same change of
    its factor as a larger change of angle.
    """
    start = torch.tensor(yarn_exponents(rope, factor), dtype=torch.float64)
    turns = torch.tensor(rope.turns, dtype=torch.float64)
    moved = [i for i, r in enumerate(rope.turns) if r < OFTEN]
    width = 0.3 / (1 + turns[moved] / SOME)

    def exponents(u: torch.Tensor) -> torch.Tensor:
        return start.index_add(0, torch.tensor(moved), width * u)

    low, high = (-start[moved] / width).tolist(), ((1 - start[moved]) / width).tolist()
    return list_space(rope, factor, low, high, exponents)
