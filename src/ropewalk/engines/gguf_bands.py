"""Llama 3.1's scaling in a GGUF: llama.cpp's converter writes its bands as rope_freqs.weight, and not where they are from.

The bands of published models lie at 1 and 4 turns, so a factor between the first and the last says the original length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ropewalk.scaling.method import get_method
from ropewalk.scaling.rope import Rope

SLOW, FAST = 1.0, 4.0  # low_freq_factor and high_freq_factor of Llama 3.1, 3.2, 3.3 and 4
CLOSE = 2e-5  # relative: what the converter's float32 makes of a blend
WORDS = "the bands of rope_freqs.weight, which are Llama 3.1's"


@dataclass(frozen=True, slots=True)
class Bands:
    """factor: s.  original_length: tokens."""

    factor: float
    original_length: int


def bands_of(factors: Sequence[float], rope: Rope) -> Bands | None:
    """The scaling that the divisors of each pair are from; None where they are not Llama 3.1's, or do not say it."""
    last = max(factors)
    if len(factors) != len(rope.inv_freq) or last <= 1 or min(factors) < 1 - CLOSE:
        return None
    blended = [
        wavelength * (SLOW + (1 / f - 1 / last) / (1 - 1 / last) * (FAST - SLOW))
        for f, wavelength in zip(factors, rope.wavelength, strict=True)
        if 1 + CLOSE < f < last * (1 - CLOSE)
    ]
    if not blended or not all(map(math.isfinite, blended)):
        return None
    found = Bands(float(last), round(sorted(blended)[len(blended) // 2]))
    if found.original_length < 1:
        return None
    plain = Rope(rope.rotary_dim, rope.rope_theta, found.original_length)
    scaled = get_method("llama3")(plain, found.factor, beta_slow=SLOW, beta_fast=FAST)
    same = all(
        math.isclose(theta / new, f, rel_tol=CLOSE)
        for f, theta, new in zip(factors, plain.inv_freq, scaled.inv_freq, strict=True)
    )
    return found if same else None
