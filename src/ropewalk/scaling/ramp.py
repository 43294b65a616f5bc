"""The ramp of NTK-by-parts and YaRN: how much of each pair is interpolated.

The paper and its released code disagree. The paper (eq. 18) ramps linearly in *turns*, the code linearly in *pair
index*, that is, in the logarithm of turns. For Llama 2 at s = 16 one pair turns 3.04 times faster under the code's
ramp. Released checkpoints (Yarn-Llama, DeepSeek, Qwen, gpt-oss, Kimi) follow the code, so "index" is the default.
"""

import math

from ropewalk.errors import BadOption
from ropewalk.scaling.method import check_positive
from ropewalk.scaling.rope import Rope


def interpolated(rope: Rope, *, beta_fast: float, beta_slow: float, truncate: bool, ramp: str) -> tuple[float, ...]:
    """1 - gamma for each pair: 0 where it keeps its speed, 1 where it is slowed by the whole factor.

    beta_fast, beta_slow: turns within the original length at or above / below which a pair is kept / interpolated.
    truncate: round the ends of an "index" ramp outwards to whole pairs (gpt-oss does not).

    Source: Peng et al. 2023, arXiv:2309.00071v2, eq. 18; jquesnelle/yarn@995db5b for "index".
    """
    check_positive(beta_fast=beta_fast, beta_slow=beta_slow)
    if beta_fast < beta_slow:
        raise BadOption(
            f"beta_fast is {beta_fast:g} and beta_slow {beta_slow:g}; pairs that turn often are kept, so beta_fast must be "
            "the larger.\n  Swap them."
        )
    if ramp == "index":
        return _linear_in_index(rope, beta_fast, beta_slow, truncate)
    if ramp == "turns":
        return _linear_in_turns(rope, beta_fast, beta_slow)
    raise BadOption(f"ramp is {ramp!r}; it must be 'index' (as in the released code) or 'turns' (as in the paper).")


def _linear_in_index(rope: Rope, beta_fast: float, beta_slow: float, truncate: bool) -> tuple[float, ...]:
    start, end = rope.pair_turning(beta_fast), rope.pair_turning(beta_slow)
    if truncate:
        start, end = math.floor(start), math.ceil(end)
    # The released code clamps to rotary_dim - 1 although pairs stop at rotary_dim / 2 - 1; so do the checkpoints.
    start, end = max(start, 0), min(end, rope.rotary_dim - 1)
    width = 0.001 if start == end else end - start  # a ramp of no width is a step
    return tuple(_clamp((i - start) / width) for i in range(rope.rotary_dim // 2))


def _linear_in_turns(rope: Rope, beta_fast: float, beta_slow: float) -> tuple[float, ...]:
    if beta_fast == beta_slow:
        return tuple(float(turns < beta_slow) for turns in rope.turns)
    return tuple(_clamp((beta_fast - turns) / (beta_fast - beta_slow)) for turns in rope.turns)


def _clamp(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def blend(rope: Rope, factor: float, shares: tuple[float, ...]) -> tuple[float, ...]:
    """h(theta_i) = gamma theta_i + (1 - gamma) theta_i / s (eq. 20), with shares = 1 - gamma."""
    if factor == 1:
        return rope.inv_freq  # gamma theta + (1 - gamma) theta is theta, but not always to the last bit
    return tuple((1 - share) * theta + share * theta / factor for theta, share in zip(rope.inv_freq, shares, strict=True))
