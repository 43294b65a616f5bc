"""Proportional RoPE (p-RoPE)."""

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope, is_number


@method("proportional", source="Barbero et al. 2024, arXiv:2410.06205; transformers 5.23.0 (Gemma 4)")
def proportional(rope: Rope, factor: float, *, proportion: float = 1.0) -> Scaled:
    """Rotate only the fastest pairs, at their usual speed over s, and never the slow ones.

        theta'_i = theta_i / s for i < p d / 2, else 0

    proportion: p, between 0 and 1. Here rotary_dim is the whole head.

    Partial rotation spends rotary_dim = p head_dim on the full range of speeds; this keeps the speeds of the full head
    and drops the slow end. The two share a key (partial_rotary_factor) in configs and are different models.
    """
    if not is_number(proportion) or not 0 < proportion <= 1:
        raise BadOption(f"proportion is {proportion!r}; it must be above 0 and at most 1.")
    rotated = int(proportion * rope.rotary_dim // 2)
    return Scaled(tuple(theta / factor if i < rotated else 0.0 for i, theta in enumerate(rope.inv_freq)))
