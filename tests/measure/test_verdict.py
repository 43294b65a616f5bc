"""The verdict: its numbers, its words, and how often it is wrong."""

import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.measure.verdict import HOLDS, OPEN, WORSE, Found, LastStretch, verdict

N = 12
COUNTS = numpy.full(N, 100)


def stretches(rng, losses, deviation=0.03, n=N, first=2048):
    """A baseline at 1,024, and last stretches that lose so much against it, from 2,048 on."""
    base = rng.normal(2.5, 0.65, n)
    counts = numpy.full(n, 100)
    made = [
        LastStretch(first * 2**i, (base + loss + deviation * rng.normal(size=n)) * counts, counts)
        for i, loss in enumerate(losses)
    ]
    return LastStretch(1024, base * counts, counts), made


def judged(losses, margin=0.1, seed=0, deviation=0.03, n=N, first=2048, name="yarn", **more):
    rng = numpy.random.default_rng(seed)
    return verdict(name, *stretches(rng, losses, deviation, n, first), margin=margin, unit="bits", **more)


def test_the_longest_that_is_shown_to_lose_less_than_the_margin():
    found = judged([0.0, 0.0, 0.3])
    assert found.longest == 4096
    assert [(step.length, step.loss) for step in found.steps] == [(2048, HOLDS), (4096, HOLDS), (8192, WORSE)]
    assert found.words.startswith(
        "yarn reads to 4,096 tokens: its last stretch there is shown to lose less than 0.1 bits against the unstretched "
        "model's at 1,024 ("
    )
    assert "At 8,192 it is worse: +0.3" in found.words
    assert found.documents == N


def test_the_interval_is_that_of_the_paired_difference():
    """Near Student's interval over documents: 2.201 is t's 97.5 % quantile at 11 degrees (any table)."""
    rng = numpy.random.default_rng(0)
    baseline, (stretch,) = stretches(rng, [0.05])
    (step,) = verdict("x", baseline, [stretch], margin=0.1).steps
    gaps = (stretch.sums - baseline.sums) / 100
    assert step.difference.value == pytest.approx(gaps.mean())
    assert step.error == pytest.approx(gaps.std(ddof=1) / N**0.5)
    half = 2.201 * gaps.std(ddof=1) / N**0.5
    assert step.difference.high - step.difference.value == pytest.approx(half, rel=0.25)
    assert step.difference.value - step.difference.low == pytest.approx(half, rel=0.25)


def test_the_order_of_the_lengths_does_not_matter():
    baseline, made = stretches(numpy.random.default_rng(0), [0.0, 0.0, 0.3])
    assert verdict("yarn", baseline, made[::-1], margin=0.1) == verdict("yarn", baseline, made, margin=0.1)


def test_absence_of_a_difference_is_no_proof():
    """A loss of 0.05 drowned in a deviation of 1 is not significant, and not shown to be small either."""
    found = judged([0.05], deviation=1.0)
    (step,) = found.steps
    assert step.difference.low < 0 < 0.1 < step.difference.high
    assert (step.loss, found.longest) == (OPEN, None)
    assert "yarn is not shown to read any length tested as the unstretched model reads 1,024" in found.words
    assert f"about {step.needed:,} documents would show whether that is less than 0.1" in found.words


def test_the_whole_interval_must_lie_below_the_margin():
    """Just above and just below its upper end."""
    (step,) = judged([0.05]).steps
    assert judged([0.05], margin=step.difference.high * 1.001).longest == 2048
    assert judged([0.05], margin=step.difference.high * 0.999).longest is None
    assert judged([0.05], margin=step.difference.low * 0.999).steps[0].loss == WORSE
    assert judged([0.05], margin=step.difference.low * 1.001).steps[0].loss == OPEN


def test_lengths_are_asked_from_the_shortest_up_until_one_fails():
    """The third would hold again: it is not asked for, since a length that was lost lies before it."""
    assert judged([0.0, 0.4, 0.0]).longest == 2048
    found = judged([0.4, 0.0])
    assert found.longest is None
    assert "At 2,048 it is worse: +0.392" in found.words


def test_what_it_costs_inside_the_window_is_said_and_does_not_end_it():
    found = judged([0.2, 0.0, 0.0], first=1024)
    assert found.longest == 4096
    assert found.words.count("Inside the trained length, at 1,024, it costs +0.192") == 1
    assert "Inside" not in judged([0.0, 0.0, 0.0], first=1024).words


def test_a_method_that_holds_inside_alone_reads_as_far_as_it_was_trained():
    found = judged([0.0, 0.5], first=1024, name="none")
    assert found.longest == 1024
    assert found.words.startswith("none reads to 1,024 tokens, and is not shown to read beyond the trained length. At 2,048")


def test_of_lengths_inside_the_longest_speaks():
    """512 and 1,024: what is shown at half the window says nothing of its end."""
    good_end, bad_end = (judged(losses, first=512, name="none") for losses in ([0.5, 0.0], [0.0, 0.5]))
    assert (good_end.longest, bad_end.longest) == (1024, None)
    assert "Inside" not in good_end.words


def test_a_loss_of_exactly_the_margin_asks_for_more_documents_than_there_are():
    """Half a bit in every document, without any spread: as many documents again decide nothing, so one more at least."""
    base = LastStretch(1024, numpy.full(N, 200.0), COUNTS)
    (step,) = verdict("x", base, [LastStretch(2048, numpy.full(N, 250.0), COUNTS)], margin=0.5).steps
    assert (step.loss, step.needed) == (OPEN, N + 1)


def test_a_method_that_is_worse_everywhere():
    found = judged([0.5, 1.0], first=1024, name="linear")
    assert found.longest is None
    assert found.words.startswith(
        "linear is not shown to read any length tested as the unstretched model reads 1,024: at 1,024 "
    )


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewer_than_five_documents_decide_nothing_beyond_the_window(n):
    """However alike they are: two documents that lose the same to the last digit have an interval of no width."""
    for loss in (-1.0, 0.5):
        found = judged([loss], deviation=0.0, n=n)
        assert (found.steps[0].loss, found.longest) == (OPEN, None)
        assert found.steps[0].needed == 5
        assert f"At 2,048 it is not decided by {n} documents, since fewer than 5 decide nothing there: " in found.words
    assert judged([-1.0], deviation=0.0, n=5).longest == 2048
    assert judged([0.0], deviation=0.0, n=n, first=1024).longest == 1024  # the baseline itself


def test_the_documents_that_would_decide():
    """With normal quantiles, ((1.960 + 0.842) deviation / (margin - loss))^2: at 80 % power, two-sided 5 %."""
    (step,) = judged([0.0], deviation=0.2, seed=8, margin=0.12).steps
    assert step.loss == OPEN
    rough = (2.802 * step.error * N**0.5 / (0.12 - step.difference.value)) ** 2
    assert rough < step.needed < rough + 5


def test_fewer_documents_do_not_make_a_longer_reading():
    """A true loss of 0.3 at a margin of 0.1: of eights, of fours and of twos, at most one in forty is certified."""
    rng = numpy.random.default_rng(3)
    for n in (2, 4, 5, 8):
        certified = sum(
            verdict("none", *stretches(rng, [0.3], 0.4, n), margin=0.1, samples=199).longest is not None for _ in range(200)
        )
        assert certified <= 5, n


def test_a_margin_that_is_lost_is_rarely_called_kept():
    """Each of three lengths loses exactly the margin: one-sided 2.5 %, and the first must hold before the next is asked."""
    rng, tries = numpy.random.default_rng(7), 200
    wrong = sum(verdict("x", *stretches(rng, [0.05] * 3), margin=0.05, samples=199).longest is not None for _ in range(tries))
    assert wrong / tries <= 0.05


def test_what_is_hidden_must_be_found_too():
    lost, few, fine = (
        Found(state, words) for state, words in ((WORSE, "keys lost"), (OPEN, "keys few"), (HOLDS, "keys found"))
    )
    assert judged([0.0, 0.0], found={4096: lost}).longest == 2048
    assert judged([0.0, 0.0], found={4096: few}).longest == 2048
    assert judged([0.0, 0.0], found={2048: fine, 4096: fine}).longest == 4096
    assert judged([0.0, 0.5], found={4096: fine}).longest == 2048
    assert "and keys found." in judged([0.0], found={2048: fine}).words
    assert "At 2,048 it does not hold (" in judged([0.0], found={2048: lost}).words
    assert judged([0.0], found={2048: lost}).words.endswith("keys lost.")
    assert "At 2,048 it is not decided: " in judged([0.0], found={2048: few}).words
    assert "documents would" not in judged([0.0], found={2048: few}).words
    assert judged([0.5], found={2048: lost}).words.endswith("; keys lost.")


def test_a_baseline_of_fewer_tokens_counts_by_its_means():
    baseline, made = stretches(numpy.random.default_rng(8), [0.1])
    shorter = LastStretch(1024, baseline.sums / 2, baseline.counts / 2)
    assert verdict("x", shorter, made, margin=0.1).steps == verdict("x", baseline, made, margin=0.1).steps


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
        verdict("x", *change(*stretches(numpy.random.default_rng(0), [0.0])), margin=0.1)


@pytest.mark.parametrize("margin", [0, -1, float("nan")])
def test_a_margin_of_nothing_is_refused(margin):
    with pytest.raises(BadOption, match=f"margin is {margin}; it must be above 0"):
        judged([0.0], margin=margin)


def test_a_margin_that_everything_is_within_is_refused():
    with pytest.raises(BadOption, match="margin is infinite; it must be a finite number"):
        judged([0.0], margin=float("inf"))
