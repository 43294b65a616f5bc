"""What families that end in lists of factors share: the lists as a longrope stretch, and where the search starts."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from ropewalk.jobs.fit.family import Space
from ropewalk.scaling.method import Option, get_method
from ropewalk.scaling.plan import Stretch, normal_options
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

SLOPE = 0.1  # of the paper's temperature; u = 0 starts there
RELEASED: Mapping[str, Option] = {}


def yarn_exponents(rope: Rope, factor: float, options: Mapping[str, Option] = RELEASED) -> tuple[float, ...]:
    """g_i of f_i = s^(g_i), of yarn: 1 for a pair slowed by the whole factor, 0 for one that is kept."""
    stretched = get_method("yarn")(rope, factor, **options).inv_freq
    slowed = (math.log(theta / new) / math.log(factor) for theta, new in zip(rope.inv_freq, stretched, strict=True))
    return tuple(min(max(g, 0.0), 1.0) for g in slowed)


def octaves(factor: float) -> tuple[float, ...]:
    """The scales of causal lists: 2^(1/2), 2, 4, 8, ... and the factor. Ramps bend most in the first octave."""
    steps = [math.sqrt(2), *(2.0**k for k in range(1, math.ceil(math.log2(factor)) + 1))]
    return (*(s for s in steps if s < factor / 1.1), factor)


def list_space(
    rope: Rope,
    scales: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    exponents: Callable[[torch.Tensor], torch.Tensor],
    dynamic: Dynamic | None = None,
    known: Sequence[Sequence[float]] = (),
) -> Space:
    """exponents: the first numbers of u -> g, (scales, pairs); f = s^g at each scale, and ln f linear in ln s between them.

    The last numbers of u, one for each scale, are the temperature: m = 1 + 0.1 (1 + u) ln s.
    """
    theta, n = torch.tensor(rope.inv_freq, dtype=torch.float64), len(scales)
    logs = torch.tensor([0.0, *map(math.log, scales)], dtype=torch.float64)

    def lists(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(scales, pairs) ln f and (scales,) m - 1."""
        return exponents(u[:-n]) * logs[1:, None], SLOPE * (1 + u[-n:]) * logs[1:]

    def law(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        ln_f, rise = (torch.nn.functional.pad(each, (*(0, 0) * (each.dim() - 1), 1, 0)) for each in lists(u))
        k = max(int(torch.bucketize(math.log(scale), logs)), 1)
        w = (math.log(scale) - logs[k - 1]) / (logs[k] - logs[k - 1])
        return theta * (-torch.lerp(ln_f[k - 1], ln_f[k], w)).exp(), 1 + torch.lerp(rise[k - 1], rise[k], w)

    def stretch(u: Sequence[float]) -> Stretch:
        ln_f, rise = lists(torch.tensor(u, dtype=torch.float64))
        m = (1 + rise).tolist()
        options: dict[str, Option] = {"long_factor": tuple(ln_f.exp().flatten().tolist()), "attention_factor": m[0]}
        if dynamic:
            options |= {"attention_factor": tuple(m), "scales": tuple(scales)}
        return Stretch(rope, "longrope", scales[-1], normal_options("longrope", options), dynamic)

    return Space((*low, *[-1.0] * n), (*high, *[2.0] * n), law, stretch, tuple(map(tuple, known)))
