"""A family is a few numbers and what they make of a rotary embedding; the folder `families/` is the registry."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ropewalk.errors import BadOption
from ropewalk.registry import Registry
from ropewalk.scaling.method import Option, get_method
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch, normal_options

# Yarn's options that read best under the causal schedule on the bundled model, found by hand with documents that are not
# reported on (docs/fit.md): 2.5 s turns and more are kept, 0.8 and fewer slowed by all of s, half the paper's slope.
GROWING: Mapping[str, Any] = {
    "beta_fast": 2.5, "beta_growth": 1.0, "beta_slow": 0.8, "temperature_slope": 0.05, "truncate": False,
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """What a search moves in: points u of a box, float64, of a scale of about 1; 0 is the paper's numbers.

    frequencies: (u, s) -> (inv_freq, attention factor) at scale s, float64, differentiable in u.
    stretch: the same as a Stretch of the registry's methods; nothing else is written or measured.
    known: points besides 0 that were good on some model; the search begins at the best of them.
    flat: a point whose attention factor is 1 at every scale, where one is known: what latent attention begins at.
    near: u -> w, the tokens of its near distances, where it has such: a whole number, with the gradient of what was rounded.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    frequencies: Callable[[torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]
    stretch: Callable[[Sequence[float]], Stretch]
    known: tuple[tuple[float, ...], ...] = ()
    flat: tuple[tuple[float, ...], ...] = ()
    near: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def starts(self) -> list[list[float]]:
        return [[0.0] * self.size, *map(list, self.known)]

    def keeping(self, softmax_mscale: float) -> "Space":
        """The same, beside this factor of the softmax. Raises BadOption for a family whose method has no word for it."""
        if not softmax_mscale:
            return self

        def stretch(u: Sequence[float]) -> Stretch:
            found = self.stretch(u)
            if "softmax_mscale" not in get_method(found.method).defaults:
                raise BadOption(
                    f"this model's own yarn scales the softmax of its latent attention (softmax_mscale {softmax_mscale:g}),\n"
                    f"  and {found.method} has no word for that. Take the family yarn (--family yarn)."
                )
            options = {**dict(found.options), "softmax_mscale": softmax_mscale}
            return replace(found, options=normal_options(found.method, options))

        return replace(self, stretch=stretch, known=(*self.known, *self.flat))

    def inside(self, u: torch.Tensor) -> torch.Tensor:
        """The nearest point of the box."""
        return u.clamp(torch.tensor(self.low, dtype=u.dtype), torch.tensor(self.high, dtype=u.dtype))


# (rope, factor, how dynamic) -> its space
Build = Callable[[Rope, float, Dynamic | None], Space]


@dataclass(frozen=True)
class SearchFamily:
    """rivals: names of plans that its best must beat too, beside those of `compare.BASELINES`."""

    name: str
    summary: str
    build: Build
    can_be_dynamic: bool
    must_be_dynamic: bool = False
    rivals: tuple[str, ...] = ()

    def check(self, *, dynamic: bool) -> None:
        if self.must_be_dynamic and not dynamic:
            raise BadOption(
                f"{self.name} is searched under the causal schedule alone, where nothing changes within the original length.\n"
                "  Add causal (--causal), or take another family for a plan of one scale."
            )
        if dynamic and not self.can_be_dynamic:
            able = [name for name, family in families().items() if family.can_be_dynamic]
            raise BadOption(
                f"{self.name} fits one list of factors for one scale, and a causal plan has many scales.\n"
                f"  Fit it without causal (--causal), or take the family {' or '.join(able)}, one rule for all scales."
            )

    def space(self, rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
        self.check(dynamic=dynamic is not None)
        return self.build(rope, factor, dynamic)


_FAMILIES: Registry[SearchFamily] = Registry("family", "ropewalk.jobs.fit.families")


def family(
    name: str, *, can_be_dynamic: bool = False, must_be_dynamic: bool = False, rivals: tuple[str, ...] = ()
) -> Callable[[Build], Build]:
    """Register a family; its summary is the first line of the docstring."""

    def register(build: Build) -> Build:
        summary, able = (build.__doc__ or "").partition("\n")[0], can_be_dynamic or must_be_dynamic
        _FAMILIES.add(name, SearchFamily(name, summary, build, able, must_be_dynamic, rivals))
        return build

    return register


def families() -> Mapping[str, SearchFamily]:
    """Every registered family by name, in name order."""
    return _FAMILIES.known()


def get_family(name: str) -> SearchFamily:
    return _FAMILIES.get(name)


SLOPE = 0.1  # of the paper's temperature; u = 0 starts there
RELEASED: Mapping[str, Option] = {}


def yarn_exponents(rope: Rope, factor: float, options: Mapping[str, Option] = RELEASED) -> tuple[float, ...]:
    """g_i of f_i = s^(g_i), of yarn: 1 for a pair slowed by the whole factor, 0 for one that is kept."""
    stretched = get_method("yarn")(rope, factor, **options).inv_freq
    slowed = (math.log(theta / new) / math.log(factor) for theta, new in zip(rope.inv_freq, stretched, strict=True))
    return tuple(min(max(g, 0.0), 1.0) for g in slowed)


# Turns at which a ramp may bend. Below the first a pair has the first's exponent, from the last upwards the last's.
KNOTS = (0.25, 0.8, 2.0, 5.0, 13.0, 35.0)


def through_knots(rope: Rope) -> Callable[[torch.Tensor], torch.Tensor]:
    """(knots,) -> (pairs,): piecewise linear in ln(turns)."""
    knots = torch.tensor([math.log(t) for t in KNOTS], dtype=torch.float64)
    at = torch.tensor([math.log(t) for t in rope.turns], dtype=torch.float64).clamp(knots[0], knots[-1])
    left = torch.bucketize(at, knots, right=True).clamp(1, len(knots) - 1) - 1
    along = (at - knots[left]) / (knots[left + 1] - knots[left])
    return lambda g: (1 - along) * g[left] + along * g[left + 1]


def at_knots(rope: Rope, numbers: Sequence[float]) -> list[float]:
    """Of one number for each pair, those of the pairs that turn about as often as the knots say."""
    return [numbers[min(max(round(rope.pair_turning(t)), 0), len(numbers) - 1)] for t in KNOTS]


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

    def frequencies(u: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
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

    return Space((*low, *[-1.0] * n), (*high, *[2.0] * n), frequencies, stretch, tuple(map(tuple, known)))
