"""YaRN's own three numbers, and how one of them grows with the scale."""

import math
from collections.abc import Sequence

import torch

from ropewalk.jobs.fit.family import GROWING, Space, family
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch, normal_options

FAST, SLOW, SLOPE = 32.0, 1.0, 0.1  # the paper's


@family("yarn", can_be_dynamic=True)
def yarn(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Both ends of YaRN's ramp and its temperature slope: one rule for every scale, so it can be causal.

    beta_slow = 2^u0, beta_fast = beta_slow 32^(2^u1) at the largest scale, slope = 0.1 (1 + u2). A causal rule has a fourth
    number, beta_growth = u3: at s the fast end is beta_fast (s / factor)^u3. The ramp is the released code's, linear in pair
    index, its ends not rounded to whole pairs. u = 0 is the paper's numbers.
    """
    theta = torch.tensor(rope.inv_freq, dtype=torch.float64)
    index = torch.arange(len(theta), dtype=torch.float64)

    def pair_turning(turns: torch.Tensor) -> torch.Tensor:  # Rope.pair_turning, in a graph
        ratio = math.log(rope.original_length / (2 * math.pi)) - turns.log()
        return rope.rotary_dim * ratio / (2 * math.log(rope.rope_theta))

    def numbers(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        slow = SLOW * 2 ** u[0]
        return slow * (FAST / SLOW) ** (2 ** u[1]), slow, SLOPE * (1 + u[2])

    def frequencies(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        fast, slow, slope = numbers(u)
        if dynamic:
            fast = torch.maximum(fast * (scale / factor) ** u[3], slow)
        start = pair_turning(fast).clamp(min=0)
        end = pair_turning(slow).clamp(max=rope.rotary_dim - 1)
        share = ((index - start) / (end - start).clamp(min=1e-3)).clamp(0, 1)  # a ramp of no width is a step
        return (1 - share) * theta + share * theta / scale, slope * math.log(scale) + 1

    def stretch(u: Sequence[float]) -> Stretch:
        fast, slow, slope = (float(value) for value in numbers(torch.tensor(u, dtype=torch.float64)))
        options = {"beta_fast": fast, "beta_slow": slow, "temperature_slope": slope, "truncate": False}
        if dynamic:
            options |= {"beta_growth": u[3], "beta_fast": fast / factor ** u[3]}
        return Stretch(rope, "yarn", factor, normal_options("yarn", options), dynamic)

    low, high = (-3.0, -2.0, -1.0, -0.5), (2.0, 1.0, 2.0, 2.0)
    if not dynamic:
        return Space(low[:3], high[:3], frequencies, stretch, ((0.0, 0.0, -0.5),), ((0.0, 0.0, -1.0),))
    fast, slow, slope, growth = (
        float(GROWING[name]) for name in ("beta_fast", "beta_slow", "temperature_slope", "beta_growth")
    )
    width = math.log(fast * factor**growth / slow) / math.log(FAST / SLOW)
    grown = (math.log2(slow / SLOW), math.log2(width), slope / SLOPE - 1, growth)
    return Space(low, high, frequencies, stretch, ((0.0, 0.0, -0.5, 0.0), grown), ((0.0, 0.0, -1.0, 0.0),))
