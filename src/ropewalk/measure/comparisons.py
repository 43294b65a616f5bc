"""Is one method better than another? Both are judged on the same documents or prompts, and compared pair by pair.

Pairing is what makes small differences visible: documents differ 10 to 27 times more than close methods do.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy

from ropewalk.errors import BadOption
from ropewalk.measure.statistics import (
    SAMPLES,
    Array,
    Interval,
    Studentised,
    checked,
    smallest_detectable,
    studentised,
    wilson,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Method a minus method b on the same documents.

    difference: of the token-pooled means, in the unit of the sums; above 0, a's loss is the higher one.
    p: two-sided; at most 0.05 exactly if the interval leaves 0 out.
    detectable: the smallest true difference that as many documents would show in 80 of 100 comparisons.
    """

    difference: Interval
    p: float
    documents: int
    error: float
    detectable: float

    @property
    def significant(self) -> bool:
        return not self.difference.low <= 0 <= self.difference.high


def compare(a: Array, b: Array, counts: Array, *, samples: int = SAMPLES, seed: int = 0) -> Comparison:
    """Paired comparison over documents: the symmetric studentised bootstrap of the pooled mean of a - b.

    a, b: (documents,) sums over the same tokens of each document.  counts: (documents,) number of those tokens.
    """
    found = paired(a, b, counts, samples=samples, seed=seed)
    detectable = smallest_detectable(found.error, found.documents)
    return Comparison(found.symmetric(), found.p_two_sided(), found.documents, found.error, detectable)


def paired(a: Array, b: Array, counts: Array, *, samples: int = SAMPLES, seed: int = 0) -> Studentised:
    """a - b as one pooled mean with its distribution."""
    a, counts = checked(a, counts)
    b, counts = checked(b, counts)
    return studentised(a - b, counts, samples=samples, seed=seed)


def perplexity_ratio(nats: Interval) -> Interval:
    """A difference of losses in nats per token as a ratio of perplexities: 1.02 is 2 % more."""
    if math.isinf(nats.low) and math.isinf(nats.high):  # one document
        return Interval(math.exp(min(nats.value, 700.0)), -math.inf, math.inf)
    return Interval(*(math.exp(min(end, 700.0)) for end in (nats.value, nats.low, nats.high)))


@dataclass(frozen=True, slots=True)
class Shares:
    """Method a's share of hits minus method b's on the same prompts.

    only_a, only_b: prompts that one of them alone got right; the others say nothing about the difference.
    p: two-sided, McNemar's.
    """

    difference: Interval
    p: float
    only_a: int
    only_b: int
    prompts: int


def compare_shares(a: Array, b: Array) -> Shares:
    """a, b: (prompts,) hit or miss of each method on the same prompts. See `mcnemar` and `newcombe`."""
    a, b = numpy.asarray(a), numpy.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise BadOption(f"hits {a.shape} and {b.shape} must both have one entry for each prompt, and one prompt at least.")
    if not all(numpy.isin(hits, (0, 1)).all() for hits in (a, b)):
        raise BadOption("a hit is 1 and a miss 0; scores between them are means, which `compare` takes.")
    a, b = a.astype(bool), b.astype(bool)
    only_a, only_b, both = int((a & ~b).sum()), int((b & ~a).sum()), int((a & b).sum())
    difference = newcombe(both, only_a, only_b, len(a) - both - only_a - only_b)
    return Shares(difference, mcnemar(only_a, only_b), only_a, only_b, len(a))


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided mid-p of McNemar's test (1947): could prompts that one method alone got right be the toss of a coin?

    Mid-p counts the observed table by half. The exact test is needlessly strict, and the one with chi-squared wrong where
    few prompts differ; mid-p keeps its level in practice (Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91).
    """
    n, fewer = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    twice = 2 * sum(math.comb(n, k) for k in range(fewer)) + math.comb(n, fewer)
    return float(Fraction(twice, 2**n))  # whole numbers: 2^n is beyond a float from 1,024 prompts on


def newcombe(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Difference of two paired shares with a 95 % interval: Newcombe 1998, Stat. Med. 17:2635, method 10.

    It joins the two Wilson intervals, with the correlation of the pairs taken with continuity correction.
    """
    n = both + only_a + only_b + neither
    a, b = wilson(both + only_a, n), wilson(both + only_b, n)
    phi = _correlation(both, only_a, only_b, neither)
    low = _root((a.value - a.low) ** 2, (b.high - b.value) ** 2, phi * (a.value - a.low) * (b.high - b.value))
    high = _root((a.high - a.value) ** 2, (b.value - b.low) ** 2, phi * (a.high - a.value) * (b.value - b.low))
    difference = (only_a - only_b) / n
    return Interval(difference, difference - low, difference + high)


def _root(first: float, second: float, mixed: float) -> float:
    return math.sqrt(max(first + second - 2 * mixed, 0.0))


def _correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    n = both + only_a + only_b + neither
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if not margins:
        return 0.0
    cross = float(both * neither - only_a * only_b)
    return (max(cross - n / 2, 0.0) if cross > 0 else cross) / math.sqrt(margins)
