"""Means with honest intervals: documents differ far more than tokens do, so documents are what is resampled.

Tokens of one document are not independent. Treating them so made standard errors up to 3.4 times too small on the
bundled kind of model and text; docs/statistics.md has what was measured, and the coverage of every interval here.
"""

import math
from dataclasses import dataclass

import numpy

from ropewalk.errors import BadOption

Array = numpy.ndarray

SAMPLES = 1999  # 0.025 and 0.975 of 1999 + 1 are whole numbers: each limit is one of the draws (Davison & Hinkley 1997, 5.2)
ENOUGH = 5  # documents from which the bootstrap is asked; fewer have hardly more different samples than documents


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a 95 % interval; its ends are infinite where one document says nothing about others."""

    value: float
    low: float
    high: float


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
