"""The family `near`: it finds a w and a law that are known, begins where it says, and refuses what attach refuses.

Angles are written anew from docs/near.md: theta d below w, theta w + theta' (d - w) beyond, s(p) = (p + 1 - w) / (L - w).
"""

import dataclasses
import math
import random
from itertools import islice

import pytest
import torch

from ropewalk.errors import BadLength, BadOption, CannotAttach
from ropewalk.jobs.fit import job
from ropewalk.jobs.fit.family import get_family
from ropewalk.jobs.fit.job import Fit, run_fit
from ropewalk.jobs.fit.objective import Sets, gradient, losses
from ropewalk.jobs.fit.search import descend, evolve
from ropewalk.measure.documents import Document
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from support.architectures import build, tiny_config
from support.fitting import go

TINY, FACTOR = Rope(64, 10_000.0, 512), 8.0
CAUSAL = Dynamic("causal", 8)
THETA = torch.tensor(TINY.inv_freq, dtype=torch.float64)
PLACES = torch.tensor([600.0, 1000.0, 2000.0, 3000.0, 4095.0], dtype=torch.float64)  # of queries
WIDE = torch.linspace(0.02, 1.0, 40, dtype=torch.float64)  # distances, as shares of all that a query has


@pytest.fixture(scope="module")
def space():
    return get_family("near").space(TINY, FACTOR, CAUSAL)


def scales(w):
    return ((PLACES + 1 - w) / (512 - w)).clamp(min=1).tolist()


def angles(w, slowed):
    """(places, distances, pairs).  w: a number or in a graph.  slowed: the far frequencies at each place's scale."""
    d = (PLACES[:, None] * WIDE)[..., None]
    far = THETA * w + torch.stack(slowed)[:, None] * (d - w)
    return torch.where(d < w, THETA * d, far)


# What is to be found: w 181, exponents 1 below 2 turns and 0.7 above 13, linear in their logarithm between, and a slope.
W, LOWER, TEMPERATURE = 181, 0.7, 0.03
TURNS = torch.tensor(TINY.turns, dtype=torch.float64)
WANTED = 1 - (1 - LOWER) * ((TURNS / 2).log() / math.log(13 / 2)).clamp(0, 1)
TARGET = angles(W, [THETA * s**-WANTED for s in scales(W)])


def miss(space, u):
    """How far the angles and the temperature of a point are from those that are to be found."""
    w = space.near(u)
    found = [space.frequencies(u, s) for s in scales(w.item())]
    apart = ((angles(w, [inv_freq for inv_freq, _ in found]) - TARGET) / (1 + TARGET)).square().mean()
    return 100 * (apart + sum((m - 1 - TEMPERATURE * math.log(s)) ** 2 for (_, m), s in zip(found, scales(W), strict=True)))


def slope(space):
    def told(u, batch):
        point = u.clone().requires_grad_()
        loss = miss(space, point)
        loss.backward()
        return loss.item(), point.grad

    return told


def check(space, u, w_within, within):
    stretch = space.stretch(u)
    assert abs(stretch.near - W) <= w_within
    found = [math.log(a / b) / math.log(5) for a, b in zip(TINY.inv_freq, stretch.scaled_by(5.0).inv_freq, strict=True)]
    assert found == pytest.approx(WANTED.tolist(), abs=within)
    assert stretch.scaled_by(5.0).attention_factor == pytest.approx(1 + TEMPERATURE * math.log(5), abs=within)


def test_down_the_gradient_to_a_w_and_a_law_that_are_known(space):
    *_, last = islice(descend(space, [0.0] * space.size, slope(space), pull=0.0), 60)
    check(space, last.u, 3, 0.02)
    assert last.u[-1] == 0  # no gradient leads to whole groups


def test_without_gradients_to_the_same(space):
    def told(points, batch):
        return [float(miss(space, torch.tensor(u, dtype=torch.float64))) for u in points]

    *_, last = islice(evolve(space, [0.0] * space.size, told), 100)
    check(space, last.u, 3, 0.02)


def test_the_gradient_in_w_takes_the_schedule_along(space):
    """An angle as a function of w, its scale with it: d/dw by differences of the rule, and by the space's graph."""
    places, d, bent = PLACES[:, None], (PLACES * 0.7)[:, None], 0.9

    def rule(w):
        s = (places + 1 - w) / (512 - w)
        return THETA * w + THETA * s**-bent * (d - w)

    u = torch.tensor([0.5, *[(bent - 1) / 0.3] * 6, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    w = space.near(u)
    assert w.item() == W  # 128 sqrt(2) = 181.02
    made = [space.frequencies(u, s)[0] for s in scales(W)]
    found = torch.stack([THETA * w + inv_freq * (at - w) for inv_freq, at in zip(made, d, strict=True)])
    for i in (0, 12, 31):
        for k in range(len(PLACES)):
            (grad,) = torch.autograd.grad(found[k, i], u, retain_graph=True)
            by_w = (rule(W + 1e-4) - rule(W - 1e-4))[k, i].item() / 2e-4
            assert grad[0].item() == pytest.approx(by_w * W * math.log(2), rel=2e-3)  # w = 128 2^u


def test_it_begins_at_the_best_that_were_found_by_hand(space):
    """docs/near.md: near-0.25-linear-log_n and near-0.375-self_extend-log_n; and half of L with yarn's ramp beyond."""
    linear, groups, ramp = (space.stretch(u) for u in space.starts)
    for stretch, w, slowed in ((linear, 128, lambda s: s), (groups, 192, math.ceil)):
        assert (stretch.near, stretch.log_n, stretch.dynamic) == (w, True, CAUSAL)
        for s in (1.3, 2.0, 5.5, stretch.largest_scale):
            scaled = stretch.scaled_by(s)
            assert scaled.inv_freq == pytest.approx([theta / slowed(s) for theta in TINY.inv_freq], rel=1e-12)
            assert scaled.attention_factor == 1
            assert scaled.group == (1 if stretch is linear else math.ceil(s))
    assert groups.name == "near-192-self_extend-log_n-causal-8"
    assert ramp.near == 256
    slowed = [a / b for a, b in zip(TINY.inv_freq, ramp.scaled_by(8.0).inv_freq, strict=True)]
    assert slowed[0] == pytest.approx(1)
    assert slowed[-1] == pytest.approx(8)


@pytest.mark.parametrize("rope", [TINY, Rope(8, 10_000.0, 2), Rope(128, 1e6, 32_768)], ids=["tiny", "two", "long"])
def test_every_point_of_the_box_is_a_stretch_that_leaves_room(rope):
    space = get_family("near").space(rope, FACTOR, CAUSAL)
    draw = random.Random(0)
    ends = [list(space.low), list(space.high)]
    for u in ends + [[draw.uniform(a, b) for a, b in zip(space.low, space.high, strict=True)] for _ in range(20)]:
        stretch = space.stretch(u)
        assert 1 <= stretch.near < rope.original_length
        assert stretch.near == space.near(torch.tensor(u, dtype=torch.float64)).item()
        assert stretch.method == ("self_extend" if u[-1] > 0.5 else "longrope")
    if rope is TINY:  # docs/fit.md: from L/16 to 7 L/8
        assert [space.stretch(u).near for u in ends] == [32, 448]


def test_the_gradient_of_a_model_is_that_of_its_losses():
    """In everything but w, whose steps are whole tokens: by differences of `losses` under the plans that the space makes."""
    model = build(tiny_config("llama")).double()
    spec = read_live(model)
    space = get_family("near").space(spec.rope("all"), 4.0, Dynamic("causal", 4))
    length = spec.rope("all").original_length
    ids = [random.Random(i).choices(range(1, 60), k=4 * length) for i in range(2)]
    items = job.far_items([Document(f"{i}", tuple(each)) for i, each in enumerate(ids)], length)

    def plan(u):
        return ScalingPlan((("all", space.stretch(u.tolist())),), 4 * length)

    u = torch.tensor([0.3, *[-0.4] * 6, 0.2, 0.0], dtype=torch.float64)
    loss, found = gradient(model, plan(u), space, u, items)
    assert loss == pytest.approx(sum(losses(model, plan(u), items)) / 2, abs=2e-5)
    assert found[-1] == 0
    for i in range(1, 8):
        step = torch.zeros_like(u)
        step[i] = 0.0005
        up, down = (sum(losses(model, plan(u + k * step), items)) / 2 for k in (1, -1))
        assert float(found[i]) == pytest.approx((up - down) / 0.001, abs=2e-4, rel=0.02), i
    assert found[1:8].abs().max() > 1e-3


def test_a_short_fit_of_the_bundled_model(parts, tmp_path):
    result = go(parts, tmp_path / "plan.json", family="near", causal=True)
    read = ScalingPlan.from_json((tmp_path / "plan.json").read_text())
    assert read == dataclasses.replace(result.plan, model="tiny")
    assert result.winner == min(result.losses, key=result.losses.get)
    assert result.steps > 0
    rivals = {"yarn", "yarn, paper", "ntk", "dynamic-yarn", "near-0.25-linear-log_n", "near-0.375-self_extend-log_n"}
    assert set(result.losses) == set(result.compared) == {"fitted", *rivals}
    assert result.fitted.to_dict()["schema"] == "ropewalk.plan/2"


def test_a_plan_of_lists_reads_back_to_the_same_numbers(parts, tmp_path, space):
    stretch = space.stretch([0.4, -0.5, -0.4, -0.3, 0.2, 0.5, 0.8, 0.3, 0.0])
    plan = ScalingPlan((("all", stretch),), 4096, "tiny")
    (tmp_path / "plan.json").write_text(plan.to_json())
    read = ScalingPlan.from_json((tmp_path / "plan.json").read_text())
    assert (read, read.fingerprint) == (plan, plan.fingerprint)
    for s in (1.0, 1.7, 3.0, stretch.largest_scale):
        assert read.stretches[0][1].scaled_by(s) == stretch.scaled_by(s)
    ids = torch.randint(1, 500, (1, 700), generator=torch.Generator().manual_seed(0))
    found = []
    for each in (plan, read):
        with attach(parts[0], each), torch.no_grad():
            found.append(parts[0](ids).logits)
    assert torch.equal(*found)
    assert torch.isfinite(found[0]).all()
    with attach(parts[0], read):  # and it is written with: with a cache what is written without
        written = [parts[0].generate(ids, max_new_tokens=4, do_sample=False, use_cache=cached) for cached in (True, False)]
    assert torch.equal(*written)


@pytest.mark.parametrize("method", ["longrope", "self_extend"])
def test_a_search_ends_at_the_w_and_the_law_that_are_best(parts, tmp_path, monkeypatch, method):
    """A made-up loss: least at w = 230 under one of the two laws. The search begins at the start of that law, and stays."""

    def loss(name, w):
        return 3.0 + (name != method) + 20 * (math.log2(w / 230)) ** 2

    def down(model, plan, space, u, items):
        point = u.clone().requires_grad_()
        told = 20 * torch.log2(space.near(point) / 230) ** 2
        told.backward()
        return told.item(), point.grad

    def seen(model, plan, items):
        (_, stretch), *_ = plan.stretches
        return [9.0 if not stretch.near or stretch.dynamic.grid != 8 else loss(stretch.method, stretch.near) for _ in items]

    monkeypatch.setattr(job, "gradient", down)
    monkeypatch.setattr(job, "losses", seen)
    result = go(parts, tmp_path / "plan.json", family="near", causal=True, budget=600.0)
    (_, stretch), *_ = ScalingPlan.from_json((tmp_path / "plan.json").read_text()).stretches
    assert (stretch.method, stretch.log_n, result.winner) == (method, True, "fitted")
    assert abs(stretch.near - 230) <= 8


def test_it_says_so_where_the_plan_that_it_began_at_is_better(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(job._Search, "_look", lambda self, step: False)

    def seen(model, plan, items):
        return [1.0 if plan.name == "near-128-linear-log_n" else 2.0 for _ in items]

    monkeypatch.setattr(job, "losses", seen)
    result = go(parts, tmp_path / "plan.json", family="near", causal=True, budget=1.0)
    assert result.winner == "near-0.25-linear-log_n"
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()).name == "near-128-linear-log_n"


# --- what is refused


def test_it_is_causal_alone():
    with pytest.raises(BadOption, match=r"near is searched under the causal schedule alone[^\n]*\n  Add causal \(--causal\)"):
        Fit(FACTOR, "near")
    with pytest.raises(BadOption, match=r"near is searched under the causal schedule alone"):
        get_family("near").space(TINY, FACTOR, None)
    with pytest.raises(BadOption, match=r"short_weight is 0\.2, and near changes nothing within the original length"):
        Fit(FACTOR, "near", causal=True, short_weight=0.2)


def test_a_window_of_one_token_has_no_room_for_both():
    with pytest.raises(BadLength, match="original_length is 1; near and far distances need 2 tokens at least"):
        get_family("near").space(Rope(8, 10_000.0, 1), FACTOR, CAUSAL)


def refused(model, out, spec=None):
    """A fit that must end before its first step and before anything is written."""
    spec = spec or read_live(model)
    length = spec.rope(spec.stretchable[0]).original_length
    ids = [tuple(random.Random(i).choices(range(1, 60), k=2 * length)) for i in range(6)]
    documents = tuple(Document(f"{i}", each) for i, each in enumerate(ids))
    sets = Sets(documents[:2], documents[2:4], documents[4:])
    run_fit(model, None, "x", spec, Fit(2.0, "near", causal=True, budget=5.0), sets, out, "m")


def test_what_attach_refuses_is_refused_before_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "gradient", None)
    complex_, latent = build(tiny_config("deepseek_v2")), build(tiny_config("deepseek_v3"))
    with pytest.raises(CannotAttach, match="DeepseekV2"):
        refused(complex_, tmp_path / "plan.json")
    scaled = dataclasses.replace(
        read_live(latent), scaling=make_plan(read_live(latent), factor=2, options={"softmax_mscale": 1.0}).stretches
    )
    with pytest.raises(BadOption, match=r"has no word for that\. Take the family yarn"):
        refused(latent, tmp_path / "plan.json", scaled)
    flex = build(tiny_config("llama"))
    flex.config._attn_implementation = "flex_attention"
    with pytest.raises(CannotAttach, match="attends with 'flex_attention'"):
        refused(flex, tmp_path / "plan.json")
    assert not list(tmp_path.glob("*.json"))


def test_a_model_whose_every_layer_slides(tmp_path):
    model = build(tiny_config("mistral", {"sliding_window": 8}))
    spec = read_live(model)
    assert spec.farthest == 8
    with pytest.raises(BadLength, match="nothing to stretch here: every layer is a sliding-window layer"):
        refused(model, tmp_path / "plan.json")
