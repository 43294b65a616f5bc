"""A family is a few numbers and what they make of a rotary embedding; the folder `families/` is the registry."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ropewalk.errors import BadOption, UnknownName
from ropewalk.scaling.plan import Stretch
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

# Yarn's options that read best under the causal schedule on the bundled model, found by hand with documents that are not
# reported on (docs/fit.md): 2.5 s turns and more are kept, 0.8 and fewer slowed by all of s, half the paper's slope.
GROWING: Mapping[str, Any] = {
    "beta_fast": 2.5, "beta_growth": 1.0, "beta_slow": 0.8, "temperature_slope": 0.05, "truncate": False,
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """What a search moves in: points u of a box, float64, of a scale of about 1; 0 is the paper's numbers.

    law: (u, s) -> (inv_freq, attention factor) at scale s, float64, differentiable in u.
    stretch: the same as a Stretch of the registry's methods; nothing else is written or measured.
    known: points besides 0 that were good on some model; the search begins at the best of them.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    law: Callable[[torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]
    stretch: Callable[[Sequence[float]], Stretch]
    known: tuple[tuple[float, ...], ...] = ()

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def starts(self) -> list[list[float]]:
        return [[0.0] * self.size, *map(list, self.known)]

    def inside(self, u: torch.Tensor) -> torch.Tensor:
        """The nearest point of the box."""
        return u.clamp(torch.tensor(self.low, dtype=u.dtype), torch.tensor(self.high, dtype=u.dtype))


# (rope, factor, how dynamic) -> its space
Build = Callable[[Rope, float, Dynamic | None], Space]


@dataclass(frozen=True)
class Family:
    name: str
    summary: str
    build: Build
    can_be_dynamic: bool

    def space(self, rope: Rope, factor: float, dynamic: Dynamic | None) -> Space:
        if dynamic and not self.can_be_dynamic:
            able = [name for name, family in families().items() if family.can_be_dynamic]
            raise BadOption(
                f"{self.name} fits one list of factors for one scale, and a causal plan has many scales.\n"
                f"  Fit it without --causal, or take the family {' or '.join(able)}, one law for all scales."
            )
        return self.build(rope, factor, dynamic)


_FAMILIES: dict[str, Family] = {}


def family(name: str, *, can_be_dynamic: bool = False) -> Callable[[Build], Build]:
    """Register a family; its summary is the first line of the docstring."""

    def register(build: Build) -> Build:
        _FAMILIES[name] = Family(name, (build.__doc__ or "").partition("\n")[0], build, can_be_dynamic)
        return build

    return register


@cache
def _discover() -> None:
    package = importlib.import_module("ropewalk.jobs.fit.families")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def families() -> Mapping[str, Family]:
    """Every registered family by name, in name order."""
    _discover()
    return dict(sorted(_FAMILIES.items()))


def get_family(name: str) -> Family:
    known = families()
    if name not in known:
        raise UnknownName("family", name, known)
    return known[name]
