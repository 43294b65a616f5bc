"""ReRoPE: far distances all look alike."""

from ropewalk.scaling.method import Scaled, method
from ropewalk.scaling.rope import Rope


@method("rerope", source="Su 2023, kexue.fm 9708; bojone/rerope@acfe788, rerope_patch.py", needs_near=True)
def rerope(rope: Rope, factor: float) -> Scaled:
    """Far keys do not turn at all: each stands as if it were w tokens away.

        theta'_i = 0, whatever the factor

    It never meets a distance it was not trained on, however long the text. The order of far keys among each other is lost.
    """
    return Scaled((0.0,) * (rope.rotary_dim // 2))
