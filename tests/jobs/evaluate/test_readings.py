"""Readings and tables on numbers worked out by hand: no model is asked."""

import math

import numpy
import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.protocols import CORPUS, Position, Prefix, Sliding, Window, parse_protocol
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.records import Key, Record
from ropewalk.jobs.evaluate.tables import compat, loss_by_position, sums_by_position, table


def reading(document, start, length, nll, *, method="yarn", tokens=9, scored=None, shortest=2, bos=True):
    facts = {"document": document, "start": start, "bos": bos, "shortest": shortest, "document_tokens": tokens}
    facts["scored"] = scored or [[length - len(nll), length]]
    key = Key("m", method, method, "window", f"{document}{start}{length}{scored}", length)
    return Record(key, numpy.array(nll, dtype=numpy.float32), facts)


def test_a_reading_stands_for_shorter_windows_and_not_for_longer_ones():
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4])])
    assert readings.nll("yarn", Window("d", 0, 3)).tolist() == [1, 2]
    assert readings.nll("yarn", Window("d", 0, 5, 3)).tolist() == [3, 4]
    for absent in (Window("d", 0, 6), Window("d", 1, 3), Window("e", 0, 3), Window("d", 0, 3, 1, False)):
        assert readings.nll("yarn", absent) is None
    assert readings.nll("ntk", Window("d", 0, 3)) is None


def test_where_lengths_rotate_differently_only_the_readings_own_length_will_do():
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4], shortest=5), reading("d", 0, 3, [7, 8], shortest=3)])
    assert readings.nll("yarn", Window("d", 0, 5)).tolist() == [1, 2, 3, 4]
    assert readings.nll("yarn", Window("d", 0, 3)).tolist() == [7, 8]
    assert readings.nll("yarn", Window("d", 0, 4)) is None


def test_tokens_that_were_not_scored_are_not_there():
    readings = Readings([reading("d", 2, 9, [1, 2, 3, 4], scored=[[3, 5], [7, 9]])])
    assert readings.nll("yarn", Window("d", 2, 5, 3)).tolist() == [1, 2]
    assert readings.nll("yarn", Window("d", 2, 9, 8)).tolist() == [4]
    assert readings.nll("yarn", Window("d", 2, 9, 3)) is None
    assert readings.nll("yarn", Window("d", 2, 6, 4)) is None


def test_a_record_with_fewer_losses_than_it_says_is_named():
    with pytest.raises(BadConfig, match=r"of d has 2 losses for the tokens \[\[1, 5\]\]"):
        Readings([reading("d", 0, 5, [1, 2], scored=[[1, 5]])])


def sliding_readings():
    """Sliding(5, 3) over 7 tokens of d and 4 of e: losses 1 2 3 4 | 5 6 7, and 10 20 30 40."""
    return Readings(
        [
            reading("d", 0, 5, [1, 2, 3, 4], tokens=7),
            reading("d", 3, 5, [5, 6, 7], tokens=7),
            reading("e", 0, 5, [10, 20, 30, 40], tokens=4),
        ]
    )


@pytest.mark.parametrize(
    ("text", "nats"),
    [
        ("sliding:5,3", 128 / 11),
        ("press:5,3", 128 / 11),
        ("yarn:5,3", (2.5 + 6 + 25) / 3),
        ("document-mean:5,3", (28 / 7 + 25) / 2),
    ],
)
def test_what_has_equal_weight_in_the_mean(text, nats):
    (sums,) = table(sliding_readings(), parse_protocol(text))["yarn"].values()
    assert sums.mean == pytest.approx(nats)
    assert sums.documents == ("d", "e")
    assert sums.tokens.tolist() == [7, 4]
    assert compat(sliding_readings(), [parse_protocol(text)]) == {text: {"yarn": pytest.approx(math.exp(nats))}}
    assert sums.interval().value == pytest.approx(nats / math.log(2))


def test_a_document_that_was_not_read_to_its_end_is_left_out():
    half = Readings([reading("d", 0, 5, [1, 2, 3, 4], tokens=7), reading("e", 0, 5, [1, 1, 1, 1], tokens=4)])
    assert table(half, Sliding(5, 3))["yarn"]["5"].documents == ("e",)
    assert table(half, Sliding(7, 3)) == {}


def test_prefix_and_position_cut_the_same_reading_differently():
    readings = Readings([reading("d", 0, 9, [1, 2, 3, 4, 5, 6, 7, 8]), reading("e", 0, 9, [2] * 8)])
    prefix = table(readings, Prefix((3, 9)))["yarn"]
    assert {label: cell.mean for label, cell in prefix.items()} == {"3": (1 + 2 + 2 + 2) / 4, "9": (36 + 16) / 16}
    buckets = table(readings, Position((0, 3, 9)))["yarn"]
    assert {label: cell.sums.tolist() for label, cell in buckets.items()} == {"0-3": [3, 4], "3-9": [33, 12]}
    assert [cell.sums.tolist() for cell in sums_by_position(readings, [0, 3, 9])["yarn"]] == [[3, 4], [33, 12]]
    assert loss_by_position(readings, [0, 3])["yarn"][0].value == pytest.approx(7 / 4 / math.log(2))


def test_the_corpus_is_no_document_and_documents_are_no_corpus():
    readings = Readings([reading(CORPUS, 0, 5, [9, 9, 9, 9]), reading("d", 0, 5, [1, 1, 1, 1])])
    assert table(readings, Prefix((5,)))["yarn"]["5"].documents == ("d",)
    assert sums_by_position(readings, [0, 5])["yarn"][0].documents == ("d",)
