"""Intervals: against published values, and by counting how often they hold the truth."""

import math

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate.comparisons import compare
from ropewalk.jobs.evaluate.statistics import Interval, cluster_mean, studentised, wilson

SIMULATIONS = 1000


def test_wilson_against_published_values():
    """Brown, Cai & DasGupta 2001 and any table of Wilson intervals: 10 of 10 has [0.722, 1], 0 of 20 [0, 0.161]."""
    assert wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert wilson(10, 10).high == pytest.approx(1.0)
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)


def percentile_mean(sums, counts, rng):
    """The interval most evaluators print, if they print one: quantiles of resampled means."""
    picks = rng.integers(0, len(sums), (999, len(sums)))
    return numpy.quantile(sums[picks].sum(1) / counts[picks].sum(1), (0.025, 0.975))


def losses(rng, n):
    """Documents as in a corpus: skewed means (their logarithm has the measured deviation, 0.65) and unequal lengths."""
    counts = rng.integers(1000, 2000, n)
    return rng.lognormal(0, 0.65, n) * counts, counts, math.exp(0.65**2 / 2)


@pytest.mark.parametrize("n", [12, 20])
def test_the_interval_of_a_mean_covers_where_the_percentile_interval_does_not(n):
    rng = numpy.random.default_rng(n)
    ours = theirs = 0
    for _ in range(SIMULATIONS):
        sums, counts, truth = losses(rng, n)
        interval = cluster_mean(sums, counts, samples=999)
        ours += interval.low <= truth <= interval.high
        low, high = percentile_mean(sums, counts, rng)
        theirs += low <= truth <= high

    assert 0.91 <= ours / SIMULATIONS <= 0.98  # not the wished 0.95: docs/statistics.md
    assert theirs / SIMULATIONS <= 0.91
    assert ours - theirs >= 0.02 * SIMULATIONS


@pytest.mark.parametrize("n", [4, 12, 20])
def test_the_interval_of_a_difference_covers_where_tails_are_heavy(n):
    """Student's t with 3 degrees of freedom: one document in forty differs by three deviations and more."""
    rng = numpy.random.default_rng(n)
    held = agree = 0
    for _ in range(SIMULATIONS):
        counts = rng.integers(200, 2000, n)
        other = rng.lognormal(0, 0.65, n) * counts
        found = compare(other + (0.1 + 0.03 * rng.standard_t(3, n)) * counts, other, counts, samples=999)
        held += found.difference.low <= 0.1 <= found.difference.high
        agree += found.significant == (found.p <= 0.05)

    assert 0.93 <= held / SIMULATIONS <= 0.985
    assert agree == SIMULATIONS


def test_the_error_is_that_of_documents_not_of_tokens():
    """Equal lengths: the standard error of ten numbers, as any textbook has it."""
    means = numpy.random.default_rng(3).normal(3, 1, 10)

    found = studentised(means * 1000, numpy.full(10, 1000))

    assert found.value == pytest.approx(means.mean())
    assert found.error == pytest.approx(means.std(ddof=1) / math.sqrt(10))


def test_the_error_of_a_ratio_against_the_jackknife():
    """Unequal lengths: Quenouille's jackknife, another arithmetic for the same thing, agrees for many documents."""
    rng = numpy.random.default_rng(5)
    sums, counts, _ = losses(rng, 400)
    without = (sums.sum() - sums) / (counts.sum() - counts)
    jackknife = math.sqrt(399 / 400 * ((without - without.mean()) ** 2).sum())

    assert studentised(sums, counts).error == pytest.approx(jackknife, rel=0.01)


def test_each_draw_has_the_error_of_its_own_sample():
    """The draws against a plain loop over resampled documents with the same rule: the same distribution."""
    rng = numpy.random.default_rng(7)
    sums, counts, _ = losses(rng, 12)
    draws = studentised(sums, counts, samples=20_000).draws
    slow = []
    for _ in range(20_000):
        picks = rng.integers(0, 12, 12)
        again = _by_hand(sums[picks], counts[picks])
        slow.append((again[0] - _by_hand(sums, counts)[0]) / again[1])

    shares = (0.025, 0.25, 0.5, 0.75, 0.975)
    assert numpy.quantile(draws, shares) == pytest.approx(numpy.quantile(slow, shares), rel=0.06, abs=0.03)


def _by_hand(sums, counts):
    ratio = sums.sum() / counts.sum()
    return ratio, math.sqrt(len(sums) / (len(sums) - 1) * ((sums - ratio * counts) ** 2).sum()) / counts.sum()


def test_a_seed_gives_the_same_interval_again():
    sums, counts, _ = losses(numpy.random.default_rng(0), 12)

    assert cluster_mean(sums, counts) == cluster_mean(sums, counts)
    assert cluster_mean(sums, counts) != cluster_mean(sums, counts, seed=1)


def test_one_document_says_nothing_of_others():
    assert cluster_mean(numpy.array([5.0]), numpy.array([2])) == Interval(2.5, -math.inf, math.inf)
    assert studentised(numpy.array([5.0]), numpy.array([2])).p_two_sided() == 1.0
    assert studentised(numpy.array([5.0]), numpy.array([2])).p_above() == 1.0


def test_what_is_exactly_nothing_has_an_interval_of_nothing():
    """The short-context tax of a causal plan is this."""
    found = studentised(numpy.zeros(12), numpy.full(12, 100))

    assert found.symmetric() == found.equal_tailed() == Interval(0.0, 0.0, 0.0)
    assert found.p_two_sided() == found.p_above() == 1.0


def test_p_values_have_their_level_and_their_direction():
    rng = numpy.random.default_rng(11)
    counts = numpy.full(12, 100)
    nulls = [studentised(rng.normal(0, 1, 12), counts, samples=999) for _ in range(SIMULATIONS)]

    assert 0.03 <= numpy.mean([x.p_two_sided() <= 0.05 for x in nulls]) <= 0.06
    assert 0.04 <= numpy.mean([x.p_above() <= 0.05 for x in nulls]) <= 0.065
    worse = studentised(rng.normal(3, 1, 12), counts)
    assert worse.p_above() < 0.005
    assert worse.p_two_sided(null=worse.value) > 0.99
    assert studentised(rng.normal(-3, 1, 12), counts).p_above() > 0.99


@pytest.mark.parametrize(
    ("sums", "counts", "said"),
    [
        ([], [], "there are no documents"),
        ([1.0, 2.0], [1], r"sums \(2,\) and counts \(1,\)"),
        ([1.0, math.nan], [1, 1], "document 1 has sum nan over 1 tokens"),
        ([1.0, 2.0], [0, 1], "document 0 has sum 1.0 over 0 tokens"),
    ],
)
def test_what_was_not_measured_is_refused(sums, counts, said):
    with pytest.raises(BadOption, match=said):
        cluster_mean(numpy.array(sums), numpy.array(counts))
