"""Buckets one by one, and methods compared on them: numbers worked out by hand."""

import math

import pytest

from ropewalk.measure.records import Readings
from ropewalk.measure.tables import bucket_sums, compare_sums
from support.synthetic import plans, reading

PLANS = plans(["none", "yarn"])
NONE, YARN = PLANS["none"], PLANS["yarn"]


def sums(edges, *records):
    return bucket_sums(Readings(records), edges)


def test_a_bucket_has_the_tokens_of_its_positions_and_bos_is_no_token():
    """Tokens 0 to 3, 0 being BOS: the bucket 0-2 has token 1 alone, 2-4 has tokens 2 and 3."""
    first, second = sums([0, 2, 4], reading(YARN, "a", [1, 2, 3]), reading(YARN, "b", [3, 4, 5]))["yarn"]
    assert (first.documents, first.sums.tolist(), first.counts.tolist()) == (("a", "b"), [1, 3], [1, 1])
    assert (second.sums.tolist(), second.counts.tolist()) == ([5, 9], [2, 2])


def test_what_was_not_read_to_the_end_still_has_its_first_buckets():
    """b ends at 4 tokens: it is in the first bucket, the second is a's alone, and nothing reached the third."""
    cells = sums([0, 4, 8, 16], reading(YARN, "a", [1] * 7), reading(YARN, "b", [2] * 3))["yarn"]
    assert [cell and cell.documents for cell in cells] == [("a", "b"), ("a",), None]


def test_no_interval_of_a_loss_goes_below_0():
    """1 and 3 nats: 2 with a standard error of 1 at least, and t is 12.7 with two documents: it would begin below -10."""
    [cell] = sums([0, 2], reading(YARN, "a", [1]), reading(YARN, "b", [3]))["yarn"]
    found = cell.interval()
    assert (found.low, found.value) == (0, pytest.approx(2 / math.log(2)))
    assert found.high > (2 + 12.7) / math.log(2)
    alone = sums([0, 2], reading(YARN, "a", [1]))["yarn"][0].interval()
    assert (alone.low, alone.high) == (-math.inf, math.inf)  # one document says nothing of others


def test_two_methods_are_compared_over_the_documents_that_both_read():
    """yarn adds 1 nat to one token of two, in a and b alike; "0" was read by one of them only."""
    table = sums(
        [0, 2, 4],
        *(reading(NONE, name, nll) for name, nll in (("0", [50, 50, 50]), ("b", [8, 9, 7]), ("a", [1, 1, 1]))),
        *(reading(YARN, name, nll) for name, nll in (("a", [1, 2, 1]), ("b", [8, 10, 7]))),
    )
    found = compare_sums(table["yarn"][1], table["none"][1], same_tokens=True)
    assert found.difference.value == pytest.approx(0.5)
    assert found.documents == 2
    assert compare_sums(table["yarn"][0], table["none"][0], same_tokens=True).difference.value == 0


def test_two_stretches_are_compared_by_the_means_of_documents():
    """Stretch 2-4 less stretch 0-2: a: 5/2 - 1 = 1.5, b: 9/2 - 3 = 1.5."""
    first, second = sums([0, 2, 4], reading(YARN, "a", [1, 2, 3]), reading(YARN, "b", [3, 4, 5]))["yarn"]
    found = compare_sums(second, first, same_tokens=False)
    assert found.difference.value == pytest.approx(1.5)
    assert found.error == 0


def test_nothing_in_common_is_no_comparison():
    table = sums([0, 2], reading(YARN, "a", [1]), reading(NONE, "b", [1]))
    assert compare_sums(table["yarn"][0], table["none"][0], same_tokens=True) is None
    assert compare_sums(None, table["none"][0], same_tokens=True) is None
