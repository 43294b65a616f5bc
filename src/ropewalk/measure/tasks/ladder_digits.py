"""Pass keys by length."""

from ropewalk.measure.ladder import Hidden, Scene, ladder
from ropewalk.measure.tasks.ladder_keys import ASKED, BEGIN, NEEDLE

MOST = 256


@ladder(
    "digits", rungs=(4, 5, 6, 8, 12, 16, 24, 32), most=MOST,
    source="pass key (arXiv:2305.16300); by length as in inf-Bench's number retrieval (arXiv:2402.13718)",
)  # fmt: skip
def digits(scene: Scene, rung: int) -> Hidden:
    """A pass key of so many digits.

    Rung 5 is `passkey`. A guess is right in 1 of 10 to the power of the rung.
    """
    key = scene.digits(MOST)[:rung]
    return Hidden(NEEDLE.format(name="pass", key=key), ASKED, BEGIN, key)
