"""Rows by number: against a slow packer that lays tokens out one by one, and what must hold of any rows at all."""

import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.errors import BadConfig, BadLength, BadOption
from ropewalk.jobs.train.data.index import Index
from ropewalk.jobs.train.data.packing import Bin, Packing, histogram

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def index_of(lengths):
    """An index whose every token is another: its own number."""
    ends = numpy.cumsum(lengths)
    return Index(Path(), numpy.arange(ends[-1], dtype=numpy.uint32), ends, {"fingerprint": ""})


def packing_of(lengths, length, seed=0, **options):
    """None where the data cannot fill a row."""
    try:
        return Packing(index_of(lengths), length, seed, **options)
    except BadConfig:
        return None


def slow_pools(lengths, length, min_piece):
    """(whole rows, remainders) as lists of (document, token)."""
    whole, remainders, token = [], [], 0
    for document, count in enumerate(lengths):
        tokens = [(document, token + i) for i in range(count)]
        token += count
        while len(tokens) >= length:
            whole.append(tokens[:length])
            tokens = tokens[length:]
        if len(tokens) >= min_piece:
            remainders.append(tokens)
    return whole, remainders


def shuffled(items, seed, kind, epoch):
    """The law of the order, said again: NumPy's RandomState, begun with (seed, 0, kind, epoch, 0)."""
    return [items[i] for i in numpy.random.RandomState([seed, 0, kind, epoch, 0]).permutation(len(items))]


def slow_epoch(lengths, length, seed, epoch, min_piece):
    """Every row of an epoch, as lists of (document, token)."""
    whole, remainders = slow_pools(lengths, length, min_piece)
    flat = [token for piece in shuffled(remainders, seed, 1, epoch) for token in piece]
    packed = [flat[i : i + length] for i in range(0, len(flat) - length + 1, length)]
    return shuffled(whole + packed, seed, 2, epoch)


def told(row):
    """(tokens, length of each piece) of a row of the slow packer."""
    return [token for _, token in row], tuple(len(list(run)) for _, run in groupby(row, key=lambda pair: pair[0]))


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(2, 24), st.integers(0, 5), st.integers(1, 4))
def test_rows_are_those_of_a_slow_packer(lengths, length, seed, min_piece):
    packing = packing_of(lengths, length, seed, min_piece=min_piece)
    for epoch in (0, 1, 3):
        slow = slow_epoch(lengths, length, seed, epoch, min_piece)
        if packing is None:
            assert slow == []
            continue
        assert packing.rows_per_epoch == len(slow)
        for place, expected in enumerate(slow):
            row = packing.row(epoch * len(slow) + place)
            assert (row.ids.tolist(), row.lengths) == told(expected)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(2, 24), st.sampled_from([None, 0.0, 0.25, 0.6, 1.0]))
def test_what_holds_of_every_row(lengths, length, share):
    packing = packing_of(lengths, length, long_share=share)
    if packing is None:
        return
    ends, seen = numpy.cumsum(lengths), []
    for number in range(packing.rows_per_epoch):
        row, pieces = packing.row(number), packing.pieces(number)
        assert row.ids.dtype == numpy.int64
        assert row.ids.shape == (length,)
        assert sum(row.lengths) == length
        at = 0
        for piece, count in zip(pieces, row.lengths, strict=True):
            tokens = row.ids[at : at + count]
            at += count
            assert (numpy.diff(tokens) == 1).all()  # a stretch of the index ...
            assert (numpy.searchsorted(ends, tokens, side="right") == piece.document).all()  # ... within one document
        seen += row.ids.tolist()
    assert len(seen) == len(set(seen))
    if share is None:
        assert sum(lengths) - len(seen) == packing.dropped
        lost = sum(n % length for n in lengths if n % length < 2)
        assert packing.dropped < length + lost


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(2, 24), st.lists(st.integers(0, 400), min_size=1, max_size=8), st.sampled_from([None, 0.5]))
def test_a_row_depends_on_nothing_that_was_asked_before(lengths, length, numbers, share):
    used = packing_of(lengths, length, 3, long_share=share)
    if used is None:
        return
    for number in numbers:
        fresh = packing_of(lengths, length, 3, long_share=share)
        assert used.pieces(number) == fresh.pieces(number)


def test_another_seed_and_another_epoch_are_another_order():
    lengths = [50, 7, 9, 30, 12, 64, 5, 21] * 4
    first = packing_of(lengths, 16, 0)
    rows = [tuple(first.row(n).ids) for n in range(first.rows_per_epoch)]
    next_epoch = [tuple(first.row(n + first.rows_per_epoch).ids) for n in range(first.rows_per_epoch)]
    other = packing_of(lengths, 16, 1)
    assert rows != next_epoch
    assert rows != [tuple(other.row(n).ids) for n in range(other.rows_per_epoch)]
    far = packing_of(lengths, 16, 2**64 - 1)
    assert far.row(2**40).lengths  # nothing overflows


def test_the_order_is_that_of_every_version():
    """Seen on 2026-11-24 with NumPy 2.4.6. A change here makes every resumed run see other data: it needs a new schema."""
    packing = packing_of([5, 11, 3, 8, 2], 4, 7)
    assert [packing.row(n).ids.tolist() for n in (0, 1, 4)] == [[23, 24, 25, 26], [5, 6, 7, 8], [28, 13, 14, 15]]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(2, 12), st.sampled_from([(0.6, 3, 5), (0.25, 1, 4), (1.0, 1, 1), (0.0, 0, 1), (1 / 3, 1, 3)]))
def test_the_share_of_long_rows_is_kept_at_every_stretch(lengths, length, share):
    asked, top, bottom = share
    packing = packing_of(lengths, length, long_share=asked)
    if packing is None:
        return
    is_long = [len(packing.row(number).lengths) == 1 for number in range(60)]  # what is packed is shorter than a row
    assert [sum(is_long[:number]) for number in range(61)] == [number * top // bottom for number in range(61)]


def test_each_kind_has_passes_of_its_own():
    """Two whole rows and three packed ones, half and half: every whole row once before any comes again."""
    lengths, length = [4, 4, 3, 3, 3, 3], 4
    packing = packing_of(lengths, length, long_share=0.5)
    assert (packing.whole, packing.packed, packing.rows_per_epoch) == (2, 3, 5)
    documents = [packing.pieces(n)[0].document for n in range(1, 9, 2)]
    assert sorted(documents[:2]) == sorted(documents[2:]) == [0, 1]
    packed = [packing.row(n).ids.tolist() for n in range(0, 12, 2)]
    assert len({token for row in packed[:3] for token in row}) == len({token for row in packed[3:] for token in row}) == 12


@pytest.mark.parametrize(
    ("lengths", "length", "options", "said"),
    [
        ([30, 20], 64, {"long_share": 0.6}, "no document has the 64 tokens of a row; the longest has 30"),
        ([64, 64], 64, {"long_share": 0.6}, "shorter than a row of 64 tokens has 0 tokens altogether"),
        ([30, 20], 64, {}, "the data has 50 tokens, fewer than the 64 of one row"),
    ],
)
def test_data_that_cannot_fill_a_row(lengths, length, options, said):
    with pytest.raises(BadConfig, match=said):
        Packing(index_of(lengths), length, 0, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [((1, 0), {}, BadLength), ((8, -1), {}, BadOption), ((8, 2**64), {}, BadOption), ((8, 0), {"min_piece": 0}, BadOption)]
    + [((8, 0), {"long_share": share}, BadOption) for share in (-0.1, 1.1, float("nan"))],
)
def test_what_makes_no_sense(arguments, options, error):
    with pytest.raises(error):
        Packing(index_of([9]), *arguments, **options)
    with pytest.raises(BadOption, match="there is no row -1"):
        Packing(index_of([9]), 8, 0).row(-1)


PROCESS = """
import json, sys, numpy
from pathlib import Path
from ropewalk.jobs.train.data.index import open_index
from ropewalk.jobs.train.data.packing import Packing
packing = Packing(open_index(Path(sys.argv[1])), 16, 5)
numbers = range(int(sys.argv[2]), packing.rows_per_epoch, 2)
print(json.dumps([packing.row(n).ids.tolist() for n in reversed(numbers)]))
"""


def test_two_processes_see_disjoint_rows_and_together_all_of_them(tmp_path):
    ends = numpy.cumsum([50, 7, 9, 30, 12, 64, 5, 21] * 4)
    numpy.arange(ends[-1], dtype="<u4").tofile(tmp_path / "tokens.bin")
    numpy.save(tmp_path / "ends.npy", ends)
    facts = {"schema": "ropewalk.index/1", "dtype": "uint32", "tokens": int(ends[-1]), "documents": 32, "fingerprint": "x"}
    (tmp_path / "index.json").write_text(json.dumps(facts))
    outs = [
        subprocess.run([sys.executable, "-c", PROCESS, tmp_path, str(rank)], capture_output=True, text=True, check=True).stdout
        for rank in range(2)
    ]
    first, second = ({tuple(row) for row in json.loads(out)} for out in outs)
    tokens = [token for row in first | second for token in row]
    assert not first & second
    assert len(tokens) == len(set(tokens))
    here = Packing(Index(tmp_path, numpy.arange(ends[-1]), ends, {}), 16, 5)
    assert first | second == {tuple(here.row(n).ids.tolist()) for n in range(here.rows_per_epoch)}


@given(LENGTHS)
def test_the_histogram_counts_every_document_once(lengths):
    bins = histogram(index_of(lengths))
    for low, high, documents, tokens in bins:
        inside = [n for n in lengths if low <= n < high]
        assert (documents, tokens) == (len(inside), sum(inside))
        assert high == 2 * low
        assert low.bit_count() == 1
    assert sum(b.documents for b in bins) == len(lengths)
    assert bins[0].documents
    assert bins[-1].documents


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_all_64_bits_of_a_seed_count(seed):
    """numpy.random.RandomState takes words of 32 bits: the high one is a word of its own."""
    rows = [
        [packing_of([50, 7, 9, 30, 12, 64, 5, 21] * 4, 16, s).row(n).ids.tolist() for n in range(20)]
        for s in (seed, seed + 2**32, seed + 2**33, seed + 2**63)
    ]
    assert all(rows[i] != rows[j] for i in range(4) for j in range(i))


@pytest.mark.parametrize(("share", "of_ten_thousand"), [(0.37, 3700), (0.9999, 9999), (0.0001, 1), (2 / 3, 6666)])
def test_a_share_is_kept_to_the_fourth_digit(share, of_ten_thousand):
    packing = packing_of([64, 64, 3, 3, 3, 3, 3, 3], 4, long_share=share)
    assert packing._whole_before(10_000) == of_ten_thousand


def test_a_histogram_with_edges_of_ones_own():
    """A bin ends before its upper edge, the last one too."""
    assert histogram(index_of([1, 5, 9, 10, 50, 99]), [5, 10, 50]) == [Bin(5, 10, 2, 14), Bin(10, 50, 1, 10)]
