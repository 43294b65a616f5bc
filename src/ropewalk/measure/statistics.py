"""Means with honest intervals: documents differ far more than tokens do, so documents are what is resampled.

Tokens of one document are not independent. Treating them so made standard errors up to 3.4 times too small on the
bundled kind of model and text; docs/statistics.md has what was measured, and the coverage of every interval here.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy

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


Array = numpy.ndarray

SAMPLES = 1999  # 0.025 and 0.975 of 1999 + 1 are whole numbers: each limit is one of the draws (Davison & Hinkley 1997, 5.2)
ENOUGH = 5  # documents from which the bootstrap is asked; fewer have hardly more different samples than documents


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a 95 % interval; its ends are infinite where one document says nothing about others."""

    value: float
    low: float
    high: float

    def not_below_0(self) -> "Interval":
        """Cut at 0, of a quantity that never is below it (a loss, a divergence): an interval of few documents can be."""
        return replace(self, low=max(self.low, 0.0)) if math.isfinite(self.low) else self


@dataclass(frozen=True, slots=True)
class Studentised:
    """A token-pooled mean, its standard error, and how (mean - truth) / error is distributed.

    draws: (samples,) sorted values of that quotient. No draws: the error is 0 or unknown.
    """

    value: float
    error: float
    documents: int
    draws: Array

    def symmetric(self) -> Interval:
        """For differences, whose tails are heavy on both sides: the same width up and down (Hall 1988)."""
        if not len(self.draws):
            return Interval(self.value, self.value - self.error, self.value + self.error)
        half = self.error * _rank(numpy.sort(abs(self.draws)), 0.95)
        return Interval(self.value, self.value - half, self.value + half)

    def equal_tailed(self) -> Interval:
        """For means, which are skewed: documents that are far harder than the rest are commoner than far easier ones."""
        if not len(self.draws):
            return self.symmetric()
        low, high = _rank(self.draws, 0.975), _rank(self.draws, 0.025)
        return Interval(self.value, self.value - self.error * low, self.value - self.error * high)

    def p_two_sided(self, null: float = 0.0) -> float:
        """How often a quotient as far from 0 as this one comes up when the truth is `null`; at least 1 / (samples + 1)."""
        if not len(self.draws):
            return 1.0 if self.value == null or math.isinf(self.error) else 0.0
        return self._share(abs(self.draws) >= abs(self.value - null) / self.error)

    def p_above(self, null: float = 0.0) -> float:
        """One-sided: how often a quotient as high as this one comes up when the truth is `null` (or below it)."""
        if not len(self.draws):
            return 1.0 if self.value <= null or math.isinf(self.error) else 0.0
        return self._share(self.draws >= (self.value - null) / self.error)

    def p_below(self, null: float) -> float:
        """One-sided: how often a quotient as low as this one comes up when the truth is `null` (or above it)."""
        if not len(self.draws):
            return 1.0 if self.value >= null or math.isinf(self.error) else 0.0
        return self._share(self.draws <= (self.value - null) / self.error)

    def _share(self, hits: Array) -> float:
        return float((1 + hits.sum()) / (1 + len(hits)))


def _rank(ordered: Array, share: float) -> float:
    """The draw below which `share` of all draws and the estimate itself lie."""
    return float(ordered[round(share * (len(ordered) + 1)) - 1])


def studentised(sums: Array, counts: Array, *, samples: int = SAMPLES, seed: int = 0) -> Studentised:
    """Token-pooled mean over documents with the studentised bootstrap (bootstrap-t; Efron & Tibshirani 1993, 12.5).

    sums, counts: (documents,) sum of the values and number of tokens of each document.

    The mean is a ratio R = sum(s) / sum(c); its error is the linearised one, sqrt(n / (n - 1) sum((s - R c)^2)) / sum(c)
    (Cochran 1977, 6.3). Each draw resamples documents and divides by its own error. With fewer than `ENOUGH` documents
    the draws are Student's t instead; with one, the error is infinite.
    """
    sums, counts = checked(sums, counts)
    n = len(sums)
    value = float(sums.sum() / counts.sum())
    rest = sums - value * counts
    if n == 1:
        return Studentised(value, math.inf, n, numpy.empty(0))
    error = float(_error(n, (rest * rest).sum(), counts.sum()))
    if error == 0:
        return Studentised(value, 0.0, n, numpy.empty(0))
    rng = numpy.random.default_rng(seed)
    if n < ENOUGH:
        return Studentised(value, error, n, numpy.sort(rng.standard_t(n - 1, samples)))
    often = rng.multinomial(n, numpy.full(n, 1 / n), samples)  # how often each document is in each sample
    total, tokens, squares, mixed, lengths = (
        often @ column for column in (rest, counts, rest * rest, rest * counts, counts * counts)
    )
    shift = total / tokens
    floor = 1e-12 * squares.max()  # one document drawn every time: the quotient is huge, as it should be, and not 0 / 0
    errors = _error(n, numpy.maximum(squares - 2 * shift * mixed + shift * shift * lengths, floor), tokens)
    return Studentised(value, error, n, numpy.sort(shift / errors))


def _error(n: int, squares: Array, tokens: Array) -> Array:
    error: Array = numpy.sqrt(n / (n - 1) * squares) / tokens
    return error


def checked(sums: Array, counts: Array) -> tuple[Array, Array]:
    """Both as float64, or BadOption: what was not measured has no mean."""
    sums, counts = numpy.asarray(sums, dtype=float), numpy.asarray(counts, dtype=float)
    if sums.shape != counts.shape or sums.ndim != 1:
        raise BadOption(f"sums {sums.shape} and counts {counts.shape} must both have one number for each document.")
    if not len(sums):
        raise BadOption(
            "there are no documents, so there is no mean.\n  Two are needed for an interval, ten for a useful one."
        )
    if not (numpy.isfinite(sums).all() and (counts > 0).all()):
        bad = int(numpy.flatnonzero(~numpy.isfinite(sums) | ~(counts > 0))[0])
        raise BadOption(
            f"document {bad} has sum {sums[bad]} over {counts[bad]:g} tokens; it must be finite, over at least one."
        )
    return sums, counts


def cluster_mean(sums: Array, counts: Array, *, samples: int = SAMPLES, seed: int = 0) -> Interval:
    """Token-pooled mean over documents, with an equal-tailed studentised bootstrap interval. See `studentised`."""
    return studentised(sums, counts, samples=samples, seed=seed).equal_tailed()


def wilson(hits: float, tries: int, z: float = 1.959964) -> Interval:
    """A proportion with its 95 % score interval (Wilson 1927): right at 0 and at 1, where the usual one has no width."""
    share = hits / tries
    centre = (share + z * z / (2 * tries)) / (1 + z * z / tries)
    half = z * math.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries)) / (1 + z * z / tries)
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


def kind(interval: Interval, level: float) -> str:
    """Of a loss, where lower is better: does the whole interval lie on one side of `level`?"""
    return "worse" if interval.low > level else "better" if interval.high < level else ""
