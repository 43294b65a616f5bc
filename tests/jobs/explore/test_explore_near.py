"""The explorer's chapter on near distances: its arithmetic against the ground floor and a live model, and its handle."""

import math

import pytest
import torch

import ropewalk
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.explore.models import preset_files
from ropewalk.scaling.names import read_name
from ropewalk.scaling.schedule import Schedule
from ropewalk.scaling.stretch import Stretch
from support.browser import Watched

FAR = ("linear", "yarn", "rerope", "self_extend")
PRESETS = preset_files()
ANGLE = """([rope, far, factor, w, p, d, i, s]) => { const R = window.ropewalk;
    const scale = s === null ? R.nearScale(rope, factor, w, p) : s, rule = R.farRule(rope, far, scale);
    return [R.farthestScale(rope, factor, w), scale, rule, R.nearAngle(rope, rule, w, p, d, i)]; }"""
SHOWN = """() => { const R = window.ropewalk, f = R.nearFacts();
    return {w: f.w, p: f.p, s: f.s, leave: f.leave, name: R.nearPlanName(),
        said: document.querySelector('#near .reading').textContent}; }"""


@pytest.fixture(scope="module")
def page(browser, file):
    with Watched(browser, file) as watched:
        yield watched.page


def whole_rope(preset):
    return next(rope for _, rope in read(preset["config"]).ropes)


def as_page(rope):
    return {"rotary_dim": rope.rotary_dim, "rope_theta": rope.rope_theta, "original_length": rope.original_length}


def by_hand(rope, scaled, w, p, d, i):
    """The rule of docs/near.md, with positions in whole groups of `scaled.group`."""
    theta, whole = rope.inv_freq[i], lambda x: x // scaled.group * scaled.group
    return theta * d if d < w else theta * w + scaled.inv_freq[i] * (whole(p) - whole(p - d) - w)


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("preset", PRESETS, ids=[preset["id"] for preset in PRESETS])
def test_scales_frequencies_and_angles_are_the_ground_floors(page, preset, far):
    rope = whole_rope(preset)
    for factor in (1.5, 4.0, 7.3):
        for w in (1, rope.original_length // 4, rope.original_length - 1):
            stretch = Stretch(rope, far, factor, near=w)
            schedule = Schedule(rope.original_length, stretch.largest_scale, 0, w)  # without a grid: what is drawn
            last = stretch.target_length - 1
            for p in (0, w, rope.original_length - 1, rope.original_length, (rope.original_length + last) // 2, last):
                for d, i in ((0, 0), (min(w, p), 1), (p // 2, rope.rotary_dim // 4), (p, rope.rotary_dim // 2 - 1)):
                    most, s, rule, angle = page.evaluate(ANGLE, [as_page(rope), far, factor, w, p, d, i, None])
                    scaled = stretch.scaled_by(schedule.scale_of(p))
                    assert most == stretch.largest_scale
                    assert s == pytest.approx(schedule.scale_of(p), rel=1e-12)
                    assert rule["inv_freq"] == pytest.approx(list(scaled.inv_freq), rel=1e-9, abs=0)
                    assert rule["attention_factor"] == pytest.approx(scaled.attention_factor, rel=1e-12)
                    assert rule["group"] == scaled.group
                    assert angle == pytest.approx(by_hand(rope, scaled, w, p, d, i), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["near-linear", "near-100-yarn", "near-0.25-self_extend-static", "near-0.125-rerope-static"])
def test_the_angles_drawn_are_those_of_a_live_model(page, name):
    """What its queries and keys are turned by: float32, 3,000 tokens at 1 rad, so 3e-4 off at most."""
    model, named = ropewalk.load_model("ropewalk-tiny"), read_name(name)
    with ropewalk.attach(model, name, factor=8) as attached:
        ladder = attached._deferred.tables[0][0].ladder
        rope, w, p, like = attached.plan.stretches[0][1].rope, named.near_tokens(512), 3000, torch.zeros(1)
        step = int(ladder.steps(torch.tensor([[p]]))[0, 0])
        pairs, s = rope.rotary_dim // 2, ladder.schedule.scale(step)
        for d in (0, 1, w - 1, w, w + 1, w + 2, 1500, p):
            query = ladder.of_near_queries if d < w else ladder.of_queries
            turned = (
                query(step, torch.tensor([[p]]), like),
                ladder.of_keys(0 if d < w else step, torch.tensor([[p - d]]), like),
            )
            ahead, behind = (torch.atan2(sin, cos)[0, 0, :pairs].double() for cos, sin in turned)
            for i in (0, 3, pairs - 1):
                drawn = page.evaluate(ANGLE, [as_page(rope), named.method, 8, w, p, d, i, s])[3]
                off = (float(ahead[i] - behind[i]) - drawn + math.pi) % math.tau - math.pi
                assert abs(off) < 1e-3, (d, i)


def test_with_near_distances_no_pair_turns_further_than_in_training(browser, file):
    """24 pairs of Qwen3-8B have a wavelength above 32,768 tokens, from 2 pi 1e6^(i/64) by hand: i of 40 and more."""
    with Watched(browser, file) as watched:
        for far in FAR:
            for law in ("causal", "static"):
                watched.page.evaluate(
                    "changes => window.ropewalk.set(changes)", {"far": far, "law": law, "near": 20, "query": 4}
                )
                shown = watched.page.evaluate(SHOWN)
                assert shown["leave"] == [0, 24], (far, law)
                assert "Of 64 pairs none meet angles never seen in training; unstretched 24 would" in shown["said"]
        watched.page.evaluate("window.ropewalk.set({query: 0.9, law: 'causal'})")
        assert "near and far are one line" in watched.page.evaluate(SHOWN)["said"]


def test_the_plan_is_named_so_that_the_command_line_reads_it(browser, file):
    with Watched(browser, file, hash="#model=llama-2-7b") as watched:
        for near, far, law in (
            (50, "linear", "causal"),
            (29, "yarn", "static"),
            (7, "self_extend", "causal"),
            (99, "rerope", "static"),
        ):
            watched.page.evaluate("changes => window.ropewalk.set(changes)", {"near": near, "far": far, "law": law})
            shown = watched.page.evaluate(SHOWN)
            named = read_name(shown["name"])
            assert (named.near_tokens(4096), named.method, named.dynamic is None) == (shown["w"], far, law == "static")


def test_options_that_are_drawn_are_written_too(browser, file):
    with Watched(browser, file, hash="#model=llama-2-7b&method=yarn&o.beta_fast=8&far=yarn") as watched:
        said = watched.page.evaluate(SHOWN)["said"]
        assert said.endswith("Written near-yarn --option beta_fast=8.")
        watched.page.evaluate("window.ropewalk.set({far: 'linear'})")
        assert watched.page.evaluate(SHOWN)["said"].endswith("Written near-linear.")


def test_w_moves_under_the_mouse_a_finger_and_the_arrow_keys(browser, file):
    with Watched(browser, file, viewport={"width": 1280, "height": 900}, has_touch=True) as watched:
        page = watched.page
        page.evaluate("document.querySelector('#near svg').scrollIntoView({block: 'center'})")
        watched.until("document.querySelectorAll('#near .handle').length == 1")
        box = page.locator("#near .handle").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y, steps=4)
        page.mouse.up()
        dragged = page.evaluate("window.ropewalk.state.near")
        assert 70 < dragged < 80  # 40 of some 153 pixels that L takes, at p = 3 L
        page.touchscreen.tap(x, y)
        assert page.evaluate("window.ropewalk.state.near") == 50
        page.focus("#near input[id$=near]")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("window.ropewalk.state.near") == 51
        assert page.get_attribute("#near input[id$=near]", "aria-valuetext") == "16,711 tokens · 51 % of L"
        watched.until("location.hash.includes('near=51')")
        assert watched.complaints == []


@pytest.mark.parametrize("link", ["#near=0&far=dca&law=x&query=-1&nearpair=1e9", "#near=12.5&query=NaN&far=none"])
def test_what_a_link_has_wrong_is_left_out(browser, file, link):
    with Watched(browser, file, hash=link) as watched:
        shown = watched.page.evaluate(SHOWN)
        assert (shown["w"], shown["p"], shown["s"], shown["name"]) == (16384, 98303, 5, "near-linear")
        assert watched.complaints == []
