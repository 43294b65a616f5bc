"""A ramp of any shape, and for a causal plan one that changes with the scale."""

import math
from collections.abc import Sequence

import torch

from ropewalk.jobs.fit.family import Space, family
from ropewalk.scaling.plan import Stretch, normal_options
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

TURNS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0, 16.0, 32.0)
ROWS = 4  # scales with knots of their own, where the plan is causal: 1, the factor, and two between
SOME = 4.0  # turns at which moves are half as large
SLOPE = 0.1  # the paper's


@family("knots", can_be_dynamic=True)
def knots(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """How much each of ten turns is interpolated, at four scales if causal, and a temperature slope at each scale.

    g = YaRN's + 0.2 u / (1 + turns / 4), inside [0, 1]; a = 0.1 (1 + u / 2). It need not fall with the turns: see docs/fit.md.
    """
    rows = ROWS if dynamic else 1
    scales = [factor ** (k / (rows - 1)) for k in range(rows)] if dynamic else [factor]
    start = torch.tensor([_ramp(rope, 1.0, 32.0)] * rows, dtype=torch.float64)
    width = 0.2 / (1 + torch.tensor(TURNS, dtype=torch.float64) / SOME).expand(rows, -1)
    theta, of_pair = torch.tensor(rope.inv_freq, dtype=torch.float64), _between(TURNS, rope.turns)

    def numbers(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(shares (rows, turns), slopes (rows,))."""
        return start + width * u[:-rows].view(rows, -1), SLOPE * (1 + u[-rows:] / 2)

    def law(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        shares, slopes = numbers(u)
        of_scale = _between(scales, [scale])[0]
        share = of_pair @ (of_scale @ shares)
        return (1 - share) * theta + share * theta / scale, 1 + (of_scale @ slopes) * math.log(scale)

    def stretch(u: Sequence[float]) -> Stretch:
        shares, slopes = numbers(torch.tensor(u, dtype=torch.float64))
        options = {
            "turns": TURNS, "shares": tuple(shares.clamp(0, 1).flatten().tolist()), "scales": tuple(scales),
            "slopes": tuple(slopes.tolist()),
        }  # fmt: skip
        return Stretch(rope, "knots", factor, normal_options("knots", options), dynamic)

    low, high = (-start / width).flatten().tolist(), ((1 - start) / width).flatten().tolist()
    known = [_growing(rope, scales, start, width)] if dynamic else []
    return Space((*low, *[-6.0] * rows), (*high, *[6.0] * rows), law, stretch, tuple(known))


def _ramp(rope: Rope, slow: float, fast: float) -> list[float]:
    """YaRN's 1 - gamma at each knot."""
    start, end = rope.pair_turning(fast), rope.pair_turning(slow)
    return [min(max((rope.pair_turning(t) - start) / (end - start), 0.0), 1.0) for t in TURNS]


def _growing(rope: Rope, scales: Sequence[float], start: torch.Tensor, width: torch.Tensor) -> tuple[float, ...]:
    """The law of the family yarn that was found by hand: betas 2.5 s and 0.8, half the slope."""
    wanted = torch.tensor([_ramp(rope, 0.8, 2.5 * s) for s in scales], dtype=torch.float64)
    return (*((wanted - start) / width).flatten().tolist(), *[-1.0] * len(scales))


def _between(knots: Sequence[float], points: Sequence[float]) -> torch.Tensor:
    """(points, knots) weights of linear interpolation in logarithms; outside the knots the nearest counts."""
    x = torch.tensor(knots, dtype=torch.float64).log()
    at = torch.tensor(points, dtype=torch.float64).log().clamp(x[0], x[-1])
    weights = torch.zeros(len(points), len(knots), dtype=torch.float64)
    for row, value in enumerate(at):
        left = min(int(torch.searchsorted(x, value, right=True)), len(x) - 1) - 1 if len(x) > 1 else 0
        along = (value - x[left]) / (x[left + 1] - x[left]) if len(x) > 1 else torch.zeros(())
        weights[row, left] = 1 - along
        if len(x) > 1:
            weights[row, left + 1] = along
    return weights
