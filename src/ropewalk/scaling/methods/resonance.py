"""Resonance RoPE."""

import math

from ropewalk.scaling.method import Option, Scaled, get_method, method
from ropewalk.scaling.rope import Rope


@method("resonance", source="Wang et al. 2024, arXiv:2403.00071, section 4.2")
def resonance(rope: Rope, factor: float, *, over: str = "yarn") -> Scaled:
    """Round every wavelength of another method to whole tokens, so that a turn ends on a token.

        theta'_i = 2 pi / round(2 pi / theta_i)

    over: the method whose frequencies are rounded, with its own defaults.

    Unlike the others it changes frequencies at s = 1 too: a pair of 6.28 tokens a turn gets 6. Pairs that never come
    round within the window move by less than half a token in thousands.
    """
    options: dict[str, Option] = {}
    scaled = get_method(over)(rope, factor, **options)
    return Scaled(tuple(_resonant(theta) for theta in scaled.inv_freq), scaled.attention_factor)


def _resonant(theta: float) -> float:
    return 2 * math.pi / round(2 * math.pi / theta) if theta > 0 else 0.0
