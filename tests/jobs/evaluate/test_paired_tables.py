"""Sums per document and bucket, and methods compared on them: numbers worked out by hand."""

import numpy
import pytest

from jobs.report.synthetic import plans, reading
from ropewalk.jobs.evaluate.paired_tables import compare_buckets, document_sums
from ropewalk.jobs.evaluate.tables import loss_by_position

PLANS = plans(["none", "yarn", "dynamic-request"])
NONE, YARN, DYNAMIC = (PLANS[name] for name in ("none", "yarn", "dynamic-request"))


def test_a_bucket_has_the_tokens_of_its_positions_and_bos_is_no_token():
    """Tokens 0 to 3, 0 being BOS: the bucket 0-2 has token 1 alone, 2-4 has tokens 2 and 3."""
    sums = document_sums([reading(YARN, "a", [1, 2, 3]), reading(YARN, "b", [3, 4, 5])], [0, 2, 4])["yarn"]
    assert sums["a"].tolist() == [[1, 1], [5, 2]]
    assert sums["b"].tolist() == [[3, 1], [9, 2]]


def test_a_bucket_comes_from_the_shortest_reading_that_covers_it():
    records = [reading(DYNAMIC, "a", [7.0]), reading(DYNAMIC, "a", [9, 9, 5])]
    assert document_sums(records, [0, 2, 4])[DYNAMIC.name]["a"].tolist() == [[7, 1], [14, 2]]


def test_a_document_that_was_not_read_so_far_has_no_tokens_there():
    assert document_sums([reading(YARN, "a", [1, 2, 3])], [0, 4, 8])["yarn"]["a"].tolist() == [[6, 3], [0, 0]]


def test_a_window_that_starts_inside_a_document_is_no_reading_from_its_beginning():
    assert document_sums([reading(YARN, "a", [1, 2, 3], start=100)], [0, 4]) == {}


def test_the_sums_of_all_documents_are_the_table_of_loss_by_position():
    rng = numpy.random.default_rng(0)
    records = [reading(YARN, name, rng.uniform(1, 5, 63)) for name in "abcd"]
    edges = [0, 16, 32, 64]
    parts = numpy.array([*document_sums(records, edges)["yarn"].values()]).sum(0)
    wanted = [bucket.value for bucket in loss_by_position(records, edges)["yarn"]]
    assert parts[:, 0] / parts[:, 1] / numpy.log(2) == pytest.approx(wanted)


def test_two_methods_are_compared_over_the_documents_that_both_read():
    """yarn is 1 nat worse in a and b alike, whatever the documents are like; c was read by one of them only."""
    records = [reading(NONE, "a", [1, 1, 1]), reading(NONE, "b", [8, 9, 7]), reading(NONE, "c", [50, 50, 50])]
    records += [reading(YARN, "a", [1, 2, 2]), reading(YARN, "b", [8, 10, 8])]
    sums = document_sums(records, [0, 2, 4])
    found = compare_buckets(sums["yarn"], 1, sums["none"], 1)
    assert found.difference.value == pytest.approx(1.0)
    assert found.documents == 2
    assert compare_buckets(sums["yarn"], 0, sums["none"], 0).difference.value == 0


def test_two_stretches_are_compared_by_the_means_of_documents():
    """Stretch 2-4 less stretch 0-2: a: 5/2 - 1 = 1.5, b: 9/2 - 3 = 1.5."""
    sums = document_sums([reading(YARN, "a", [1, 2, 3]), reading(YARN, "b", [3, 4, 5])], [0, 2, 4])["yarn"]
    found = compare_buckets(sums, 1, sums, 0)
    assert found.difference.value == pytest.approx(1.5)
    assert found.error == 0


def test_nothing_in_common_is_no_comparison():
    sums = document_sums([reading(YARN, "a", [1, 2, 3]), reading(NONE, "b", [1, 2, 3])], [0, 2, 4])
    assert compare_buckets(sums["yarn"], 0, sums["none"], 0) is None
