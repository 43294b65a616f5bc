"""NTK-aware interpolation."""

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope


@method("ntk", source="bloc97 2023; Peng et al. 2023, arXiv:2309.00071v2, Def. 1")
def ntk(rope: Rope, factor: float) -> Scaled:
    """Raise the base so that the first pair keeps its speed and the last is slowed by exactly s.

        b' = b s^(d / (d - 2)),  theta'_i = b'^(-2i/d)

    Pairs between the two are slowed by less than s, so some still leave the range of angles they were trained on:
    usable lengths end before s L. This is not vLLM's rope_type "ntk", which is another formula.
    """
    theta = stretched_theta(rope, factor)
    return Scaled(Rope(rope.rotary_dim, theta, rope.original_length).inv_freq)


def stretched_theta(rope: Rope, factor: float) -> float:
    """b' of the definition: the plain rope_theta that any engine can read."""
    if rope.rotary_dim == 2:
        raise BadOption("ntk cannot stretch a rotary_dim of 2: its only pair is both the first, kept, and the last, slowed.")
    if not factor > 0:
        raise BadOption(f"ntk by {factor:g}: the base can only be stretched by a number above 0.")
    try:
        return float(rope.rope_theta * factor ** (rope.rotary_dim / (rope.rotary_dim - 2)))
    except OverflowError:
        raise BadOption(f"ntk by {factor:g}: the base would be beyond the largest number.") from None
