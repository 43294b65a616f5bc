"""YaRN."""

import math

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, check_positive, method
from ropewalk.scaling.ramp import blend, interpolated
from ropewalk.scaling.rope import Rope, is_number


@method("yarn", source="Peng et al. 2023, arXiv:2309.00071v2, Def. 3; ramp as in jquesnelle/yarn@995db5b")
def yarn(
    rope: Rope,
    factor: float,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    ramp: str = "index",
    attention_factor: float | None = None,
    temperature_slope: float = 0.1,
    beta_growth: float = 0.0,
    softmax_mscale: float = 0.0,
) -> Scaled:
    """NTK-by-parts, with attention sharpened by m on cos and sin to make up for the longer row.

        theta'_i = gamma_i theta_i + (1 - gamma_i) theta_i / s          (eq. 20)
        m        = sqrt(1/t) = 0.1 ln(s) + 1                            (eq. 22)

    beta_fast, beta_slow, truncate, ramp: as in ntk_by_parts.
    attention_factor: m itself (an absolute value, not a multiplier); None computes it from the slope.
    temperature_slope: the 0.1 of eq. 22, fitted to Llama; the authors' Mistral models use 0.07.
    beta_growth: g, which lets the ramp's fast end depend on the scale, beta_fast s^g, never below beta_slow. 0 is the paper; 1
        keeps pairs by their turns within the length that is read (`ropewalk fit` uses it). No config can name it.

    softmax_mscale: a, which multiplies the softmax scale of latent attention by (0.1 a ln s + 1)^2, so that what does not
        rotate is sharpened too: mscale_all_dim of DeepSeek's configs, 1 in DeepSeek-V3 and R1. 0 leaves the softmax alone.

    Logits grow by m^2, of every pair, at distance 0 too. With partial rotation only rotated channels are sharpened;
    scaling the softmax instead, as DeepSeek's own code does (attention_factor 1, softmax_mscale 1), is another model.
    """
    if not is_number(temperature_slope) or temperature_slope < 0:
        raise BadOption(f"temperature_slope is {temperature_slope!r}; it must be a finite number of 0 or more.")
    if not is_number(beta_growth) or abs(beta_growth) > 4:
        raise BadOption(f"beta_growth is {beta_growth!r}; it must be a number from -4 to 4.")
    if not is_number(softmax_mscale) or softmax_mscale < 0:
        raise BadOption(f"softmax_mscale is {softmax_mscale!r}; it must be a finite number of 0 or more.")
    check_positive(beta_fast=beta_fast, beta_slow=beta_slow)
    if beta_growth:
        beta_fast = max(beta_fast * factor**beta_growth, beta_slow)
    shares = interpolated(rope, beta_fast=beta_fast, beta_slow=beta_slow, truncate=truncate, ramp=ramp)
    m = temperature_slope * math.log(factor) + 1.0 if attention_factor is None else attention_factor
    sharper = mscale(factor, softmax_mscale)
    return Scaled(blend(rope, factor, shares), m, softmax_factor=sharper * sharper)


def mscale(factor: float, slope: float = 1.0) -> float:
    """m = 0.1 slope ln(s) + 1, as configs have it: eq. 22, with DeepSeek's slope."""
    return 0.1 * slope * math.log(factor) + 1.0 if factor > 1 else 1.0
