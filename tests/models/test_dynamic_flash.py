"""Flash attention cannot run without its package and a GPU: here a recorder stands in for transformers' function of that name.

It computes what the kernels are documented to: causal from the last query and the last key, mask (rows, keys).
"""

import pytest
import torch
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.test_dynamic import L, in_chunks, largest, llama, naive_logits, planned, run, tokens
from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument

FLASH = "flash_attention_2"


@pytest.fixture
def seen(monkeypatch):
    calls = []

    def kernel(module, query, key, value, attention_mask, scaling=None, position_ids=None, **kwargs):
        calls.append((query.shape[2], key.shape[2], attention_mask, module.config._attn_implementation, position_ids))
        queries, keys = query.shape[2], key.shape[2]
        hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)[None, None]
        if attention_mask is not None:
            hidden = hidden | ~attention_mask[:, None, None, :].bool()
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
        scores = (query @ key.transpose(2, 3) * scaling).masked_fill(hidden, torch.finfo(query.dtype).min)
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, FLASH, kernel)
    return calls


@pytest.fixture
def model():
    model = llama(torch.float64)
    model.config._attn_implementation_internal = FLASH  # from_pretrained would look for the package
    return model


def test_prefill_is_one_call_per_step_without_a_mask(model, seen):
    ids = tokens()
    with attach(model, planned(model)), torch.no_grad():
        seen.clear()
        got = run(model, ids, use_cache=False)
        layers = [seen[i : i + len(seen) // 3] for i in range(0, len(seen), len(seen) // 3)]
        # Steps of 2^(k/2) begin after 64, 90 (64 sqrt 2 = 90.5), 128 and 181 tokens.
        edges = [(64, 64), (26, 90), (38, 128), (53, 181), (19, 200)]
        assert [[(queries, keys) for queries, keys, *_ in layer] for layer in layers] == [edges] * 3
        assert all(mask is None and name == FLASH and place is None for *_, mask, name, place in seen)
        assert largest(got, naive_logits(model, ids)) < 1e-5
    assert model.config._attn_implementation == FLASH


def test_decoding_is_one_call_without_a_mask(model, seen):
    ids = tokens()
    with attach(model, planned(model)):
        whole, cache = run(model, ids, use_cache=False), DynamicCache(config=model.config)
        run(model, ids[:, :190], **cache_argument(model, cache))
        seen.clear()
        assert largest(in_chunks(model, ids[:, 190:], range(1, 10), cache), whole[:, 190:]) < 1e-12
        assert [(queries, keys, mask) for queries, keys, mask, *_ in seen[::3]] == [(1, n, None) for n in range(191, 201)]


def test_padding_reaches_the_kernel_as_rows_and_keys(model, seen):
    ids, mask = tokens(200, 2), torch.ones(2, 200, dtype=torch.long)
    mask[1, :70] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with attach(model, planned(model)):
        seen.clear()
        both = run(model, ids, attention_mask=mask, position_ids=positions, use_cache=False)
        assert {tuple(given.shape) for _, _, given, *_ in seen} == {(2, keys) for _, keys, *_ in seen}
        assert largest(both[1, 70:], run(model, ids[1:, 70:])[0]) < 1e-12


def test_packed_documents_are_refused_beyond_the_window_and_left_to_the_kernel_inside(model, seen):
    with attach(model, planned(model)):
        with pytest.raises(CannotAttach, match="packed documents"):
            run(model, tokens(120), position_ids=torch.cat([torch.arange(90), torch.arange(30)])[None], use_cache=False)
        seen.clear()
        places = torch.cat([torch.arange(L), torch.arange(30)])[None]
        run(model, tokens(L + 30), position_ids=places)
        assert torch.equal(seen[0][4], places)
