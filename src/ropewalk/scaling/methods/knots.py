"""YaRN with a ramp of any shape, which may change with the scale."""

import math
from bisect import bisect_right
from typing import Any

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, check_positive, method
from ropewalk.scaling.ramp import blend
from ropewalk.scaling.rope import Rope, is_number


@method("knots", source="Ropewalk's own; with the defaults it is Peng et al. 2023, arXiv:2309.00071v2, Def. 3, not rounded")
def knots(
    rope: Rope,
    factor: float,
    *,
    turns: tuple[float, ...] = (1.0, 32.0),
    shares: tuple[float, ...] = (1.0, 0.0),
    scales: tuple[float, ...] = (1.0,),
    slopes: tuple[float, ...] = (0.1,),
) -> Scaled:
    """YaRN whose ramp goes through knots in ln(turns) and ln(s), and a temperature slope for each s.

        theta'_i = (1 - g_i) theta_i + g_i theta_i / s
        m        = 1 + a ln(s)

    turns: of the knots within the original length, growing.  scales: s of each row of knots, growing.
    shares: g, 0 to 1, at every knot of the first scale, then of the second, ...  slopes: a at every scale.
    Between knots g is linear in ln(turns) and, as a is, in ln(s); outside them the nearest counts.

    `ropewalk fit --family knots` finds the numbers. No config can name it; at one scale longrope carries it.
    """
    _check(turns, shares, scales, slopes)
    row, up = _place(scales, factor)
    lower, upper = (shares[k * len(turns) :][: len(turns)] for k in (row, min(row + 1, len(scales) - 1)))
    ramp = [(1 - up) * a + up * b for a, b in zip(lower, upper, strict=True)]
    slope = (1 - up) * slopes[row] + up * slopes[min(row + 1, len(scales) - 1)]
    return Scaled(blend(rope, factor, tuple(_at(turns, ramp, r) for r in rope.turns)), 1.0 + slope * math.log(factor))


def _check(turns: Any, shares: Any, scales: Any, slopes: Any) -> None:
    for name, values in {"turns": turns, "shares": shares, "scales": scales, "slopes": slopes}.items():
        if not isinstance(values, list | tuple) or not values or not all(map(is_number, values)):
            raise BadOption(f"{name} is {values!r}; it must be a list of finite numbers.")
    for name, values in {"turns": turns, "scales": scales}.items():
        check_positive(**{f"{name}[{i}]": value for i, value in enumerate(values)})
        if list(values) != sorted(set(values)):
            raise BadOption(f"{name} is {values!r}; its numbers must grow.")
    if len(shares) != len(turns) * len(scales) or len(slopes) != len(scales):
        raise BadOption(
            f"knots was given {len(shares)} shares and {len(slopes)} slopes for {len(turns)} turns and {len(scales)} scales; "
            f"it needs {len(turns) * len(scales)} and {len(scales)}."
        )
    if not all(0 <= share <= 1 for share in shares):
        raise BadOption(f"shares is {shares!r}; a share is from 0 (kept) to 1 (slowed by the whole factor).")


def _at(turns: tuple[float, ...], ramp: list[float], r: float) -> float:
    left, along = _place(turns, r)
    return (1 - along) * ramp[left] + along * ramp[min(left + 1, len(ramp) - 1)]


def _place(knots: tuple[float, ...], x: float) -> tuple[int, float]:
    """(index of the knot below x, how far x is towards the next, in logarithms); x outside the knots is at the nearest."""
    if x <= knots[0] or len(knots) == 1:
        return 0, 0.0
    left = min(bisect_right(knots, x), len(knots) - 1) - 1
    return left, min(math.log(x / knots[left]) / math.log(knots[left + 1] / knots[left]), 1.0)
