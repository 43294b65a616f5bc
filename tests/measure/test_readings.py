"""Readings and tables on numbers worked out by hand: no model is asked."""

import math

import numpy
import pytest

from ropewalk.errors import BadConfig
from ropewalk.measure.protocols import CORPUS, Position, Prefix, Sliding, Window, parse_protocol
from ropewalk.measure.records import Key, Readings, Record
from ropewalk.measure.tables import compat, loss_by_position, sums_by_position, table


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


def test_a_document_that_lacks_one_cell_is_in_no_cell():
    """e was read to 3 tokens of 5: its first cell is there, its second is not. A table compares the same documents."""
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4]), reading("e", 0, 3, [10, 20])])
    found = table(readings, Position((0, 3, 5)))["yarn"]
    assert {line: cell.documents for line, cell in found.items()} == {"0-3": ("d",), "3-5": ("d",)}
    assert {line: cell.sums.tolist() for line, cell in found.items()} == {"0-3": [3.0], "3-5": [7.0]}
    assert table(Readings([reading("e", 0, 3, [10, 20])]), Position((0, 3, 5))) == {}
    assert table(readings, Prefix((3,)))["yarn"]["3"].documents == ("d", "e")


def test_documents_shorter_than_a_protocol_needs_are_left_out():
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4], tokens=4), reading("e", 0, 5, [1, 2, 3, 4], tokens=3)])
    assert table(readings, Prefix((5,)))["yarn"]["5"].documents == ("d",)


def test_sums_are_taken_in_float64():
    """2^24 + 1 + 1 + 1: float32 stays at 2^24."""
    (cell,) = table(Readings([reading("d", 0, 5, [2.0**24, 1, 1, 1])]), Prefix((5,)))["yarn"].values()
    assert cell.sums.tolist() == [2.0**24 + 3]
    (bucket,) = sums_by_position(Readings([reading("d", 0, 5, [2.0**24, 1, 1, 1])]), (0, 5))["yarn"]
    assert bucket.sums.tolist() == [2.0**24 + 3]


def test_a_cell_says_nats_bits_and_perplexity():
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4]), reading("e", 0, 5, [1, 1, 1, 1])])
    (cell,) = table(readings, Prefix((5,)))["yarn"].values()
    assert cell.mean == (10 + 4) / 8
    assert cell.perplexity == pytest.approx(math.exp(1.75))
    assert cell.interval().value == pytest.approx(1.75 / math.log(2))
    assert (cell.counts.tolist(), cell.tokens.tolist()) == ([4, 4], [4, 4])


def test_positions_need_every_bucket_of_a_document():
    readings = Readings([reading("d", 0, 5, [1, 2, 3, 4]), reading("e", 0, 3, [10, 20])])
    first, second = sums_by_position(readings, (0, 3, 5))["yarn"]
    assert (first.documents, second.documents) == (("d",), ("d",))
    assert (first.counts.tolist(), second.counts.tolist()) == ([2], [2])  # BOS is no token
    assert sums_by_position(readings, (0, 6)) == {}


def test_a_bucket_comes_from_the_shortest_reading_that_covers_it():
    """As a request of that length would see it: dynamic scaling reads 1 to 3 otherwise in a longer one."""
    readings = Readings([reading("d", 0, 5, [9, 9, 3, 4], shortest=5), reading("d", 0, 3, [1, 2], shortest=3)])
    first, second = sums_by_position(readings, (0, 3, 5))["yarn"]
    assert (first.sums.tolist(), second.sums.tolist()) == ([3.0], [7.0])


def test_loss_by_position_is_in_bits():
    (bucket,) = loss_by_position([reading(name, 0, 3, [2, 2]) for name in "de"], (0, 3))["yarn"]
    assert bucket.value == pytest.approx(2 / math.log(2))


def test_edges_double_from_the_window():
    """0, L/2, L, 2 L, 4 L, ... and the target, each once."""
    from ropewalk.measure.tables import edges_of

    assert edges_of(512, 4096) == (0, 256, 512, 1024, 2048, 4096)
    assert edges_of(512, 3000) == (0, 256, 512, 1024, 2048, 3000)
    assert edges_of(512, 512) == edges_of(512, 100) == (0, 256, 512)
