"""Near distances as trained: how far they reach, and how what lies beyond them turns."""

import math
from collections.abc import Sequence

import torch

from ropewalk.errors import BadLength
from ropewalk.jobs.fit.family import KNOTS, SLOPE, Space, at_knots, family, through_knots, yarn_exponents
from ropewalk.scaling.method import Option
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch, normal_options

# Found by hand on the bundled model (docs/near.md). The search begins at these two, and must beat them.
BEST = ("near-0.25-linear-log_n", "near-0.375-self_extend-log_n")
LEAST, START, GROUPS, MOST = 1 / 16, 0.25, 0.375, 7 / 8  # w as shares of L: its bounds, and that of either start
STEP = 0.3  # of an exponent, where u moves by 1
FASTEST = 1.25  # the largest exponent; 1 slows a pair by all of s
WHOLE = 0.5  # above this the last number of u says whole groups


@family("near", must_be_dynamic=True, rivals=BEST)
def near(rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
    """Near distances as trained, and one law of far ones for every scale: w, exponents at six knots, a temperature.

    w = 2^u0 L / 4, rounded, from L/16 to 7 L/8. Far distances turn by theta'_i = theta_i / s^(g_i), g piecewise linear in
    ln(turns) through g_k = 1 + 0.3 u_k at six knots, inside [0, 1.25]; m = 1 + 0.1 u7 ln s, near and far. Written as longrope
    with `near` and `log_n`. u = 0 is near-0.25-linear-log_n.

    The last number says above 1/2 that far distances turn in whole groups instead, as self_extend has it, without a list and
    without a temperature: then w alone counts. No gradient leads from one to the other, so there is a start of each.
    """
    length = rope.original_length
    if length < 2:
        raise BadLength(f"original_length is {length}; near and far distances need 2 tokens at least.")
    theta, pairs = torch.tensor(rope.inv_freq, dtype=torch.float64), through_knots(rope)

    def width(u: torch.Tensor) -> torch.Tensor:
        exact = length * START * 2 ** u[0]
        return exact + (min(max(round(exact.item()), 1), length - 1) - exact.detach())

    def exponents(u: torch.Tensor) -> torch.Tensor:
        return pairs(1 + STEP * u[1:7])

    def frequencies(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        w = width(u)
        # A wider w leaves less of L to far distances: the scale that a position needs grows by (s - 1) / (L - w) a token.
        ln_s = (scale + (scale - 1) / (length - w.item()) * (w - w.detach())).log()
        if u[-1] > WHOLE and scale > 1:
            return theta / math.ceil(scale - 1e-9) * (math.log(scale) - ln_s).exp(), torch.ones_like(ln_s)
        return theta * (-exponents(u) * ln_s).exp(), 1 + SLOPE * u[7] * ln_s

    def stretch(point: Sequence[float]) -> Stretch:
        u = torch.tensor(point, dtype=torch.float64)
        groups = Stretch(rope, "self_extend", factor, (), dynamic, round(width(u).item()), log_n=True)
        if u[-1] > WHOLE:
            return groups
        largest = groups.largest_scale
        options: dict[str, Option] = {
            "long_factor": tuple((exponents(u) * math.log(largest)).exp().tolist()),
            "attention_factor": (1 + SLOPE * point[7] * math.log(largest),),
            "scales": (largest,),
        }
        return Stretch(rope, "longrope", factor, normal_options("longrope", options), dynamic, groups.near, log_n=True)

    ramp = [(g - 1) / STEP for g in at_knots(rope, yarn_exponents(rope, factor))]
    known = ((math.log2(GROUPS / START), *[0.0] * 7, 1.0), (1.0, *ramp, 0.0, 0.0))  # whole groups; yarn's ramp beyond L/2
    low = (math.log2(LEAST / START), *[-1 / STEP] * len(KNOTS), -0.5, 0.0)
    high = (math.log2(MOST / START), *[(FASTEST - 1) / STEP] * len(KNOTS), 1.0, 1.0)
    return Space(low, high, frequencies, stretch, known, near=width)
