"""Position Interpolation."""

from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope


@method("linear", source="Chen et al. 2023, arXiv:2306.15595, eq. 4")
def linear(rope: Rope, factor: float) -> Scaled:
    """Divide every position by s, which slows every pair by the whole factor.

        f'(x, m) = f(x, m / s), so theta'_i = theta_i / s

    It also slows the fast pairs that tell neighbouring tokens apart; that is what it costs without training.
    """
    return Scaled(tuple(theta / factor for theta in rope.inv_freq))
