"""Paired comparisons: against published tables, and by counting."""

import math
from statistics import NormalDist

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.measure.comparisons import compare, compare_shares, mcnemar, newcombe, perplexity_ratio
from ropewalk.measure.statistics import Interval, wilson


def test_pairing_shows_what_documents_would_hide():
    """Documents that differ by 0.65 nats, methods by 0.05: the difference is found to a fraction of that."""
    rng = numpy.random.default_rng(1)
    counts = numpy.full(20, 1000)
    b = rng.normal(2.5, 0.65, 20) * counts
    a = b + rng.normal(0.05, 0.03, 20) * counts

    found = compare(a, b, counts)

    assert found.significant
    assert found.p < 0.001
    assert 0.02 < found.difference.low < 0.05 < found.difference.high < 0.09
    assert found.documents == 20


def test_the_two_sides_mirror_each_other():
    rng = numpy.random.default_rng(2)
    counts = rng.integers(100, 900, 15)
    a, b = rng.normal(2.5, 1, 15) * counts, rng.normal(2.5, 1, 15) * counts

    one, other = compare(a, b, counts), compare(b, a, counts)

    assert one.difference.value == pytest.approx(-other.difference.value)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.p == other.p
    assert one.detectable == other.detectable


def test_perplexities_are_compared_by_their_ratio():
    ratio = perplexity_ratio(Interval(math.log(1.02), 0.0, math.inf))

    assert ratio.value == pytest.approx(1.02)
    assert ratio.low == 1.0
    assert ratio.high > 1e300


def test_unequal_documents_are_refused():
    with pytest.raises(BadOption, match=r"sums \(2,\) and counts \(3,\)"):
        compare(numpy.ones(3), numpy.ones(2), numpy.ones(3))


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((36, 14, 0, 0), 0.1528, 0.4167)],
)
def test_newcombe_against_his_own_table(cells, low, high):
    """Newcombe 1998, Stat. Med. 17:2635, method 10. The second has no correlation to take (a margin is 0), so it is
    what his method for unpaired shares (17:873, method 10) gives for 50 and 36 of 50."""
    found = newcombe(*cells)

    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_newcombe_takes_the_correlation_with_continuity():
    """By hand: 14 x 10 - 5 x 5 - 34 / 2 = 98 over 19 x 15 from the margins; both shares are 19 of 34."""
    down, up = 19 / 34 - wilson(19, 34).low, wilson(19, 34).high - 19 / 34
    half = (down**2 + up**2 - 2 * 98 / 285 * down * up) ** 0.5

    assert newcombe(14, 5, 5, 10).high == pytest.approx(half)
    assert newcombe(14, 5, 5, 10).low == pytest.approx(-half)


def test_newcombe_holds_the_truth():
    """Two methods of 0.85 and 0.80 on the same 40 prompts, of which some are hard for both."""
    rng = numpy.random.default_rng(3)
    held, tries = 0, 4000
    for both, a, b, none in rng.multinomial(40, [0.72, 0.13, 0.08, 0.07], tries):
        interval = newcombe(both, a, b, none)
        held += interval.low <= 0.05 <= interval.high

    assert 0.94 <= held / tries <= 0.98


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    # Mid-p by hand: 2 (sum of C(n, k), k < fewer) + C(n, fewer), over 2^n.
    [(1, 9, 12 / 1024), (0, 5, 1 / 32), (9, 1, 12 / 1024), (4, 4, 1.0), (0, 0, 1.0), (3, 2, (2 * 6 + 10) / 32)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == p


def test_mcnemar_of_very_many_prompts():
    assert mcnemar(1400, 1300) == pytest.approx(2 * NormalDist().cdf(-100 / 2700**0.5), rel=0.01)
    assert mcnemar(0, 2000) == 0.0


def test_mcnemar_keeps_its_level():
    """Fagerland, Lydersen & Laake 2013 find mid-p at or a hair above 5 %, the exact test far below it."""
    rng = numpy.random.default_rng(4)
    differ = rng.binomial(50, 0.3, 4000)
    only_a = rng.binomial(differ, 0.5)
    rejected = numpy.mean([mcnemar(int(a), int(n - a)) < 0.05 for a, n in zip(only_a, differ, strict=True)])

    assert 0.03 <= rejected <= 0.055


def test_shares_are_counted_prompt_by_prompt():
    a = numpy.array([1, 1, 1, 0, 1, 0])
    b = numpy.array([True, False, False, True, False, False])

    found = compare_shares(a, b)

    assert (found.only_a, found.only_b, found.prompts) == (3, 1, 6)
    assert found.difference == newcombe(1, 3, 1, 1)
    assert found.p == mcnemar(3, 1)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [([1, 0], [1], "one entry for each prompt"), ([], [], "one prompt at least"), ([0.5, 1], [1, 1], "a hit is 1")],
)
def test_what_cannot_be_paired_is_refused(a, b, said):
    with pytest.raises(BadOption, match=said):
        compare_shares(numpy.array(a), numpy.array(b))
