"""Near distances as trained, far ones stretched, on live models.

The reference is written anew here: every query and key has its own angle, by the distance between them.
"""

import copy
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache, StaticCache

from ropewalk.errors import BadLength, CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.dynamic import kernels, near
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan
from support.deferred import (
    DPE,
    FACTOR,
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

# Causal over a rule that divides, over one with a temperature and a short window, with a gain; and the authors' own.
PLANS = (
    "near-linear",
    "near-16-yarn",
    "near-24-linear-log_n",
    "near-20-linear-static",
    "leaky_rerope",
    "rerope",
    "self_extend",
    "dpe",
    "dpe, causal",
)
CAUSAL = (*PLANS[:3], PLANS[-1])
CLOSE = 1e-4  # angles are float32: up to 256 rad, so 1.5e-5 off; the plan moves logits by more than 0.1


# --- the reference: one angle for each query and key


def scale_by_hand(position, w, grid=2):
    """(p + 1 - w) / (L - w), up to a power of sqrt 2, and no further than the target needs."""
    most = (FACTOR * L - w) / (L - w)
    if grid is None:
        return most
    s, k = (position + 1 - w) / (L - w), 0
    while 2 ** (k / grid) < s - 1e-12:
        k += 1
    return min(2 ** (k / grid), most)


def rule(name):
    """(w, positions -> (far frequencies, m, group), gain) of a plan by hand, dim 16, theta 1e4."""
    trained = torch.tensor([1e4 ** (-2 * i / 16) for i in range(8)], dtype=torch.float64)

    def linear(w, grid=2):
        return lambda p: (trained / scale_by_hand(p, w, grid), 1.0, 1)

    def yarn(w):
        def at(p):
            s = scale_by_hand(p, w)
            return (*yarn_by_hand(s), 1) if s > 1 else (trained, 1.0, 1)

        return at

    group = math.ceil((FACTOR * L - 16) / (L - 16))
    each = torch.tensor(DPE).repeat_interleave(2)
    return {
        "near-linear": (L // 2, linear(L // 2), False),
        "near-16-yarn": (16, yarn(16), False),
        "near-24-linear-log_n": (24, linear(24), True),
        "near-20-linear-static": (20, linear(20, None), False),
        "leaky_rerope": (8, linear(8, None), True),
        "rerope": (8, lambda p: (trained * 0, 1.0, 1), True),
        "self_extend": (16, lambda p: (trained / group, 1.0, group), False),
        "dpe": (16, lambda p: (trained / each, 1.0, each), False),
        "dpe, causal": (16, lambda p: (trained / each, 1.0, each) if scale_by_hand(p, 16) > 1 else (trained, 1.0, 1), False),
    }[name], trained


def scores(q, k, p, where, name):
    """q: (heads, channels), the query at position p.  k: (heads, keys, channels) at the positions `where`."""
    (w, far, log_n), trained = rule(name)
    frequencies, m, group = far(p)
    d = (p - where)[:, None].double()
    floored = (group * (p // group) - group * (where[:, None] // group)).double()
    angles = torch.where(d < w, trained * d, trained * w + frequencies * (floored - w))
    half = q.shape[-1] // 2
    query, keys = torch.complex(q[:, :half], q[:, half:]), torch.complex(k[..., :half], k[..., half:])
    gain = max(1.0, math.log(p + 1) / math.log(L)) if log_n else 1.0
    return gain * m**2 * (query[:, None] * keys.conj() * torch.polar(torch.ones_like(angles), angles)).real.sum(-1) / 4


def by_hand(model, ids, name, positions=None):
    positions = torch.arange(ids.shape[1]) if positions is None else positions
    document = torch.cat([torch.zeros(1), (positions[1:] <= positions[:-1]).double().cumsum(0)])
    hidden = model.model.embed_tokens(ids)
    for layer in model.model.layers:
        attention, x = layer.self_attn, layer.input_layernorm(hidden)[0]
        q, k, v = (p(x).view(len(x), -1, 16).transpose(0, 1) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        k, v, rows = k.repeat_interleave(2, 0), v.repeat_interleave(2, 0), []
        for i in range(len(x)):
            seen = [j for j in range(i + 1) if document[j] == document[i]]
            weights = scores(q[:, i], k[:, seen], int(positions[i]), positions[seen], name).softmax(-1)
            rows.append((weights[:, None] @ v[:, seen])[:, 0].reshape(-1))
        hidden = hidden + attention.o_proj(torch.stack(rows)[None])
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.lm_head(model.model.norm(hidden))


@pytest.mark.parametrize("name", PLANS)
def test_numbers_are_the_references(name):
    model, ids = llama(torch.float64), tokens(round(L * FACTOR))
    with torch.no_grad():
        wanted = by_hand(model, ids, name)
    base = run(model, ids)
    with attach(model, planned(model, name)) as attached:
        assert attached.plan.name == {"dpe": "self_extend", "dpe, causal": "near-16-self_extend"}.get(name, name)
        assert largest(run(model, ids), wanted) < CLOSE
        assert largest(run(model, ids), base) > 0.1
        masked = run(model, ids, attention_mask=torch.ones_like(ids), output_attentions=False)
        assert largest(masked, wanted) < CLOSE


@pytest.mark.parametrize("name", ["near-16-yarn", "self_extend", "dpe"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradients_are_the_references(name, attention):
    model, ids = llama(torch.float64, attention), tokens(150)
    wanted = gradients(model, loss_of(by_hand(model, ids, name), ids))
    with attach(model, planned(model, name)):
        got = gradients(model, model(ids, labels=ids).loss)
    for weight, gradient in wanted.items():
        assert largest(got[weight], gradient) < CLOSE * max(1.0, float(gradient.abs().max())), weight


# --- the authors' own code


def numbers(shape, seed, scale):
    """The same on every machine and under every version of PyTorch."""
    i = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    x = torch.sin(i * (seed * 0.7391 + 12.9898)) * 43758.5453
    return ((x - x.floor()) * 2 - 1).reshape(shape) * scale


@pytest.mark.parametrize("name", ["rerope", "leaky_rerope", "self_extend", "dpe"])
def test_presets_are_their_authors_released_code(name):
    """One layer's attention beside what their forward gave for these weights; scale 5 for Leaky ReRoPE, groups of 5.

    DPE's without its choice of channels by head; with one group for all pairs that code gave Self-Extend's numbers to 2e-8.
    """
    golden = json.loads((Path(__file__).parent.parent / "golden" / "near_authors.json").read_text(encoding="utf-8"))
    model = llama(torch.float64)
    attention = model.model.layers[0].self_attn
    for seed, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj), 1):
        part.weight.data = numbers(part.weight.shape, seed, 0.25)
    hidden = numbers((1, 200, 64), 5, 1.0)
    plan = make_plan(read_live(model), factor=4.5, method=name) if name == "leaky_rerope" else planned(model, name)
    with attach(model, plan), torch.no_grad():
        embeddings = model.model.rotary_emb(hidden, torch.arange(200)[None])
        found = attention(hidden, position_embeddings=embeddings, attention_mask=None)[0][0]
    wanted = torch.tensor(golden["outputs"][name], dtype=torch.float64)
    assert largest(found[golden["rows"], : golden["channels"]], wanted) < 1e-5


# --- one function of the prefix


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PLANS)
def test_cached_chunked_and_recomputed_agree(dtype, attention, name):
    model, ids = llama(dtype, attention), tokens()
    allowed = TOLERANCE[torch.float32 if attention == "eager" else dtype]  # eager attention's softmax is float32, whatever
    with attach(model, planned(model, name)):
        whole = run(model, ids, use_cache=False)
        run(model, tokens(N, 3, seed=9))  # a history
        for edges in ([40, *range(41, N)], [40, 100, 101, 102, 160], [70], [5, 12, *range(13, 40)], range(20, N, 20)):
            assert largest(in_chunks(model, ids, edges), whole) < allowed
        for end in (5, 50, 65, 130):
            assert largest(run(model, ids[:, :end]), whole[:, :end]) < allowed  # causality


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", PLANS)
def test_left_padded_rows_are_as_alone(dtype, name):
    model = llama(dtype)
    lengths, ids = (200, 90, 30), tokens(N, 3)
    mask = torch.stack([(torch.arange(N) >= N - n).long() for n in lengths])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with attach(model, planned(model, name)):
        cache, edges, both = DynamicCache(config=model.config), [0, 120, 150, *range(151, N + 1)], []
        for a, b in pairwise(edges):
            given = dict(attention_mask=mask[:, :b], position_ids=positions[:, a:b], **cache_argument(model, cache))
            both.append(run(model, ids[:, a:b], **given))
        both = torch.cat(both, 1)
        for row, length in enumerate(lengths):
            alone = run(model, ids[row : row + 1, N - length :])
            assert largest(both[row, N - length :], alone[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", PLANS)
def test_packed_documents_and_positions_that_jump(name):
    model, ids = llama(torch.float64), tokens()
    positions = torch.cat([torch.arange(90), torch.arange(30), torch.arange(80)])
    with attach(model, planned(model, name)), torch.no_grad():
        packed = run(model, ids, position_ids=positions[None], use_cache=False)
        for a, b in ((0, 90), (90, 120), (120, 200)):
            assert largest(packed[:, a:b], run(model, ids[:, a:b])) < 1e-12
        jumping = torch.cat([torch.arange(30), torch.arange(150, 180)])
        got = run(model, ids[:, :60], position_ids=jumping[None], attention_mask=torch.ones(1, 60))
        assert largest(got, by_hand(model, ids[:, :60], name, jumping)) < CLOSE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", CAUSAL)
def test_below_the_window_every_bit_is_the_base_models(dtype, attention, name):
    model, ids = llama(dtype, attention), tokens(L, 2)
    base, cached = run(model, ids, use_cache=False), in_chunks(model, ids, [20, 50, *range(51, L)])
    with attach(model, planned(model, name)):
        run(model, tokens())
        assert torch.equal(run(model, ids, use_cache=False), base)
        assert torch.equal(run(model, ids), base)
        assert torch.equal(in_chunks(model, ids, [20, 50, *range(51, L)]), cached)
    assert torch.equal(run(model, ids), base)


@pytest.mark.parametrize("name", ["near-linear", "near-16-yarn"])
def test_bfloat16_is_as_close_as_bfloat16_gets(name):
    model, ids = llama(torch.bfloat16), tokens()
    exact = llama(torch.bfloat16).float()  # the same rounded weights
    with attach(exact, planned(exact, name)):
        wanted = run(exact, ids)
    stock = largest(run(model, ids), run(llama(torch.bfloat16).float(), ids))
    with attach(model, planned(model, name)):
        whole = run(model, ids)
        assert largest(whole, wanted) < 2 * stock
        assert largest(in_chunks(model, ids, [40, *range(41, N)]), whole) < 2 * stock


# --- generate and caches


@pytest.mark.parametrize("name", PLANS)
def test_generate_with_and_without_a_cache(name):
    model, ids = llama(torch.float64), tokens(50)
    with attach(model, planned(model, name)):
        wanted = greedy(model, ids, 90, use_cache=False)
        assert torch.equal(greedy(model, ids, 90), wanted)
        assert torch.equal(greedy(model, ids, 90, cache_implementation="static"), wanted)
        assert torch.equal(greedy(model, ids, 90, prompt_lookup_num_tokens=4), wanted)
        assert torch.equal(greedy(model, ids, 90, prefill_chunk_size=16), wanted)
        two = tokens(50, 2)
        assert torch.equal(greedy(model, two, 40, num_beams=3), greedy(model, two, 40, num_beams=3, use_cache=False))


@pytest.mark.parametrize("name", PLANS)
def test_generate_left_padded(name):
    model, ids = llama(torch.float64), tokens(110, 2)
    mask = torch.ones_like(ids)
    mask[1, :60] = 0
    with attach(model, planned(model, name)):
        both = greedy(model, ids.masked_fill(mask == 0, 0), attention_mask=mask)
        assert torch.equal(both[0], greedy(model, ids[:1])[0])
        assert torch.equal(both[1, 60:], greedy(model, ids[1:, 60:])[0])


@pytest.mark.parametrize("name", PLANS)
def test_static_cropped_and_copied_caches(name):
    model, ids, other = llama(torch.float64), tokens(), tokens(seed=8)
    with attach(model, planned(model, name)):
        cache = StaticCache(config=model.config, max_cache_len=N + 20)
        assert largest(in_chunks(model, ids, [80, *range(81, N)], cache), run(model, ids)) < 1e-12
        cache = DynamicCache(config=model.config)
        in_chunks(model, ids[:, :100], [60, *range(61, 100)], cache)
        twin = copy.deepcopy(cache)
        cache.crop(-45)
        mixed = torch.cat([ids[:, :55], other[:, 55:]], 1)
        assert largest(in_chunks(model, mixed[:, 55:], [1, 2, 30], cache), run(model, mixed)[:, 55:]) < 1e-12
        assert largest(in_chunks(model, ids[:, 100:], [1, 2, 3], twin), run(model, ids)[:, 100:]) < 1e-12


def test_a_cache_of_another_width_is_refused():
    model, ids = llama(), tokens(80)
    cache = DynamicCache(config=model.config)
    with attach(model, planned(model, "near-16-linear")):
        run(model, ids, **cache_argument(model, cache))
    with attach(model, planned(model, "near-17-linear")), pytest.raises(CannotAttach, match="filled under plan"):
        run(model, ids[:, :1], **cache_argument(model, cache))


def test_keys_are_kept_while_decoding_and_only_new_ones_are_turned(monkeypatch):
    model, ids, turned = llama(), tokens(), []
    with attach(model, planned(model, "near-linear")):
        cache = DynamicCache(config=model.config)
        run(model, ids[:, :125], **cache_argument(model, cache))
        assert not cache._ropewalk.layers
        run(model, ids[:, 125:126], **cache_argument(model, cache))
        kept = cache._ropewalk.layers[0]
        room = kept.keys
        real = near.NearReading._keys
        monkeypatch.setattr(near.NearReading, "_keys", lambda self, *a: turned.append(a[3] - a[2]) or real(self, *a))
        for i in range(126, 160):
            run(model, ids[:, i : i + 1], **cache_argument(model, cache))
        assert cache._ropewalk.layers[0].keys is room
        assert set(turned) <= {1}  # one new key a token, and one that has become far; steps change at 122 and 160
        assert kept.keys.shape[2] <= 126 - 32 + 64
        assert kept.near.shape[2] <= 32 + 64


# --- the other meanings


@pytest.mark.parametrize("semantics", ["rotate", "recompute", "request"])
def test_other_meanings_are_static_at_the_scale_of_the_length(semantics):
    model, ids = llama(torch.float64), tokens(150)
    plan = planned(model, "near-24-yarn-static")
    static = replace(plan, stretches=tuple((n, replace(s, factor=150 / L)) for n, s in plan.stretches), target_length=150)
    with attach(model, static):
        wanted = run(model, ids)
    with attach(model, planned(model, f"near-24-yarn-{semantics}")) as attached:
        assert largest(run(model, ids, use_cache=False), wanted) < 1e-12
        if semantics == "request":
            with attached.request(150):
                assert largest(in_chunks(model, ids, [40, *range(41, 150)]), wanted) < 1e-12
                with pytest.raises(BadLength, match="outside the request of 150 tokens"):
                    run(model, ids[:, :1], position_ids=torch.tensor([[150]]))
            cache = DynamicCache(config=model.config)
            run(model, ids[:, :100], **cache_argument(model, cache))
            with pytest.raises(CannotAttach, match="continues a cache"):
                run(model, ids[:, 100:], **cache_argument(model, cache))


@pytest.mark.parametrize("name", ["near-linear", "near-yarn-rotate", "rerope", "near-linear-static"])
def test_beyond_the_target_is_refused(name):
    model, target = llama(torch.float32), round(L * FACTOR)
    with attach(model, planned(model, name)), pytest.raises(BadLength, match=f"reaches {target:,} tokens"):
        run(model, tokens(4), position_ids=torch.arange(target - 3, target + 1)[None])


# --- the kernels


ALLOWED = {torch.float64: 1e-14, torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", ALLOWED, ids=str)
@pytest.mark.parametrize(("n", "before"), [(1, 0), (2, 7), (5, 40), (16, 7), (33, 3), (64, 40)])
@pytest.mark.parametrize("window", [1, 3, 8, 16, 50, 200])
def test_a_window_is_masked_attention(dtype, n, before, window):
    """Against PyTorch's own attention in float64 with the mask spelt out."""
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, n, 16), torch.randn(2, 2, n + before, 16), torch.randn(2, 2, n + before, 16)
    query, key, value = (x.to(dtype) for x in (query, key, value))
    behind = torch.arange(before, n + before)[:, None] - torch.arange(n + before)
    wide = (query.double(), *(x.double().repeat_interleave(2, 1) for x in (key, value)))
    wanted = torch.nn.functional.scaled_dot_product_attention(*wide, (behind >= 0) & (behind < window))
    with torch.inference_mode():
        found = kernels.windowed(query, key, value, window, None).answer()
    assert largest(found.transpose(1, 2).double(), wanted) < ALLOWED[dtype]


def test_prefill_chunks_and_decoding_build_no_mask(monkeypatch):
    model, ids = llama(), tokens()
    with attach(model, planned(model, "near-linear")):
        monkeypatch.setattr(near.NearReading, "_spelt_out", None)
        monkeypatch.setattr(near.NearReading, "_masks", None)
        run(model, ids, use_cache=False)
        in_chunks(model, ids, [40, 100, 130, *range(151, N)])
