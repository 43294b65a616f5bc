"""What families that end in a list of factors share: the list as a longrope stretch, and where the search starts."""

import math
from collections.abc import Callable, Sequence

import torch

from ropewalk.jobs.fit.family import Space
from ropewalk.scaling.method import Option, get_method
from ropewalk.scaling.plan import Stretch, normal_options
from ropewalk.scaling.rope import Rope

SLOPE = 0.1  # of the paper's temperature; u = 0 starts there


def yarn_exponents(rope: Rope, factor: float) -> tuple[float, ...]:
    """g_i of f_i = s^(g_i), of yarn as released: 1 for a pair slowed by the whole factor, 0 for one that is kept."""
    released = get_method("yarn")(rope, factor).inv_freq
    slowed = (math.log(theta / new) / math.log(factor) for theta, new in zip(rope.inv_freq, released, strict=True))
    return tuple(min(max(g, 0.0), 1.0) for g in slowed)


def list_space(
    rope: Rope,
    factor: float,
    low: Sequence[float],
    high: Sequence[float],
    exponents: Callable[[torch.Tensor], torch.Tensor],
) -> Space:
    """exponents: the first numbers of u -> g_i. The last number of u is the temperature: m = 1 + 0.1 (1 + u) ln s."""
    theta = torch.tensor(rope.inv_freq, dtype=torch.float64)

    def law(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        return theta * scale ** -exponents(u[:-1]), 1 + SLOPE * (1 + u[-1]) * math.log(scale)

    def stretch(u: Sequence[float]) -> Stretch:
        inv_freq, m = law(torch.tensor(u, dtype=torch.float64), factor)
        options: dict[str, Option] = {"long_factor": tuple((theta / inv_freq).tolist()), "attention_factor": float(m)}
        return Stretch(rope, "longrope", factor, normal_options("longrope", options))

    return Space((*low, -1.0), (*high, 2.0), law, stretch)
