"""The verdict: its numbers, its words, and how often it is wrong."""

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate.verdict import LastStretch, verdict

N = 12
COUNTS = numpy.full(N, 100)


def stretches(rng, losses, deviation=0.03):
    """A baseline, and last stretches that lose so much against it."""
    base = rng.normal(2.5, 0.65, N)
    made = [
        LastStretch(1024 * 2**i, (base + loss + deviation * rng.normal(size=N)) * COUNTS, COUNTS)
        for i, loss in enumerate(losses, 1)
    ]
    return LastStretch(1024, base * COUNTS, COUNTS), made


def test_the_longest_that_is_not_worse():
    baseline, made = stretches(numpy.random.default_rng(0), [0.0, 0.0, 0.3])

    found = verdict("yarn", baseline, made, unit="nats")

    assert found.longest == 4096
    assert [step.length for step in found.steps] == [2048, 4096, 8192]
    assert found.steps[2].p_worse < 0.01 < found.steps[1].p_worse
    assert found.words.startswith("yarn holds to 4,096 tokens: its last stretch there is not significantly worse than the ")
    assert "12 documents would have shown a loss of 0.0" in found.words
    assert "At 8,192 it is worse: +0.3" in found.words
    assert found.detectable == pytest.approx((1.796 + 0.876) * found.steps[1].error, rel=1e-3)  # t tables, 11 degrees


def test_the_order_of_the_lengths_does_not_matter():
    baseline, made = stretches(numpy.random.default_rng(0), [0.0, 0.0, 0.3])

    assert verdict("yarn", baseline, made[::-1]) == verdict("yarn", baseline, made)


def test_worse_everywhere_is_said():
    baseline, made = stretches(numpy.random.default_rng(1), [0.5, 1.0])

    found = verdict("none", baseline, made)

    assert found.longest is None
    assert found.words.startswith("none is worse at every length tested than the unstretched model at 1,024, at 2,048 by +0.5")


def test_a_bump_before_the_longest_is_told():
    baseline, made = stretches(numpy.random.default_rng(2), [0.4, 0.0])

    found = verdict("ntk", baseline, made)

    assert found.longest == 4096
    assert "Before that it looks worse at 2,048" in found.words


def test_few_and_unlike_documents_do_not_become_a_proof():
    """A loss of 0.1 drowned in a deviation of 1: not significant, and the words say how much could be hidden there."""
    baseline, made = stretches(numpy.random.default_rng(3), [0.1], deviation=1.0)

    found = verdict("yarn", baseline, made, margin=0.02)

    assert found.longest == 2048
    assert found.detectable > 0.5
    assert f"a loss of {found.detectable:.3f} nats there in 80 of 100" in found.words
    assert found.within is None
    assert "It is not shown to lose less than 0.02 nats at any length" in found.words


def test_a_margin_is_shown_from_the_shortest_up():
    baseline, made = stretches(numpy.random.default_rng(4), [0.0, 0.0, 0.2, 0.0], deviation=0.01)

    found = verdict("yarn", baseline, made, margin=0.05)

    assert found.within == 4096  # the fourth would pass, but the third failed
    assert found.longest == 16384
    assert "It is shown to lose less than 0.05 nats up to 4,096 tokens." in found.words


def test_the_documents_a_margin_takes_are_told():
    """With normal quantiles, ((1.645 + 0.842) deviation / (margin - loss))^2: 46 or so."""
    baseline, made = stretches(numpy.random.default_rng(8), [0.0], deviation=0.2)
    found = verdict("yarn", baseline, made, margin=0.1)
    step = found.steps[0]
    rough = (2.487 * step.error * N**0.5 / (0.1 - step.difference.value)) ** 2

    said = int(found.words.rsplit("takes about ", 1)[1].split()[0])
    assert rough < said < rough + 4


def test_lengths_that_are_as_good_are_rarely_called_worse():
    """Three lengths without any loss: in at most 5 % (and a little, for the bootstrap) is any of them called worse."""
    rng, tries = numpy.random.default_rng(6), 200
    wrong = sum(verdict("x", *stretches(rng, [0.0] * 3), samples=199).longest != 8192 for _ in range(tries))

    assert wrong / tries <= 0.08


def test_a_margin_that_is_lost_is_rarely_called_kept():
    rng, tries = numpy.random.default_rng(7), 200
    wrong = sum(verdict("x", *stretches(rng, [0.05] * 3), margin=0.05, samples=199).within is not None for _ in range(tries))

    assert wrong / tries <= 0.08


def test_a_baseline_of_fewer_tokens_counts_by_its_means():
    baseline, made = stretches(numpy.random.default_rng(8), [0.1])
    shorter = LastStretch(1024, baseline.sums / 2, baseline.counts / 2)

    assert verdict("x", shorter, made).steps == verdict("x", baseline, made).steps


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda base, made: (base, []), "there is no length to judge"),
        (lambda base, made: (LastStretch(1024, base.sums[:1], base.counts[:1]), made), "2 documents at least"),
        (lambda base, made: (base, [LastStretch(2048, made[0].sums[:5], COUNTS[:5])]), "has 5 documents, the baseline 12"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, said):
    with pytest.raises(BadOption, match=said):
        verdict("x", *change(*stretches(numpy.random.default_rng(0), [0.0])))


def test_a_margin_of_nothing_is_refused():
    with pytest.raises(BadOption, match="margin is 0; it must be above 0"):
        verdict("x", *stretches(numpy.random.default_rng(0), [0.0]), margin=0)
