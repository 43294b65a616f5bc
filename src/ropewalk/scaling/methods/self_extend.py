"""Self-Extend: far distances in whole groups."""

import math

from ropewalk.errors import BadOption
from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import LARGEST_LENGTH, Rope, is_number


@method("self_extend", source="Jin et al. 2024, arXiv:2401.01325, eq. 4; datamllab/LongLM@cdbbb06, Llama.py", needs_near=True)
def self_extend(rope: Rope, factor: float, *, group: float | tuple[float, ...] | None = None) -> Scaled:
    """Far positions are counted in whole groups of G tokens, and turn as trained: G tokens share one position.

        angle of position p = theta_i floor(p / G)

    group: G, a whole number; None takes the least that reaches, ceil(s). Of a list each is for as many neighbouring pairs,
        fastest first: DPE (Lu et al. 2025, arXiv:2504.18857; LuLuLuyi/DPE@46b85de), without its choice of channels by head.

    The floor is all that sets it apart from linear with s = G (Leaky ReRoPE): two keys of one group cannot be told apart.
    """
    pairs = rope.rotary_dim // 2
    given = tuple(group) if isinstance(group, list | tuple) else (math.ceil(factor - 1e-9) if group is None else group,)
    if not given or pairs % len(given):
        raise BadOption(f"group is a list of {len(given)}, and {pairs} pairs cannot be shared out evenly among so many.")
    if not all(is_number(size) and size == int(size) and 1 <= size <= LARGEST_LENGTH for size in given):
        raise BadOption(f"group is {group!r}; it must be a whole number of tokens, 1 or more, or a list of such.")
    sizes = tuple(int(size) for size in given for _ in range(pairs // len(given)))
    turned = tuple(theta / size for theta, size in zip(rope.inv_freq, sizes, strict=True))
    return Scaled(turned, group=sizes[0] if len(set(sizes)) == 1 else sizes)
