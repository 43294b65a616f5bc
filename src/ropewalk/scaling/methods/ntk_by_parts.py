"""NTK-by-parts interpolation."""

from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.ramp import blend, interpolated
from ropewalk.scaling.rope import Rope


@method("ntk_by_parts", source="Peng et al. 2023, arXiv:2309.00071v2, Def. 2; ramp as in jquesnelle/yarn@995db5b")
def ntk_by_parts(
    rope: Rope,
    factor: float,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
    ramp: str = "index",
) -> Scaled:
    """Keep pairs that turned often, slow pairs that never came round by s, and ramp between.

        theta'_i = gamma_i theta_i + (1 - gamma_i) theta_i / s          (eq. 20)
        gamma_i  = 1 from beta_fast turns upwards, 0 from beta_slow downwards, linear between (eq. 18)

    beta_fast, beta_slow: turns within the original length (the paper's beta and alpha).
    truncate: round the ends of an "index" ramp outwards to whole pairs.
    ramp: "index", linear in pair index as in the released code, or "turns", as in the paper: see scaling/ramp.py.

    The attention factor stays 1: with a temperature this is yarn.
    """
    shares = interpolated(rope, beta_fast=beta_fast, beta_slow=beta_slow, truncate=truncate, ramp=ramp)
    return Scaled(blend(rope, factor, shares))
