"""Attention by spans against torch's own attention under a mask that is written out, token by token."""

import types

import numpy
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ropewalk.errors import CannotAttach
from ropewalk.jobs.train import attention
from ropewalk.jobs.train.attention import _by_spans, attend, attending
from ropewalk.jobs.train.data.layout import lay_out, shard

N, SCALE = 48, 0.3
MODULE = types.SimpleNamespace(is_causal=True)


def tensors(rows=2):
    torch.manual_seed(1)
    return (torch.randn(rows, h, N, 8, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2))


def oracle(query, key, value, lengths, window):
    """Every pair of columns is asked on its own: same document, not later, not further back than the window."""
    seen = torch.zeros(len(lengths), 1, N, N, dtype=torch.bool)
    for row, pieces in enumerate(lengths):
        of = numpy.repeat(numpy.arange(len(pieces)), pieces)
        for q in range(N):
            for k in range(q + 1):
                seen[row, 0, q, k] = bool(of[q] == of[k]) and (window is None or q - k < window)
    key, value = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=SCALE).transpose(1, 2)


def layout_of(lengths):
    ids = numpy.arange(N)
    return lay_out([(ids, pieces) for pieces in lengths])


CASES = [[(N,), (N,)], [(20, 5, 23), (20, 5, 23)], [(1, 46, 1), (30, 18)]]


@pytest.mark.parametrize("lengths", CASES)
@pytest.mark.parametrize("window", [None, 7, 100])
@pytest.mark.parametrize("block", [512, 5])
def test_spans_are_the_mask_written_out(lengths, window, block, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", block)
    query, key, value = tensors()
    with attending(layout_of(lengths)):
        found, weights = attend(MODULE, query, key, value, scaling=SCALE, sliding_window=window)
    expected = oracle(query, key, value, lengths, window)
    assert weights is None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for mine, theirs in zip(
        *(torch.autograd.grad(x.square().sum(), (query, key, value)) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("lengths", CASES)
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("world", [2, 3])
def test_each_shard_answers_for_its_columns(lengths, window, world):
    """Queries of a process, and all keys: what the gathering of keys leads to, without the processes."""
    query, key, value = tensors()
    expected, covered = oracle(query, key, value, lengths, window).transpose(1, 2), []
    for rank in range(world):
        mine = shard(layout_of(lengths), rank, world)
        found = _by_spans(query[:, :, mine.order], key, value, mine.spans, SCALE, 0.0, window)
        torch.testing.assert_close(found, expected[:, :, mine.order], rtol=0, atol=1e-12)
        covered += mine.order.tolist()
    assert sorted(covered) == list(range(N))


def test_the_mask_is_the_same_attention():
    lengths = CASES[2]
    query, key, value = tensors()
    expanded = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    found = scaled_dot_product_attention(query, *expanded, attn_mask=layout_of(lengths).mask(), scale=SCALE).transpose(1, 2)
    torch.testing.assert_close(found, oracle(query, key, value, lengths, None), rtol=0, atol=1e-12)
    assert layout_of(CASES[0]).mask() is None


def test_what_it_does_not_know_is_refused():
    query, key, value = tensors()
    with pytest.raises(CannotAttach, match="needs the layout"):
        attend(MODULE, query, key, value)
    with attending(layout_of(CASES[0])):
        with pytest.raises(CannotAttach, match="softcap"):
            attend(MODULE, query, key, value, softcap=50.0)
        with pytest.raises(CannotAttach, match="no causality"):
            attend(types.SimpleNamespace(is_causal=False), query, key, value)
