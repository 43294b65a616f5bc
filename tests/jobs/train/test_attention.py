"""Attention by spans against torch's own attention under a mask that is written out, token by token."""

import types

import numpy
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ropewalk.errors import CannotAttach
from ropewalk.jobs.train import attention
from ropewalk.jobs.train.attention import _by_spans, attend, attending, check_attends
from ropewalk.jobs.train.data.layout import lay_out, shard
from ropewalk.jobs.train.setup import attending_by_layout
from ropewalk.models.attach import attach
from support.architectures import FAMILIES, build, plan_of, tiny_config
from support.architectures import tokens as words

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


def test_which_document_a_column_belongs_to():
    """By hand."""
    found = layout_of(CASES[2]).document_of
    assert found.tolist() == [[0] + [1] * 46 + [2], [0] * 30 + [1] * 18]
    assert not layout_of(CASES[0]).document_of.any()


def test_what_it_does_not_know_is_refused():
    query, key, value = tensors()
    with pytest.raises(CannotAttach, match="needs the layout"):
        attend(MODULE, query, key, value)
    with attending(layout_of(CASES[0])):
        with pytest.raises(CannotAttach, match="softcap"):
            attend(MODULE, query, key, value, softcap=50.0)
        with pytest.raises(CannotAttach, match="no causality"):
            attend(types.SimpleNamespace(is_causal=False), query, key, value)


# --- in models: transformers' own attention, under the masks that it makes itself, is the other arithmetic

WINDOW = dict(use_sliding_window=True, sliding_window=64, layer_types=["sliding_attention", "full_attention"])


def by_spans(model, ids, lengths):
    config, layout = model.config, lay_out([(ids[0].numpy(), lengths)])
    before, config._attn_implementation = config._attn_implementation, attention.register()
    try:
        check_attends(model)
        with torch.no_grad(), attending(layout):
            return model(ids, position_ids=layout.positions, use_cache=False).logits
    finally:
        config._attn_implementation = before


@pytest.mark.parametrize("family", ["afmoe", "diffllama", "gemma3_text", "qwen3"])
def test_documents_of_a_row_are_as_alone_in_stock_transformers(family):
    model, ids = build(tiny_config(family, FAMILIES[family][1] | (WINDOW if family == "qwen3" else {}))), words(200)
    with torch.no_grad():
        alone = [model(piece, use_cache=False).logits for piece in ids.split([120, 80], 1)]
    torch.testing.assert_close(by_spans(model, ids, (120, 80)), torch.cat(alone, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("family", "more"), [("llama4_text", dict(attention_chunk_size=64)), ("qwen2_moe", WINDOW)])
def test_a_window_that_only_a_mask_says_is_refused_in_rows_that_are_longer(family, more):
    """transformers 5.23: modeling_llama4.py and modeling_qwen2_moe.py hand no sliding_window to their attention function."""
    model, ids = build(tiny_config(family, FAMILIES[family][1] | more)), words(200)
    with torch.no_grad():
        wanted = model(ids[:, :64], use_cache=False).logits
    torch.testing.assert_close(by_spans(model, ids[:, :64], (64,)), wanted, rtol=0, atol=1e-4)
    with pytest.raises(CannotAttach, match=r"looks 64 tokens back .*\n.*in rows of 65 it would look further"):
        by_spans(model, ids[:, :65], (65,))
    assert attention.Current.narrowest is None


@pytest.mark.parametrize(
    ("family", "words_of_it"),
    [("falcon", "FalconForCausalLM attends in code of its own"), ("gemma2", "softcap"), ("gpt_oss", "s_aux")],
)
def test_models_that_spans_do_not_know_are_told_so(family, words_of_it):
    with pytest.raises(CannotAttach, match=words_of_it):
        by_spans(build(tiny_config(family)), words(32), (32,))


JUMPING = numpy.concatenate([numpy.arange(70), numpy.arange(70, 200) + 150])  # PoSE's positions, of one document


@pytest.mark.parametrize("attention_of_it", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("family", "more", "windows"),
    [("llama", {}, [None, None]), ("mistral", dict(sliding_window=32), [32, 32]), ("qwen3", WINDOW, [64, None])],
)
@pytest.mark.parametrize(("lengths", "positions"), [((200,), None), ((200,), [JUMPING]), ((120, 80), None)])
def test_keys_that_are_rotated_on_read_are_seen_as_the_layout_says(family, more, windows, lengths, positions, attention_of_it):
    """A mask of every layer, written out: of its own document, not later, not further back than the layer's window."""
    model, ids = build(tiny_config(family, FAMILIES[family][1] | more)), words(200)
    model.set_attn_implementation(attention_of_it)
    layout, of = lay_out([(ids[0].numpy(), lengths)], positions), numpy.repeat(numpy.arange(len(lengths)), lengths)
    columns = numpy.arange(200)
    with attach(model, plan_of(model, "dynamic-yarn")), torch.no_grad():
        with attending_by_layout(model), attending(layout):
            found = model(ids, position_ids=layout.positions, use_cache=False).logits
        for layer, window in zip(model.model.layers, windows, strict=True):
            seen = (of[:, None] == of) & (columns <= columns[:, None]) & (columns > columns[:, None] - (window or 200))
            mask = torch.from_numpy(seen)[None, None]
            if attention_of_it == "eager":
                mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
            layer.self_attn.register_forward_pre_hook(
                lambda module, args, given, mask=mask: (args, given | {"attention_mask": mask}), with_kwargs=True
            )
        wanted = model(ids, position_ids=layout.positions, use_cache=False).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
