"""Several values of one key."""

from ropewalk.measure.ladder import Hidden, Scene, ladder

MOST = 64
NEEDLE = "\n# One of the pass keys is {key}."


@ladder(
    "values", rungs=(1, 2, 4, 8, 16), most=MOST,
    source="RULERv2's multi-value needles (NVIDIA-NeMo/Skills, ruler2/prepare_niah.py), asked for in order",
)  # fmt: skip
def values(scene: Scene, rung: int) -> Hidden:
    """So many pass keys, to be listed from the smallest to the largest."""
    found: dict[str, None] = {}
    while len(found) < MOST:
        found[scene.digits(5)] = None
    keys = list(found)[:rung]
    return Hidden(
        NEEDLE.format(key=keys[0]), "\n# What are all the pass keys, from the smallest to the largest?", " The pass keys are ",
        ", ".join(sorted(keys)), [NEEDLE.format(key=key) for key in keys[1:]],
    )  # fmt: skip
