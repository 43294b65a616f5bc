"""Self-Extend: far distances in whole groups."""

import math

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope, is_number


@method("self_extend", source="Jin et al. 2024, arXiv:2401.01325, eq. 4; datamllab/LongLM@cdbbb06, Llama.py", needs_near=True)
def self_extend(rope: Rope, factor: float, *, group: float | None = None) -> Scaled:
    """Far positions are counted in whole groups of G tokens, and turn as trained: G tokens share one position.

        angle of position p = theta_i floor(p / G)

    group: G, a whole number; None takes the least that reaches, ceil(s).

    The floor is all that sets it apart from linear with s = G (Leaky ReRoPE): two keys of one group cannot be told apart.
    """
    size = math.ceil(factor - 1e-9) if group is None else group
    if not is_number(size) or size != int(size) or not 1 <= size <= LARGEST_LENGTH:
        raise BadOption(f"group is {group!r}; it must be a whole number of tokens, 1 or more.")
    return Scaled(tuple(theta / size for theta in rope.inv_freq), group=int(size))
