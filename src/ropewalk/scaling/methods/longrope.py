"""LongRoPE: one searched factor per pair."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, check_positive, method
from ropewalk.scaling.rope import Rope


@method("longrope", source="Ding et al. 2024, arXiv:2402.13753; microsoft/LongRoPE@c9e56aa, rope/longrope.py")
def longrope(
    rope: Rope,
    factor: float,
    *,
    long_factor: tuple[float, ...],
    short_factor: tuple[float, ...] | None = None,
    attention_factor: float | tuple[float, ...] | None = None,
    scales: tuple[float, ...] | None = None,
) -> Scaled:
    """Divide each pair by its own factor from a list: the universal carrier of any method.

        theta'_i = theta_i / f_i,  f = long_factor if s > 1 else short_factor
        m        = sqrt(1 + ln(s) / ln(L))

    long_factor, short_factor: rotary_dim / 2 factors, beyond and within the original length; short None means ones.
    attention_factor: m itself; None computes it.
    scales: one rule for every scale up to the last of these. long_factor is then a list for each of them, one after another,
        and attention_factor a number for each; between them, and from 0 and 1 at s = 1 on, ln f and m are linear in ln s.
        Such lists can be dynamic (`ropewalk fit --causal --family free` writes them); no config can name them.

    LongRoPE's un-rescaled first tokens (n-hat) are not done; no released model has them.
    """
    pairs = rope.rotary_dim // 2
    if scales is not None:
        long_factor, attention_factor = _at(factor, long_factor, attention_factor, scales, pairs)
    for name, value in {"long_factor": long_factor, "short_factor": short_factor}.items():
        if value is not None:
            _check(name, value, pairs)
    chosen = long_factor if factor > 1 else short_factor
    factors = (1.0,) * pairs if chosen is None else tuple(chosen)
    m = attention_factor
    if isinstance(m, list | tuple):
        raise BadOption("attention_factor is a list; it must be one number, unless `scales` says what each is for.")
    if m is None and factor > 1 and rope.original_length == 1:
        raise BadOption("original_length is 1, whose logarithm is 0: longrope needs an attention_factor there.")
    if m is None:
        m = math.sqrt(1 + math.log(factor) / math.log(rope.original_length)) if factor > 1 else 1.0
    return Scaled(tuple(theta / f for theta, f in zip(rope.inv_freq, factors, strict=True)), m)


def _check(name: str, factors: tuple[float, ...], pairs: int) -> None:
    """Both lists, whichever serves now: an engine switches between them."""
    if not isinstance(factors, list | tuple):
        raise BadOption(f"{name} is {factors!r}; it must be a list of numbers, one per pair.")
    if len(factors) != pairs:
        raise BadOption(
            f"longrope was given {len(factors)} factors for {pairs} pairs (rotary_dim {2 * pairs} / 2).\n"
            "  The list belongs to a model with another head size or partial rotation."
        )
    check_positive(**{f"{name}[{i}]": f for i, f in enumerate(factors)})


def _at(
    factor: float, long_factor: Sequence[float], m: object, scales: Sequence[float], pairs: int
) -> tuple[tuple[float, ...], float]:
    """The list and the attention factor at one scale, from those of the scales around it."""
    for name, value in {"long_factor": long_factor, "scales": scales, "attention_factor": m}.items():
        if not isinstance(value, list | tuple):
            raise BadOption(f"{name} is {value!r}; with `scales` it must be a list of numbers.")
    at, ms = (1.0, *scales), (1.0, *m)  # type: ignore[misc]
    if len(at) == 1 or not all(a < b for a, b in pairwise(at)):
        raise BadOption(f"scales is {tuple(scales)}; it must be numbers above 1, each larger than the one before.")
    if len(long_factor) != pairs * len(scales) or len(ms) != len(at):
        raise BadOption(
            f"longrope was given {len(long_factor)} factors and {len(ms) - 1} attention factors; {len(scales)} scales of "
            f"{pairs} pairs need {pairs * len(scales)} and {len(scales)}."
        )
    if factor > at[-1] * (1 + 1e-12):
        raise BadOption(
            f"longrope's lists end at factor {at[-1]:g}, and say nothing of factor {factor:g}.\n  Fit again at that factor."
        )
    _check("long_factor", tuple(long_factor), len(long_factor))
    lists = [(1.0,) * pairs, *(tuple(long_factor[k : k + pairs]) for k in range(0, len(long_factor), pairs))]
    k = min(bisect_right(at, factor), len(scales))
    w = min(math.log(factor / at[k - 1]) / math.log(at[k] / at[k - 1]), 1.0)
    return tuple(a ** (1 - w) * b**w for a, b in zip(lists[k - 1], lists[k], strict=True)), (1 - w) * ms[k - 1] + w * ms[k]
