"""A larger base (ABF)."""

from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope


@method("rope_theta", source="Xiong et al. 2023, arXiv:2309.16039, section 4.1 (adjusted base frequency)")
def rope_theta(rope: Rope, factor: float, *, rope_theta: float) -> Scaled:
    """Replace the base by one you chose, as Llama 2 Long (500 000) and Code Llama (1 000 000) did.

        theta'_i = b'^(-2i/d)

    rope_theta: b', the new base.

    The factor is not used: it is ntk that derives a base from it. Meant to be followed by training.
    """
    return Scaled(Rope(rope.rotary_dim, rope_theta, rope.original_length).inv_freq)
