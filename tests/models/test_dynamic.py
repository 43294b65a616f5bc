"""Dynamic plans that rotate on read. Models are tiny, random and sharp: queries and keys are large, so that positions matter.

The reference is written anew here: a loop over queries, each with every key rotated at the query's scale.
"""

import copy
from itertools import pairwise

import pytest
import torch
from transformers import DynamicCache, StaticCache

from ropewalk.errors import BadLength, CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan
from support.architectures import FAMILIES, build, plan_of, tiny_config
from support.deferred import (
    FACTOR,
    LATE_REFUSALS,
    OWN_CACHE,
    ROUGH,
    SINGLE,
    TOLERANCE,
    L,
    N,
    gradients,
    greedy,
    in_chunks,
    largest,
    llama,
    loss_of,
    planned,
    run,
    tokens,
    yarn_by_hand,
)  # fmt: skip

# --- the reference: one query at a time


def scale_by_hand(position, grid=2):
    s = max(1.0, (position + 1) / L)
    k = 0
    while 2 ** (k / grid) < s - 1e-12:
        k += 1
    return min(2 ** (k / grid), FACTOR)


def turn(x, positions, scale):
    """x: (heads, tokens, channels) as complex pairs (i, i + d/2), each turned by its angle."""
    frequencies, m = yarn_by_hand(scale)
    half = x.shape[-1] // 2
    # The angles are rounded to float32 as the model's are; the plan's cos and sin are checked on their own.
    angles = (positions.float()[:, None] * frequencies.float()).double()
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.full_like(angles, m), angles)
    return torch.cat([pairs.real, pairs.imag], -1)


def naive_logits(model, ids, positions=None):
    """Llama in float64, its attention a plain loop over queries; one row. Documents are where positions restart."""
    positions = torch.arange(ids.shape[1]) if positions is None else positions
    document = torch.cat([torch.zeros(1), (positions[1:] <= positions[:-1]).double().cumsum(0)])
    hidden = model.model.embed_tokens(ids)
    for layer in model.model.layers:
        attention, x = layer.self_attn, layer.input_layernorm(hidden)[0]
        q, k, v = (p(x).view(len(x), -1, 16).transpose(0, 1) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        k, v = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)
        rows = []
        for i in range(len(x)):
            seen = [j for j in range(i + 1) if document[j] == document[i]]
            scale = scale_by_hand(int(positions[i]))
            query = turn(q[:, i : i + 1], positions[i : i + 1], scale)
            weights = (query @ turn(k[:, seen], positions[seen], scale).transpose(1, 2) / 4).softmax(-1)
            rows.append((weights @ v[:, seen])[:, 0].reshape(-1))
        hidden = hidden + attention.o_proj(torch.stack(rows)[None])
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.lm_head(model.model.norm(hidden))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_numbers_and_gradients_are_the_references(attention):
    model, ids = llama(torch.float64, attention), tokens(round(L * FACTOR))
    wanted = naive_logits(model, ids)
    wanted_gradients = gradients(model, loss_of(wanted, ids))
    with attach(model, planned(model)):
        output = model(ids, labels=ids)
        got_gradients = gradients(model, output.loss)
    assert largest(output.logits, wanted) < 1e-5  # cos and sin are float32
    assert largest(output.loss, loss_of(wanted, ids)) < 1e-6
    for name, gradient in wanted_gradients.items():
        assert largest(got_gradients[name], gradient) < 1e-5 * max(1.0, float(gradient.abs().max())), name


def test_gradient_checkpointing_after_another_forward():
    """Layers run again in the backward pass must find their own call, not the latest one."""
    model, ids = llama(), tokens()
    with attach(model, planned(model)):
        wanted = gradients(model, model(ids, labels=ids, use_cache=False).loss)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        loss = model(ids, labels=ids, use_cache=False).loss
        model(ids[:, :90], use_cache=False)
        got = gradients(model, loss)
    assert all(torch.allclose(got[name], wanted[name], atol=1e-6) for name in wanted)


# --- one function of the prefix


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("grid", [1, 2, 4])
def test_cached_chunked_and_recomputed_agree(dtype, attention, grid):
    model, ids = llama(dtype, attention), tokens()
    with attach(model, planned(model, f"dynamic-yarn-causal-{grid}")):
        whole = run(model, ids, use_cache=False)
        run(model, tokens(N, 3, seed=9))  # a history
        for edges in ([40, *range(41, N)], [40, 100, 101, 102, 160], [70], range(20, N, 20)):
            assert largest(in_chunks(model, ids, edges), whole) < TOLERANCE[dtype]
        for end in (50, 65, 130):
            assert largest(run(model, ids[:, :end]), whole[:, :end]) < TOLERANCE[dtype]  # causality


def test_the_plan_does_something():
    model, ids = llama(), tokens()
    base = run(model, ids)
    with attach(model, planned(model)):
        assert largest(run(model, ids)[:, L:], base[:, L:]) > 0.1


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_left_padded_rows_are_as_alone(dtype):
    model = llama(dtype)
    lengths, ids = (200, 90, 30), tokens(N, 3)
    mask = torch.stack([(torch.arange(N) >= N - n).long() for n in lengths])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with attach(model, planned(model)):
        cache, edges, both = DynamicCache(config=model.config), [0, 120, 150, *range(151, N + 1)], []
        for a, b in pairwise(edges):
            given = dict(attention_mask=mask[:, :b], position_ids=positions[:, a:b], **cache_argument(model, cache))
            both.append(run(model, ids[:, a:b], **given))
        both = torch.cat(both, 1)
        for row, length in enumerate(lengths):
            alone = run(model, ids[row : row + 1, N - length :])
            assert largest(both[row, N - length :], alone[0]) < TOLERANCE[dtype]


def test_packed_documents_have_their_own_schedules():
    model, ids = llama(torch.float64), tokens()
    positions = torch.cat([torch.arange(90), torch.arange(30), torch.arange(80)])
    with attach(model, planned(model)):
        packed = run(model, ids, position_ids=positions[None], use_cache=False)
        for a, b in ((0, 90), (90, 120), (120, 200)):
            assert largest(packed[:, a:b], run(model, ids[:, a:b])) < 1e-12
    with torch.no_grad():
        assert largest(packed, naive_logits(model, ids, positions)) < 1e-5


def test_positions_that_jump():
    """Scales follow positions, not counts."""
    model, ids = llama(torch.float64), tokens(60)
    positions = torch.cat([torch.arange(30), torch.arange(150, 180)])
    with attach(model, planned(model)), torch.no_grad():
        got = run(model, ids, position_ids=positions[None])
        assert largest(got, naive_logits(model, ids, positions)) < 1e-5


@pytest.mark.parametrize("method", ["dynamic-yarn", "dynamic-yarn-rotate", "dynamic-yarn-recompute"])
def test_beyond_the_target_is_refused(method):
    """The last position that a target of n tokens has is n - 1."""
    model, target = llama(torch.float32), round(L * FACTOR)
    with attach(model, planned(model, method)):
        run(model, tokens(4), position_ids=torch.arange(target - 4, target)[None])
        with pytest.raises(BadLength, match=rf"position {target:,} was read, and {method} reaches {target:,} tokens"):
            run(model, tokens(4), position_ids=torch.arange(target - 3, target + 1)[None])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_below_the_window_every_bit_is_the_base_models(dtype, attention):
    model, ids = llama(dtype, attention), tokens(L, 2)
    base, cached = run(model, ids, use_cache=False), in_chunks(model, ids, [20, 50, *range(51, L)])
    with attach(model, planned(model)):
        run(model, tokens())
        assert torch.equal(run(model, ids, use_cache=False), base)
        assert torch.equal(run(model, ids), base)
        assert torch.equal(in_chunks(model, ids, [20, 50, *range(51, L)]), cached)
    assert torch.equal(run(model, ids), base)


def test_bfloat16_cached_is_as_close_as_bfloat16_gets():
    model, ids = llama(torch.bfloat16), tokens()
    with attach(model, planned(model)):
        whole = run(model, ids)
        rounding = largest(whole, attach_free_float32(model, ids))
        assert largest(in_chunks(model, ids, [40, *range(41, N)]), whole) < 2 * rounding


def attach_free_float32(model, ids):
    exact = llama(torch.bfloat16).float()  # the same rounded weights
    with attach(exact, planned(exact)):
        return run(exact, ids)


# --- generate and caches


def test_generate_greedy_with_and_without_a_cache():
    model, ids = llama(torch.float64), tokens(50)
    with attach(model, planned(model)):
        wanted = greedy(model, ids, 90, use_cache=False)
        assert torch.equal(greedy(model, ids, 90), wanted)
        assert torch.equal(greedy(model, ids, 90, cache_implementation="static"), wanted)


@pytest.mark.parametrize("how", [dict(num_beams=3), dict(num_beams=3, num_return_sequences=2)])
def test_beam_search_with_and_without_a_cache(how):
    model, ids = llama(torch.float64), tokens(50, 2)
    with attach(model, planned(model)):
        assert torch.equal(greedy(model, ids, 40, **how), greedy(model, ids, 40, use_cache=False, **how))


def test_sampling_with_and_without_a_cache():
    model, ids, seen = llama(torch.float64), tokens(50), []
    with attach(model, planned(model)):
        for use_cache in (True, False):
            torch.manual_seed(5)
            seen.append(model.generate(ids, max_new_tokens=60, do_sample=True, eos_token_id=None, use_cache=use_cache))
    assert torch.equal(*seen)


def test_generate_left_padded():
    model, ids = llama(torch.float64), tokens(110, 2)
    mask = torch.ones_like(ids)
    mask[1, :60] = 0
    with attach(model, planned(model)):
        both = greedy(model, ids.masked_fill(mask == 0, 0), attention_mask=mask)
        assert torch.equal(both[0], greedy(model, ids[:1])[0])
        assert torch.equal(both[1, 60:], greedy(model, ids[1:, 60:])[0])


def test_static_cache():
    model, ids = llama(), tokens()
    with attach(model, planned(model)):
        cache = StaticCache(config=model.config, max_cache_len=N + 20)
        assert largest(in_chunks(model, ids, [80, *range(81, N)], cache), run(model, ids)) < 2e-5


def test_a_cropped_and_a_copied_cache():
    """As assisted decoding and prefix caches use them: back across a boundary, and two ways on from one prefix."""
    model, ids, other = llama(torch.float64), tokens(), tokens(seed=8)
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        in_chunks(model, ids[:, :100], [60, *range(61, 100)], cache)
        twin = copy.deepcopy(cache)
        cache.crop(-45)
        mixed = torch.cat([ids[:, :55], other[:, 55:]], 1)
        assert largest(in_chunks(model, mixed[:, 55:], [1, 2, 30], cache), run(model, mixed)[:, 55:]) < 1e-12
        assert largest(in_chunks(model, ids[:, 100:], [1, 2, 3], twin), run(model, ids)[:, 100:]) < 1e-12


def test_a_cache_from_elsewhere_is_refused():
    model, ids = llama(), tokens(80)
    cache = DynamicCache(config=model.config)
    run(model, ids, **cache_argument(model, cache))
    with attach(model, planned(model)), pytest.raises(CannotAttach, match="80 tokens that were not read under this plan"):
        run(model, ids[:, :1], **cache_argument(model, cache))
    cache = DynamicCache(config=model.config)
    with attach(model, planned(model, "dynamic-yarn-causal-4")):
        run(model, ids, **cache_argument(model, cache))
    with attach(model, planned(model)), pytest.raises(CannotAttach, match="filled under plan"):
        run(model, ids[:, :1], **cache_argument(model, cache))


def test_rotated_keys_are_kept_while_decoding_and_nowhere_else():
    model, ids = llama(), tokens()
    with attach(model, planned(model)):
        cache = DynamicCache(config=model.config)
        run(model, ids[:, :150], **cache_argument(model, cache))
        assert not cache._ropewalk.layers
        run(model, ids[:, 150:151], **cache_argument(model, cache))
        kept = cache._ropewalk.layers[0].keys
        run(model, ids[:, 151:152], **cache_argument(model, cache))
        assert cache._ropewalk.layers[0].keys is kept  # only the new key was rotated
        assert kept.shape[2] <= 151 + 64
        run(model, ids[:, 152:], **cache_argument(model, cache))
        assert not cache._ropewalk.layers


# --- the other meanings


def test_rotate_and_recompute_are_static_at_the_newest_tokens_scale():
    model, ids = llama(torch.float64), tokens(150)
    static = make_plan(read_live(model), factor=150 / L, method="yarn")
    with attach(model, static):
        wanted = run(model, ids)
    for semantics in ("rotate", "recompute"):
        with attach(model, planned(model, f"dynamic-yarn-{semantics}")):
            assert largest(run(model, ids, use_cache=False), wanted) < 1e-12
            assert torch.equal(run(model, ids[:, :L]), run(model, ids[:, :L], use_cache=False))


def test_rotate_is_exact_in_the_first_layer_only():
    for layers, exact in ((1, True), (3, False)):
        model, ids = llama(torch.float64), tokens(150)
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
        with attach(model, planned(model, "dynamic-yarn-rotate")):
            apart = largest(in_chunks(model, ids, [40, *range(41, 150)])[:, -1], run(model, ids)[:, -1])
        assert (apart < 1e-12) == exact


def test_recompute_refuses_to_continue_a_cache():
    model, ids = llama(), tokens(80)
    with attach(model, planned(model, "dynamic-yarn-recompute")):
        cache = DynamicCache(config=model.config)
        run(model, ids, **cache_argument(model, cache))
        with pytest.raises(CannotAttach, match="use_cache=False"):
            run(model, ids[:, :1], **cache_argument(model, cache))


# --- on many architectures


def test_twenty_architectures_are_held_to_float64():
    assert len(FAMILIES.keys() - LATE_REFUSALS.keys() - set(SINGLE)) >= 20


EVERYWHERE = ["dynamic-yarn", "near-0.25-yarn"]


@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in LATE_REFUSALS])
def test_every_architecture(family, method):
    dtype = torch.float32 if family in SINGLE else torch.float64
    model, ids = build(tiny_config(family)).to(dtype), tokens(270)
    with attach(model, plan_of(model, "none")):  # the unstretched model, also where the config is stretched already
        short = run(model, ids[:, :100])
    with attach(model, plan_of(model, method)):
        whole = run(model, ids, use_cache=False)
        if family not in OWN_CACHE:
            chunks = in_chunks(model, ids, [60, 61, 150, *range(262, 270)])
            # Near and far keys lie side by side, and eager attention adds up its softmax in float32.
            regrouped = method.startswith("near") and model.config._attn_implementation.endswith("eager")
            allowed = ROUGH.get(family, TOLERANCE[torch.float32 if regrouped else dtype])
            assert largest(chunks, whole) < allowed * max(1.0, float(whole.abs().max()))
        assert largest(run(model, ids[:, :100]), short) < 1e-4
        again = run(model, ids[:, :100], use_cache=False)
    if not read_live(model).scaling:
        assert torch.equal(run(model, ids[:, :100], use_cache=False), again)


# Left-padded by more than its window, stock Gemma 2 gives NaN of its own accord in float64.
@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in {*LATE_REFUSALS, *SINGLE, "gemma2"}])
def test_every_architecture_batched_is_alone(family, method):
    """Left-padded rows of two lengths, read in chunks, after a history; float64."""
    model, ids = build(tiny_config(family)).double(), tokens(200, 2)
    mask = torch.ones_like(ids)
    mask[1, :70] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)
    with attach(model, plan_of(model, method)):
        run(model, tokens(270, 3))
        cache, both = DynamicCache(config=model.config), []
        for a, b in pairwise([0, 150, 190, *range(191, 201)]):
            given = dict(attention_mask=mask[:, :b], position_ids=places[:, a:b], **cache_argument(model, cache))
            both.append(run(model, ids[:, a:b], **given))
        both = torch.cat(both, 1)
        for row, first in ((0, 0), (1, 70)):
            alone = run(model, ids[row : row + 1, first:], use_cache=False)
            assert largest(both[row, first:], alone[0]) < 1e-12 * max(1.0, float(alone.abs().max()))


@pytest.mark.parametrize("family", LATE_REFUSALS)
def test_refusals_say_why_and_change_nothing(family):
    model = build(tiny_config(family))
    ids = tokens(100)
    before, implementation = run(model, ids), model.config._attn_implementation
    with pytest.raises(CannotAttach, match=LATE_REFUSALS[family]):
        attach(model, plan_of(model, "dynamic-yarn"))
    assert torch.equal(run(model, ids), before)
    assert model.config._attn_implementation == implementation


def test_refuses_flash_attention_by_name():
    model = llama()
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(CannotAttach, match="attends with 'flex_attention'"):
        attach(model, planned(model))
