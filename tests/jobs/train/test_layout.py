"""Labels, positions and shards of a row, counted by hand and by another way of counting."""

import numpy
import pytest
import torch

from ropewalk.jobs.train.data.layout import IGNORED, lay_out, restarting, shard, skipping, zigzag

IDS = numpy.array([10, 11, 12, 13, 14, 15, 16, 17])


def test_labels_never_cross_documents():
    layout = lay_out([(IDS, (3, 1, 4)), (IDS, (8,))])
    assert layout.labels.tolist() == [
        [11, 12, IGNORED, IGNORED, 15, 16, 17, IGNORED],
        [11, 12, 13, 14, 15, 16, 17, IGNORED],
    ]
    assert layout.positions.tolist() == [[0, 1, 2, 0, 0, 1, 2, 3], list(range(8))]


def test_rows_cut_alike_share_their_spans():
    layout = lay_out([(IDS, (3, 5)), (IDS, (3, 5)), (IDS, (8,))])
    assert [span.rows for span in layout.spans] == [(0, 2), (0, 2), (2, 3)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_a_zigzag_covers_all_and_shares_the_work(world):
    length = 24 * world
    orders = [zigzag(length, rank, world) for rank in range(world)]
    assert sorted(torch.cat(orders).tolist()) == list(range(length))
    assert len({int((order + 1).sum()) for order in orders}) == 1, "as many keys are seen by everyone's queries"


def test_a_shard_has_the_labels_of_the_whole():
    """The label at a shard's end is its neighbour's token."""
    whole = lay_out([(IDS, (5, 3))])
    parts = [shard(whole, rank, 2) for rank in range(2)]
    assert parts[0].order.tolist() == [0, 1, 6, 7]
    back = torch.cat([part.order for part in parts]).argsort()
    for name in ("ids", "labels", "positions"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)[:, back]
        assert joined.equal(getattr(whole, name))
    assert parts[0].everyone.tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
    assert parts[1].documents == whole.spans


@pytest.mark.parametrize("lengths", [(64,), (30, 34), (1, 63), (1,) * 4])
def test_pose_skips_once_and_reaches_the_target(lengths):
    """arXiv:2309.10400, section 3.2: two chunks; positions rise by one inside each."""
    rng, target, seen = numpy.random.default_rng(0), 512, set()
    for _ in range(3000):
        positions, start = skipping(lengths, target, rng), 0
        for n in lengths:
            piece = positions[start : start + n]
            assert piece[0] == 0
            assert (numpy.diff(piece) >= 1).all()
            assert (numpy.diff(piece) > 1).sum() <= 1
            assert piece[-1] < target
            seen |= {int(piece[-1])}
            start += n
    if max(lengths) > 1:
        assert max(seen) == target - 1
        assert min(seen) == min(n for n in lengths) - 1


def test_a_row_as_long_as_the_target_skips_nothing():
    assert skipping((16,), 16, numpy.random.default_rng(0)).tolist() == restarting((16,)).tolist()
