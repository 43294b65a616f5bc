"""Stopping a paired comparison as soon as it is clear, without paying for the looking.

Who looks at an ordinary p value after each document and stops at the first below 0.05 is wrong in four comparisons out of ten
with nothing to find, not in one of twenty. The test here may be looked at after every document, and stopped for any reason.
"""

import math
from dataclasses import dataclass

import numpy

from ropewalk.errors import BadOption
from ropewalk.measure.statistics import Array, Interval, checked

LEAST = 3  # documents, or rounds, before the first look
TIGHTEST = 50  # documents at which the test is at its sharpest; it is valid at any number, and hardly blunter near by


@dataclass(frozen=True, slots=True)
class Look:
    """What a comparison says after the documents read so far, a minus b.

    difference: with an interval that holds the truth at every look together, with 1 - level probability.
    p: anytime-valid, the least so far.  stop: the documents after which the comparison was decided; None, go on.
    """

    difference: Interval
    p: float
    documents: int
    stop: int | None


def look(a: Array, b: Array, counts: Array, *, level: float = 0.05, tightest: int = TIGHTEST) -> Look:
    """Look at a comparison after the documents read so far, in the order in which they were read.

    a, b: (documents,) sums over the same tokens.  counts: (documents,) number of those tokens.

    Rules: the documents come in random order (`random_order`), the order is drawn before anything is seen, and the level
    and `tightest` stay as they were at the first look.

    x = a - b is tested for mean 0 with the t test's e-process: the Bayes factor of mean/deviation ~ N(0, 1/c^2) against 0
    with the right Haar prior on the deviation,

        E_n = sqrt(c^2 / (n + c^2)) (V / (V - S^2 / (n + c^2)))^(n/2),   S = sum x,  V = sum x^2,

    a test martingale whatever the deviation is (Perez-Ortiz, Lardy, de Heide & Grunwald 2024, arXiv:2208.07610; Wang &
    Ramdas 2023, arXiv:2310.03722), so that by Ville's inequality it ever reaches 1 / level with at most probability `level`.
    It assumes that x is normal. Heavy tails on both sides make it stricter than that; strong skew looser: see
    docs/statistics.md. The interval solves E_n(x - d) = 1 / level for d.
    """
    a, counts = checked(a, counts)
    b, counts = checked(b, counts)
    if not 0 < level < 1:
        raise BadOption(f"level is {level!r}; it must be between 0 and 1, as 0.05 is.")
    x, square = a - b, _square(level, tightest)
    evidence = _evidence(x, square)
    decided = numpy.flatnonzero(evidence >= -math.log(level))
    value = float(x.sum() / counts.sum())
    half = _half_width(x, square, level) / float(counts.mean())
    p = math.exp(-max(float(evidence.max()), 0.0))
    return Look(Interval(value, value - half, value + half), p, len(x), int(decided[0]) + 1 if len(decided) else None)


def random_order(documents: int, seed: int = 0) -> list[int]:
    """The order in which to read documents: drawn once, before anything is measured."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadOption(f"seed is {seed!r}; it must be a whole number of 0 or more.")
    return [int(i) for i in numpy.random.default_rng(seed).permutation(documents)]


def _square(level: float, tightest: int) -> float:
    """c^2 for the narrowest interval at `tightest` documents; Waudby-Smith et al. 2021, arXiv:2103.06476, appendix B.2."""
    return tightest / (-2 * math.log(level) + math.log(1 - 2 * math.log(level)))


def _evidence(x: Array, square: float) -> Array:
    """ln E_n for n = 1, 2, ...; documents without any difference are no evidence."""
    n = numpy.arange(1, len(x) + 1)
    total, power = x.cumsum(), (x * x).cumsum()
    share = numpy.divide(total**2, (n + square) * power, out=numpy.zeros(len(x)), where=power > 0)
    evidence: Array = 0.5 * numpy.log(square / (n + square)) - n / 2 * numpy.log1p(-share)
    return evidence


def _half_width(x: Array, square: float, level: float) -> float:
    n = len(x)
    k = (math.sqrt((n + square) / square) / level) ** (2 / n)
    room = k * n * n / (n + square) - n * (k - 1)
    spread = float(((x - x.mean()) ** 2).sum())
    return math.sqrt(spread * (k - 1) / room) if room > 0 else math.inf
