"""Plain RoPE."""

from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope


@method("none", source="Su et al. 2021, arXiv:2104.09864, eq. 15")
def none(rope: Rope, factor: float) -> Scaled:
    """Leave every pair as it was trained: the baseline everywhere.

        theta'_i = theta_i

    The factor is ignored. Past the original length slow pairs reach angles the model has never seen.
    """
    return Scaled(rope.inv_freq)
