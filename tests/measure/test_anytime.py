"""Stopping early: the error rate under continual looking, by counting, and what it saves."""

import math

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.measure.anytime import look, random_order

DOCUMENTS, TRIES = 200, 1000
ONES = numpy.ones(DOCUMENTS)


def naive_peeking(x):
    """The usual 95 % interval looked at after each document from the tenth on; stop when it leaves 0 out."""
    n = numpy.arange(1, len(x) + 1)
    mean = x.cumsum() / n
    error = numpy.sqrt(((x * x).cumsum() - n * mean**2)[1:] / (n[1:] * (n[1:] - 1)))
    return bool((abs(mean[1:]) > 1.96 * error)[8:].any())


KINDS = {
    "normal": lambda rng: (rng.normal(size=DOCUMENTS), ONES),
    "heavy tails": lambda rng: (rng.standard_t(3, DOCUMENTS), ONES),
    "unequal documents": lambda rng: (rng.standard_t(4, DOCUMENTS), rng.integers(200, 2000, DOCUMENTS)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_looking_after_every_document_keeps_the_error_rate(kind):
    """Nothing to find, 200 looks: at most 5 % may ever stop (0.05 + 2 standard errors of 1000 tries = 0.064)."""
    rng = numpy.random.default_rng(1)
    wrong = naive = 0
    for _ in range(TRIES):
        x, counts = KINDS[kind](rng)
        wrong += look(x * counts, 0 * x, counts).stop is not None
        naive += naive_peeking(x * counts)

    assert wrong / TRIES <= 0.064
    assert naive / TRIES >= 0.25


def test_strong_skew_is_where_the_assumption_ends():
    """Exponential differences: the docs confess 5 to 10 % instead of 5."""
    rng = numpy.random.default_rng(2)
    wrong = [look(rng.exponential(size=DOCUMENTS) - 1, 0 * ONES, ONES).stop is not None for _ in range(TRIES)]

    assert 0.05 <= numpy.mean(wrong) <= 0.11


@pytest.mark.parametrize(("effect", "least", "most"), [(0.5, 25, 45), (1.0, 12, 20), (2.0, 7, 12)])
def test_a_clear_difference_stops_early(effect, least, most):
    """effect: in deviations of the paired difference. A fixed 200 documents would have been read otherwise."""
    rng = numpy.random.default_rng(3)
    stops = [look(effect + rng.normal(size=DOCUMENTS), 0 * ONES, ONES).stop for _ in range(300)]

    assert None not in stops
    assert least <= numpy.median(stops) <= most


def test_the_interval_holds_the_truth_at_all_looks_together():
    rng = numpy.random.default_rng(4)
    missed = 0
    for _ in range(150):
        x = 0.3 + rng.normal(size=80)
        intervals = [look(x[:n], 0 * x[:n], ONES[:n]).difference for n in range(2, 81)]
        missed += any(not i.low <= 0.3 <= i.high for i in intervals)

    assert missed / 150 <= 0.05


def test_the_evidence_is_the_ratio_of_two_integrals():
    """The formula against its definition, by summing over deviation and effect: 3 documents, c^2 = 50 / 7.94."""
    x, square = numpy.array([0.9, 1.4, 0.7]), 50 / (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05)))
    log_sigma = numpy.linspace(-8, 12, 4001)[:, None]
    effect = numpy.linspace(-6, 6, 2401)
    sigma = numpy.exp(log_sigma)

    def likelihood(d):
        return sigma**-3 * numpy.exp(-sum((value / sigma - d) ** 2 for value in x) / 2)  # d sigma / sigma = d ln sigma

    prior = numpy.exp(-(effect**2) * square / 2)
    alternative = (likelihood(effect) * prior).sum() / prior.sum()
    null = likelihood(0.0).sum()

    assert look(x, 0 * x, ONES[:3]).p == pytest.approx(null / alternative, rel=1e-3)


def test_interval_and_decision_agree():
    rng = numpy.random.default_rng(5)
    for _ in range(200):
        x = rng.normal(0.4, 1, 40)
        counts = rng.integers(1, 9, 40)
        stop = look(x, 0 * x, counts).stop
        if stop:
            found = look(x[:stop], 0 * x[:stop], counts[:stop]).difference
            assert found.low > 0 if x[:stop].sum() > 0 else found.high < 0
            before = look(x[: stop - 1], 0 * x[: stop - 1], counts[: stop - 1]).difference
            assert before.low <= 0 <= before.high


def test_no_difference_at_all_is_no_evidence():
    found = look(ONES, ONES, ONES)

    assert found.stop is None
    assert found.p == 1.0


def test_one_document_leaves_everything_open():
    assert look(ONES[:1], 0 * ONES[:1], ONES[:1]).difference.high == math.inf


def test_the_order_is_drawn_once():
    assert random_order(20, seed=1) == random_order(20, seed=1) != random_order(20, seed=2)
    assert sorted(random_order(20)) == list(range(20))


@pytest.mark.parametrize("level", [5, 1, 0, -0.05, math.nan])
def test_a_level_is_a_probability(level):
    with pytest.raises(BadOption, match=f"level is {level}; it must be between 0 and 1"):
        look(ONES, ONES, ONES, level=level)


def test_p_is_the_least_so_far():
    """Five documents that agree, then five the other way: the formula of `look` at each n, and its best; p never rises."""
    x = numpy.array([1, 1.1, 0.9, 1, 1.05, -1, -1.1, -0.9, -1, -1.05])
    square = 50 / 7.936155  # -2 ln 0.05 + ln(1 - 2 ln 0.05)
    evidence = []
    for n in range(1, 11):
        total, power, wider = x[:n].sum(), (x[:n] ** 2).sum(), n + square
        evidence.append(math.sqrt(square / wider) * (power / (power - total**2 / wider)) ** (n / 2))
    seen = [look(x[:n], 0 * x[:n], ONES[:n]).p for n in range(1, 11)]
    assert seen == pytest.approx([min(1.0, 1 / max(evidence[:n])) for n in range(1, 11)], rel=1e-3)
    assert evidence[-1] < 1 < evidence[4]


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_a_seed_that_draws_nothing_is_refused(seed):
    """`eval --seed -1` and `choose --seed -1` ended in NumPy's traceback."""
    with pytest.raises(BadOption, match=r"seed is .*; it must be a whole number of 0 or more"):
        random_order(4, seed)
