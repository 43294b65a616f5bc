"""Pass keys among other keys."""

from ropewalk.measure.ladder import NAMES, Hidden, Scene, ladder
from ropewalk.measure.tasks.passkey import DIGITS, QUESTION

NEEDLE = "\n# The {name} key is {key}. Remember it. {key} is the {name} key."
ASKED, BEGIN = QUESTION.split("?")[0] + "?", QUESTION.split("?")[1]


@ladder(
    "keys", rungs=(0, 1, 2, 4, 8, 16), least=0, most=len(NAMES),
    source="pass key (arXiv:2305.16300) with the distractors of RULER's multi-key needles (arXiv:2404.06654)",
)  # fmt: skip
def keys(scene: Scene, rung: int) -> Hidden:
    """The pass key among so many other keys, each with a name and five digits.

    Rung 0 is `passkey`. The others are told in the same words: who reads any key is right in 1 of rung + 1 cases.
    """
    found: dict[str, None] = {}
    names = scene.rng.sample(NAMES, len(NAMES))[:rung]
    while len(found) <= rung:
        found[scene.digits(DIGITS)] = None
    key, *others = found
    told = [NEEDLE.format(name=name, key=other) for name, other in zip(names, others, strict=True)]
    return Hidden(NEEDLE.format(name="pass", key=key), ASKED, BEGIN, key, told)
