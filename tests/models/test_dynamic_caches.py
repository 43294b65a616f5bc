"""What a cache goes through under a causal plan: it grows in place, is cropped, copied and shared, and is never wrong."""

import copy

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, QuantizedLayer

from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.dynamic.cache import GrowingLayer, Room, added
from ropewalk.models.dynamic.kernels import can_merge, causal
from support.deferred import N, greedy, in_chunks, largest, llama, planned, run, tokens

# --- growing in place


def numbered(count, start=0):
    return torch.arange(start, start + count, dtype=torch.float64).expand(2, 3, 4, count).transpose(2, 3).contiguous()


def test_a_room_holds_what_concatenation_would():
    room, held = None, numbered(5)
    for i in range(5, 300):
        before = room
        room = added(room, held, numbered(1, i))
        held = room.view
        assert torch.equal(held, numbered(i + 1))
        assert room is before or room.tensor.shape[2] == i + 1 + max(64, i // 16)


def test_nobody_sees_a_token_change():
    """Two go on from one prefix, one after a crop: each has its own tokens."""
    room = added(None, numbered(5), numbered(3, 5))
    first, cropped = room.view, room.view[:, :, :-2]
    again = added(room, cropped, numbered(1, 70))
    twin = added(room, first, numbered(1, 80))
    other = added(room, first, numbered(1, 90))  # the room has moved on: first is not its latest view any more
    assert [again is room, twin is room, other is room] == [False, True, False]
    assert torch.equal(first, numbered(8))
    assert [twin.view[0, 0, 8, 0], other.view[0, 0, 8, 0], again.view[0, 0, 6, 0]] == [80, 90, 70]


def test_a_growing_layer_is_the_stock_layer_in_all_it_answers():
    ours, stock = GrowingLayer(), DynamicLayer()
    with torch.no_grad():
        for count, crop in ((7, 0), (1, 0), (1, -4), (2, 0), (1, -1), (1, 0), (90, 0), (1, 0)):
            new = torch.rand(2, 3, count, 4), torch.rand(2, 3, count, 4)
            assert all(torch.equal(a, b) for a, b in zip(ours.update(*new), stock.update(*new), strict=True))
            for layer in (ours, stock):
                layer.crop(crop)
                layer.reorder_cache(torch.tensor([1, 0]))
            assert torch.equal(ours.keys, stock.keys)
            assert torch.equal(ours.values, stock.values)
            assert ours.get_seq_length() == stock.get_seq_length()


def test_decoding_copies_no_cache():
    """The storage stays where it is while tokens are added, in a cache the caller made."""
    model, ids = llama(), tokens()
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        in_chunks(model, ids[:, :102], [100, 101], cache)
        before = [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in cache.layers]
        in_chunks(model, ids[:, 102:112], range(1, 10), cache)
        assert [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in cache.layers] == before


def test_gradients_flow_through_a_cache():
    """Where they are recorded nothing is written in place."""
    model, ids = llama(torch.float64), tokens(80)
    with attach(model, planned(model)):
        whole = torch.autograd.grad(model(ids, use_cache=False).logits[:, -1].sum(), model.lm_head.weight)[0]
        cache = DynamicCache(config=model.config)
        model(ids[:, :70], **cache_argument(model, cache))
        model(ids[:, 70:79], **cache_argument(model, cache))
        last = model(ids[:, 79:], **cache_argument(model, cache)).logits[:, -1]
        assert largest(torch.autograd.grad(last.sum(), model.lm_head.weight)[0], whole) < 1e-12
        assert largest(last, run(model, ids)[:, -1]) < 1e-12


def test_a_cache_filled_in_inference_mode_goes_on_without():
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            in_chunks(model, ids[:, :152], [150, 151], cache)
        assert largest(in_chunks(model, ids[:, 152:], [1, 2], cache), run(model, ids)[:, 152:]) < 1e-12


def test_a_prefix_read_once_goes_on_in_two_ways():
    """A shallow copy of every layer, as a prefix cache might hold them: the tensors are shared."""
    model, ids, other = llama(torch.float64), tokens(), tokens(seed=8)
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        in_chunks(model, ids[:, :100], [98, 99], cache)
        twin = copy.copy(cache)
        twin.layers = [copy.copy(layer) for layer in cache.layers]
        twin._ropewalk = copy.copy(cache._ropewalk)
        twin._ropewalk.layers = {}
        mixed = torch.cat([ids[:, :100], other[:, 100:]], 1)
        ours = [in_chunks(model, ids[:, 100:110], range(1, 10), cache)]
        theirs = in_chunks(model, mixed[:, 100:110], range(1, 10), twin)
        ours.append(in_chunks(model, ids[:, 110:120], range(1, 10), cache))
        assert largest(torch.cat(ours, 1), run(model, ids)[:, 100:120]) < 1e-12
        assert largest(theirs, run(model, mixed)[:, 100:110]) < 1e-12


def test_keys_that_somebody_else_wrote_are_seen():
    """In place, by the same tensor: only its count of writes tells. Expected: a cache that held the new keys all along."""
    model, ids = llama(torch.float64), tokens(152)
    with attach(model, planned(model)):
        caches = [DynamicCache(config=model.config) for _ in range(2)]
        in_chunks(model, ids[:, :151], [149, 150], caches[0])
        run(model, ids[:, :151], past_key_values=caches[1])  # too long a call to keep rotated keys
        for cache in caches:
            cache.layers[1].keys[:, :, :40].mul_(-1.5)
        assert largest(*(run(model, ids[:, 151:], **cache_argument(model, cache)) for cache in caches)) < 1e-12


# --- prefill in two parts


# Of short types two or three roundings of what was computed in float32.
SPLIT = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", SPLIT, ids=str)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_split_attention_is_masked_attention(dtype, scaling):
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 30, 8).to(dtype), *torch.randn(2, 2, 2, 71, 8).to(dtype)
    many = [x.repeat_interleave(2, 1).double() for x in (key, value)]
    scores = query.double() @ many[0].transpose(2, 3) * (scaling or 8**-0.5)
    hidden = torch.arange(71) > torch.arange(41, 71)[:, None]
    wanted = (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ many[1]).transpose(1, 2)
    assert largest(causal(query, key, value, scaling).answer().double(), wanted) < SPLIT[dtype]


def test_only_the_kernel_it_knows_is_split():
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    sdpa, x = ALL_ATTENTION_FUNCTIONS["sdpa"], torch.zeros(1, 2, 3, 8)
    module = torch.nn.Module()
    with torch.no_grad():
        assert can_merge(sdpa, module, x, x, x, {"dropout": 0.0, "scaling": 0.2})
        assert not can_merge(print, module, x, x, x, {})
        assert not can_merge(sdpa, module, x, x, x, {"dropout": 0.1})
        assert not can_merge(sdpa, module, x, x, x, {"is_causal": False})
        assert not can_merge(sdpa, module, x, x, x[..., :4], {})
        assert not can_merge(sdpa, module, x, x, x, {"softcap": 30.0})
        assert not can_merge(sdpa, module, x, x, x, {"s_aux": x})
        assert can_merge(sdpa, module, x.bfloat16(), x.bfloat16(), x.bfloat16(), {})
        assert not can_merge(sdpa, module, x.to("meta"), x.to("meta"), x.to("meta"), {})
    assert not can_merge(sdpa, module, x, x, x, {})  # gradients are recorded here


def test_gradients_take_the_mask():
    """The two ways through a prefill: with gradients the mask is spelt out, without them it is split."""
    model, ids = llama(torch.float64), tokens(190)
    with attach(model, planned(model)):
        assert largest(model(ids, use_cache=False).logits, run(model, ids, use_cache=False)) < 1e-12


# --- generate


@pytest.mark.parametrize("attached_helper", [False, True])
def test_assisted_decoding(attached_helper):
    model, helper, ids = llama(torch.float64), llama(torch.float64), tokens(50)
    helper.model.layers, helper.config.num_hidden_layers = helper.model.layers[:1], 1
    with attach(model, planned(model)):
        wanted = greedy(model, ids, 90, use_cache=False)
        if attached_helper:
            attach(helper, planned(helper))
        assert torch.equal(greedy(model, ids, 90, assistant_model=helper), wanted)


@pytest.mark.parametrize("how", [dict(prompt_lookup_num_tokens=4), dict(prefill_chunk_size=16)], ids=str)
def test_prompt_lookup_and_chunked_prefill(how):
    model, ids = llama(torch.float64), tokens(40).repeat(1, 2)
    with attach(model, planned(model)):
        assert torch.equal(greedy(model, ids, 90, **how), greedy(model, ids, 90, use_cache=False))


class Rounding(QuantizedLayer):
    __init__, get_seq_length = DynamicLayer.__init__, DynamicLayer.get_seq_length
    _quantize = _dequantize = None


def test_caches_that_move_or_round_their_keys_are_refused():
    model, ids = llama(), tokens(N)
    with attach(model, planned(model)):
        moving = DynamicCache(config=model.config)
        moving.offloading = True  # building a real one takes an accelerator
        rounding = DynamicCache(config=model.config)
        rounding.layers[0] = Rounding()  # and a real one of these a package
        for cache in (moving, rounding):
            with pytest.raises(CannotAttach, match="moves its keys off the device or rounds them"):
                run(model, ids, **cache_argument(model, cache))


def test_room_is_taken_for_what_comes():
    assert Room.around(numbered(3), 500).tensor.shape[2] == 567
