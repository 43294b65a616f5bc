"""PASS, FAIL and INCONCLUSIVE: the rule at its edges, on cells made for it. No server."""

import math
from itertools import pairwise

import numpy
import pytest

from ropewalk.jobs.doctor.live import judge
from ropewalk.jobs.doctor.live.judge import judge_keys, judge_loss, overall
from ropewalk.jobs.doctor.live.measure import PassageCell
from ropewalk.measure.comparisons import mcnemar, newcombe, paired

L = 512


def cell(passage, length, loss=None, found=None, tokens=100):
    return PassageCell(passage=passage, length=length, loss=loss, tokens=tokens, found=found)


def losses(*beyond, base=2.0):
    """Cells of passages: the loss at L is `base` (or one each), at 2 L, 4 L, ... as given."""
    n = len(beyond[0])
    at = [base] * n if isinstance(base, float) else base
    rows = [cell(p, L, at[p]) for p in range(n)]
    return rows + [cell(p, L * 2**i, at[p] + gaps[p]) for i, gaps in enumerate(beyond, 1) for p in range(n)]


def noisy(mean, deviation, n=12, seed=0):
    gaps = numpy.random.default_rng(seed).normal(0, 1, n)
    return list(mean + deviation * (gaps - gaps.mean()) / gaps.std(ddof=1))


def p_of(gaps, margin):
    found = paired(numpy.array(gaps) * 100, numpy.zeros(len(gaps)), numpy.full(len(gaps), 100))
    return found.p_below(margin), found.p_above(margin)


def find(p_is_at_most, margin, side):
    """Gaps whose one-sided p is just at most, and just above, the level."""
    means = numpy.linspace(margin - 0.2, margin + 0.2, 401)
    found = [(p_of(noisy(mean, 0.1), margin)[side] <= p_is_at_most, noisy(mean, 0.1)) for mean in means]
    return next((a, b) for (was, a), (now, b) in pairwise(found) if was != now)


def verdict_of(gaps, margin=0.1, more=()):
    return judge_loss(losses(gaps, *more), L, margin)[1].verdict


def test_pass_is_shown_at_five_of_a_hundred_whatever_the_number_of_lengths():
    within, outside = find(0.05, 0.1, 0)
    assert (verdict_of(within), verdict_of(outside)) == ("PASS", "INCONCLUSIVE")
    assert verdict_of(within, more=[within, within]) == "PASS"


@pytest.mark.parametrize("lengths", [1, 2, 4])
def test_fail_is_shown_at_five_of_a_hundred_over_the_number_of_lengths(lengths):
    below, above = find(0.05 / lengths, 0.1, 1)
    more = [[0.0] * 12] * (lengths - 1)
    assert (verdict_of(below, more=more), verdict_of(above, more=more)) == ("INCONCLUSIVE", "FAIL")


def test_a_length_inside_the_window_has_no_verdict_and_is_no_look():
    cells = [cell(p, 256, 2.5) for p in range(12)] + losses(find(0.05, 0.1, 1)[1])
    steps = judge_loss(cells, L, 0.1)
    assert [(step.length, step.verdict) for step in steps] == [(256, ""), (L, ""), (2 * L, "FAIL")]
    assert steps[0].difference is None
    assert [step.passages for step in steps] == [12] * 3
    assert steps[0].loss.value == pytest.approx(2.5)


def test_the_difference_is_of_the_same_passages_at_the_windows_end():
    """Passages differ by far more than the stretch does; one that was not read at L takes no part."""
    cells = losses([0.05] * 6, base=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    cells.append(cell(6, 2 * L, 100.0))
    step = judge_loss(cells, L, 0.1)[1]
    assert (step.passages, step.verdict) == (6, "PASS")
    assert step.difference.value == pytest.approx(0.05)
    assert step.loss.value == pytest.approx(3.55)


def test_tokens_weigh_the_passages():
    cells = [cell(0, L, 1.0, tokens=300), cell(1, L, 1.0), cell(0, 2 * L, 1.4, tokens=300), cell(1, 2 * L, 1.0)]
    step = judge_loss(cells, L, 0.1)[1]
    assert step.difference.value == pytest.approx(0.3)
    assert step.loss.value == pytest.approx(1.3)


def test_a_loss_that_is_no_number_or_absent_takes_no_part():
    cells = losses([0.0] * 3)
    cells += [cell(3, L, math.nan), cell(3, 2 * L, 2.0), cell(4, L, None), cell(4, 2 * L, 2.0), cell(5, 2 * L, math.inf)]
    assert [step.passages for step in judge_loss(cells, L, 0.1)] == [3, 3]


def test_nothing_measured_is_no_step():
    assert judge_loss([cell(0, L, None, True), cell(0, 2 * L, None, True)], L, 0.1) == []
    assert judge_keys(losses([0.0]), L) == []


def keys(inside, *beyond):
    """Hits of each passage: at L, then at 2 L, 4 L, ..."""
    rows = [cell(p, L, found=hit) for p, hit in enumerate(inside)]
    return rows + [cell(p, L * 2**i, found=hit) for i, hits in enumerate(beyond, 1) for p, hit in enumerate(hits)]


def hits(n, of=12):
    return [True] * n + [False] * (of - n)


def test_a_loss_of_keys_is_one_sided_and_shared_out_over_the_lengths():
    """McNemar's mid-p of k lost and none won is 2^-k, two-sided: 2^-k / 2 one-sided against 0.05 / lengths.

    Three lost: 0.0625 > 0.05 with one length, though half of the two-sided 0.125 is what counts; four lost: 0.03125.
    """
    assert [mcnemar(0, k) for k in (3, 4, 5)] == [0.125, 0.0625, 0.03125]
    one = [judge_keys(keys(hits(12), hits(12 - k)), L)[1].verdict for k in (3, 4, 5)]
    assert one == ["INCONCLUSIVE", "FAIL", "FAIL"]
    two = [judge_keys(keys(hits(12), hits(12 - k), hits(12)), L)[1].verdict for k in (4, 5, 6)]
    assert two == ["INCONCLUSIVE", "FAIL", "FAIL"]
    three = [judge_keys(keys(hits(12), hits(12 - k), hits(12), hits(12)), L)[1].verdict for k in (4, 5)]
    assert three == ["INCONCLUSIVE", "FAIL"]


def test_keys_that_are_gained_are_no_loss():
    assert judge_keys(keys(hits(6), hits(12)), L)[1].verdict == "PASS"


def test_pass_needs_the_interval_above_a_loss_of_a_quarter():
    """Newcombe's interval of 12 of 12 against 12 of 12 begins at -0.243, of 11 of 11 at -0.259."""
    assert newcombe(12, 0, 0, 0).low == pytest.approx(-0.2425, abs=1e-3)
    assert newcombe(11, 0, 0, 0).low < -0.25
    assert judge_keys(keys(hits(12), hits(12)), L)[1].verdict == "PASS"
    assert judge_keys(keys(hits(11, 11), hits(11, 11)), L)[1].verdict == "INCONCLUSIVE"


def test_who_does_not_find_half_of_them_inside_says_nothing_by_missing_them():
    assert judge_keys(keys(hits(6), hits(0)), L)[1].verdict == "FAIL"
    assert judge_keys(keys(hits(5), hits(0)), L)[1].verdict == "INCONCLUSIVE"


def test_shares_are_counted_with_wilsons_interval():
    step = judge_keys(keys(hits(12), hits(9)), L)[1]
    assert (step.length, step.found, step.trials, step.share.value) == (1024, 9, 12, 0.75)
    assert step.share.low == pytest.approx(0.4677, abs=1e-4)  # Wilson, 9 of 12
    assert step.difference.value == pytest.approx(-0.25)


def test_keys_inside_the_window_have_no_verdict_and_are_no_look():
    cells = [cell(p, 256, found=True) for p in range(12)] + keys(hits(12), hits(8))
    assert [(step.length, step.verdict) for step in judge_keys(cells, L)] == [(256, ""), (L, ""), (1024, "FAIL")]


def test_without_the_same_passage_inside_there_is_no_verdict():
    (step,) = judge_keys([cell(0, 1024, found=False)], L)
    assert (step.verdict, step.difference) == ("", None)


def loss(*verdicts):
    return [judge.LossStep(1, 1, None, None, verdict) for verdict in verdicts]


def found(*verdicts):
    return [judge.KeyStep(1, 1, 1, None, None, verdict) for verdict in verdicts]


@pytest.mark.parametrize(
    ("losses", "keys", "findings", "verdict"),
    [
        (loss("", "PASS", "PASS"), found("", "PASS"), (), "PASS"),
        (loss("", "PASS", "INCONCLUSIVE"), found("PASS"), (), "INCONCLUSIVE"),
        (loss("PASS", "FAIL"), found("PASS"), (), "FAIL"),
        (loss("PASS"), found("FAIL"), (), "FAIL"),
        (loss("PASS"), found("PASS"), ("refused",), "FAIL"),
        (loss("PASS"), found("INCONCLUSIVE"), (), "PASS"),
        (loss(), found("", "PASS", "PASS"), (), "PASS"),
        (loss(), found("PASS", "INCONCLUSIVE"), (), "INCONCLUSIVE"),
        (loss(""), found(""), (), "INCONCLUSIVE"),
        (loss(), found(), (), "INCONCLUSIVE"),
    ],
)
def test_the_verdict_over_all(losses, keys, findings, verdict):
    assert overall(losses, keys, findings) == verdict


def test_the_levels_and_margins_are_those_of_the_documentation():
    """docs/doctor.md: 0.05, 0.1 nats, a quarter of the keys, half of them inside."""
    assert (judge.LEVEL, judge.MARGIN, judge.KEY_MARGIN, judge.SKILL) == (0.05, 0.1, 0.25, 0.5)
