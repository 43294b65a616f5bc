"""LongRoPE: one searched factor per pair."""

import math

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
    attention_factor: float | None = None,
) -> Scaled:
    """Divide each pair by its own factor from a list: the universal carrier of any static method.

        theta'_i = theta_i / f_i,  f = long_factor if s > 1 else short_factor
        m        = sqrt(1 + ln(s) / ln(L))

    long_factor, short_factor: rotary_dim / 2 factors, beyond and within the original length; short None means ones.
    attention_factor: m itself; None computes it.

    LongRoPE's un-rescaled first tokens (n-hat) are not done; no released model has them.
    """
    pairs = rope.rotary_dim // 2
    for name, value in {"long_factor": long_factor, "short_factor": short_factor}.items():
        if value is not None:
            _check(name, value, pairs)
    chosen = long_factor if factor > 1 else short_factor
    factors = (1.0,) * pairs if chosen is None else tuple(chosen)
    m = attention_factor
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
