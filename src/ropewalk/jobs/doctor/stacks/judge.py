"""From pairs of log-probabilities to a verdict: ALIKE, DIFFER or UNDECIDED, by a rule that is said, with its intervals.

d = ln p(rollout) - ln p(trainer), of one token after the same tokens. The rule is about the mean of |d|: its tails are light,
and differences of both signs do not cancel. ALIKE: at every length it is shown to be below the margin (studentised bootstrap
over passages, one-sided at 0.05 each; a claim about all lengths needs no correction: Berger 1982). DIFFER: at some length it
is shown to be above (0.05 divided by the number of lengths: Bonferroni), or one side does not answer where the other does.

What trainers log is reported beside it: k3 = r - 1 - ln r with r = p(trainer) / p(rollout), Schulman 2020, "Approximating KL
divergence" (joschu.net/blog/kl-approx.html). Over tokens drawn from the rollout its mean is KL(rollout || trainer), without
bias. The tokens here are a text's, drawn from neither: a number to compare with others like it, and not that divergence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from ropewalk.jobs.doctor.stacks.measure import Pair
from ropewalk.jobs.evaluate.statistics import Array, Interval, cluster_mean, studentised

ALIKE, DIFFER, UNDECIDED = "ALIKE", "DIFFER", "UNDECIDED"
LEVEL = 0.05
# Nats. bfloat16 beside float32 lies 0.015 apart on the bundled model, a lost attention factor 0.12 (docs/doctor.md).
MARGIN = 0.05
STEEPEST = 20.0  # of ln r: beyond it e^-d is no estimate of anything (verl, kl_penalty, clamps there too)


@dataclass(frozen=True)
class Band:
    """One length. mean: of d, nats.  apart: mean of |d|.  largest: of |d|.  kl: mean of k3."""

    length: int
    beyond: bool
    passages: int
    tokens: int
    mean: Interval
    apart: Interval
    largest: float
    kl: Interval
    verdict: str


def judge(pairs: Sequence[Pair], original: int, margin: float) -> list[Band]:
    lengths = sorted({pair.length for pair in pairs if pair.trainer})
    return [_band([p for p in pairs if p.length == at and p.trainer], at > original, margin, len(lengths)) for at in lengths]


def _band(pairs: Sequence[Pair], beyond: bool, margin: float, looks: int) -> Band:
    gaps = [numpy.subtract(pair.rollout, pair.trainer) for pair in pairs]
    counts = numpy.array([len(gap) for gap in gaps], float)
    apart = studentised(_sums(map(abs, gaps)), counts)
    within, above = apart.p_below(margin) <= LEVEL, apart.p_above(margin) <= LEVEL / looks
    return Band(
        length=pairs[0].length,
        beyond=beyond,
        passages=len(pairs),
        tokens=int(counts.sum()),
        mean=studentised(_sums(gaps), counts).symmetric(),
        apart=_not_below_0(apart.equal_tailed()),
        largest=float(max(abs(gap).max() for gap in gaps)),
        kl=_not_below_0(cluster_mean(_sums(map(k3, gaps)), counts)),
        verdict=ALIKE if within else DIFFER if above else UNDECIDED,
    )


def _sums(gaps: "map[Array] | list[Array]") -> Array:
    return numpy.array([gap.sum() for gap in gaps])


def _not_below_0(interval: Interval) -> Interval:
    """Of numbers that never are."""
    return Interval(interval.value, max(interval.low, 0.0), interval.high)


def k3(gap: Array) -> Array:
    """r - 1 - ln r with ln r = -gap; never below 0."""
    steep = numpy.clip(-gap, -STEEPEST, STEEPEST)
    found: Array = numpy.expm1(steep) - steep
    return found


def overall(bands: Sequence[Band], findings: Sequence[str]) -> str:
    verdicts = {band.verdict for band in bands}
    if findings or DIFFER in verdicts:
        return DIFFER
    return ALIKE if verdicts == {ALIKE} else UNDECIDED
