"""Repeating a passage word for word."""

from ropewalk.errors import BadLength
from ropewalk.measure.ladder import Hidden, Scene, ladder

SHOWN = 16  # tokens of the passage that are shown again
MOST = 512
TRIES = 100
INSTRUCTION = (
    "\n\nThe text above has a passage that begins with the words of the next line. Write the passage down, to the letter.\n"
)


@ladder(
    "quote", rungs=(1, 2, 4, 8, 16, 32), most=MOST,
    source="copying by n-gram look-up: Jelassi et al. 2024, arXiv:2402.01032, with text for random letters",
)  # fmt: skip
def quote(scene: Scene, rung: int) -> Hidden:
    """So many tokens of a passage hidden in other text, after the first sixteen of it are shown again.

    Some tokens of real text can be guessed: `--gap` asks without the passage. The shown beginning stands nowhere else.
    """
    material = scene.material
    passage = _passage(scene)[: SHOWN + rung]
    newline = material.encode("\n")
    shown = passage[:SHOWN]
    return Hidden([*passage, *newline], "", shown, passage[SHOWN:], (), INSTRUCTION + material.decode(shown))


def _passage(scene: Scene) -> list[int]:
    """From where a line begins, outside the haystack. No answer begins with a blank: one of blanks alone says nothing."""
    material = scene.material
    ids, newlines = material.code_ids, material.newlines
    free = len(ids) - scene.length - SHOWN - MOST
    if free < 1:
        raise BadLength(
            f"a passage from outside the haystack needs a text of more than {len(ids) - free:,} tokens; "
            f"this one has {len(ids):,}."
        )
    around = "".join(map(chr, scene.haystack))
    for _ in range(TRIES):
        at = (scene.start + scene.length + scene.rng.randrange(free)) % len(ids)
        passage = material.slice_of(ids, at, SHOWN + MOST + 200)
        line = next((i for i, token in enumerate(passage[:200]) if token in newlines), 0)
        found = passage[line : line + SHOWN + MOST]
        if material.decode(found[SHOWN : SHOWN + 1]).strip() and "".join(map(chr, found[:SHOWN])) not in around:
            return found
    raise BadLength(f"in {TRIES} tries every passage began with words of the haystack: the text repeats itself too much.")
