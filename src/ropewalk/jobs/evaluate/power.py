"""How small a difference can so many documents show, and how many documents does a wished one need?"""

import math
from functools import cache
from statistics import NormalDist

from ropewalk.errors import BadOption

LEVEL = 0.05  # two-sided
POWER = 0.8
SUMMED = 500  # degrees of freedom


def smallest_detectable(error: float, documents: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference that a paired comparison at `level` finds with probability `power`, in the unit of `error`.

    error: standard error of the paired difference over `documents` documents.

    (t(1 - level/2) + t(power)) x error, t with documents - 1 degrees of freedom (Cohen 1988, chapter 2, in closed form).
    Infinite for one document.
    """
    if documents < 2:
        return math.inf
    return (student(1 - level / 2, documents - 1) + student(power, documents - 1)) * error


def documents_needed(error: float, documents: int, wished: float, *, level: float = LEVEL, power: float = POWER) -> int:
    """How many documents like these show a true difference of `wished`; at least 2.

    error: standard error of the paired difference over the `documents` at hand. It is itself an estimate: from 10
    documents it is right to within a quarter or so, and the answer, which goes with its square, to within a half.
    """
    if not wished > 0:
        raise BadOption(
            f"the wished difference is {wished!r}; it must be above 0: no number of documents shows no difference."
        )
    if documents < 2:
        raise BadOption(
            f"{documents} document{'s' * (documents != 1)} cannot say how much documents differ from one another.\n"
            "  Measure two at least, better ten; then the number needed can be told."
        )

    def found(n: int) -> bool:
        return smallest_detectable(error * math.sqrt(documents / n), n, level=level, power=power) <= wished

    low, high = 2, 4
    while not found(high):
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle + 1, high)
    return low


def in_words(error: float, documents: int, wished: float | None = None, *, unit: str = "nats") -> str:
    """What so many documents can tell apart, as a sentence."""
    if documents < 2:
        return f"{_documents(documents)} cannot show any difference: how much documents vary is unknown; measure ten or more"
    least = smallest_detectable(error, documents)
    said = f"{_documents(documents)} can tell differences of {_short(least)} {unit} apart"
    if wished is None or least <= wished:
        return said
    return f"{said}; for {_short(wished)} you need {documents_needed(error, documents, wished):,}"


def _documents(count: int) -> str:
    return f"{count:,} document{'s' * (count != 1)}"


def _short(x: float) -> str:
    return f"{x:.2g}" if x < 0.001 else f"{x:.3f}"


@cache
def student(share: float, freedom: int) -> float:
    """The quantile of Student's t: the value below which `share` of it lies. For 1/2 < share < 1."""
    if freedom > SUMMED:  # the sums grow with the degrees of freedom; Abramowitz & Stegun 26.7.5 is right to 1e-7 here
        z = NormalDist().inv_cdf(share)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < share:
        high *= 2
    for _ in range(60):  # by halving
        middle = (low + high) / 2
        low, high = (middle, high) if _student_below(middle, freedom) < share else (low, middle)
    return high


def _student_below(t: float, freedom: int) -> float:
    """The distribution of Student's t for whole degrees of freedom: the finite sums of Abramowitz & Stegun 26.7.3, .4."""
    angle = math.atan2(t, math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term, total = math.sin(angle) * (math.cos(angle) if odd else 1.0), 0.0
    for i in range(2 + odd, freedom + 1, 2):
        total += term
        term *= square * (i - 1) / i
    inside = 2 / math.pi * (angle + total) if odd else total
    return (1 + inside) / 2
