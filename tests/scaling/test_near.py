"""Near distances in the plan language: names, files, schedules and what is refused."""

import json
from fractions import Fraction

import pytest

from ropewalk.checkpoints.export import ladder
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadConfig, BadLength, BadOption, CannotExpress, UnknownName
from ropewalk.scaling.method import far_methods, methods
from ropewalk.scaling.names import PRESETS, read_name
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic, Schedule
from ropewalk.scaling.stretch import Stretch, pairs
from support.published import CONFIGS

ROPE = Rope(64, 1e4, 512)
LLAMA = read(CONFIGS["LLAMA2_7B"])


@pytest.mark.parametrize(
    "name",
    [
        "near-linear", "near-yarn", "near-64-yarn", "near-linear-log_n", "near-100-ntk-log_n-causal-4", "near-linear-static",
        "near-yarn-request", "near-65-rerope", "near-self_extend-rotate-3", *PRESETS,
    ],
)  # fmt: skip
def test_names_and_json_give_the_stretch_back(name):
    named = read_name(name)
    stretch = Stretch(ROPE, named.method, 8.0, (), named.dynamic, named.near_tokens(512), named.log_n)
    assert stretch.name == name
    plan = ScalingPlan((("all", stretch),), 4096)
    assert json.loads(plan.to_json())["schema"] == "ropewalk.plan/2"
    assert ScalingPlan.from_json(plan.to_json()) == plan
    assert not plan.is_one_table


def test_widths_are_tokens_or_shares():
    for name, width in {"near-linear": 256, "near-64-linear": 64, "near-0.25-linear": 128}.items():
        assert read_name(name).near_tokens(512) == width
    assert read_name("near-4k-linear").near_tokens(512) == 4096
    assert read_name("near-linear") == ("linear", Dynamic(), 0.5, False)
    assert read_name("near-linear-static").dynamic is None
    assert read_name("self_extend") == ("self_extend", None, 0.25, False)


@pytest.mark.parametrize("name", ["near-0.0002-linear", "near-0.0002-linear-log_n", "near-0.0002-rerope-static"])
def test_a_share_of_less_than_a_token_is_refused(name):
    """0.0002 of 4,096 is 0.8 tokens. It was rounded to none, and near-0.0002-linear was dynamic-linear without a word."""
    with pytest.raises(BadLength, match=r"0\.0002 of the 4,096 tokens(.|\n)*less than one(.|\n)*near-64-linear"):
        make_plan(LLAMA, factor=4, method=name)
    ((_, one),) = make_plan(LLAMA, factor=4, method="near-0.0003-linear").stretches  # 1.2 tokens
    assert one.near == 1


def test_every_part_counts_in_the_fingerprint():
    same = ["linear", "near-linear", "near-linear-log_n", "near-512-linear", "near-linear-static", "near-yarn"]
    assert len({make_plan(LLAMA, factor=4, method=name).fingerprint for name in same}) == len(same)


def test_old_plans_read_and_keep_their_schema():
    old = make_plan(LLAMA, factor=4, method="dynamic-yarn")
    data = json.loads(old.to_json())
    assert data["schema"] == "ropewalk.plan/1"
    assert "near" not in data["stretches"]["all"]
    data["stretches"]["all"]["near"] = 64
    with pytest.raises(BadConfig, match=r"near and log_n belong to plans of the schema 'ropewalk.plan/2'"):
        ScalingPlan.from_json(json.dumps(data))


@pytest.mark.parametrize("grid", [1, 2, 3])
@pytest.mark.parametrize(("length", "near", "factor"), [(512, 256, 8.0), (64, 63, 3.0), (100, 7, 40.0)])
def test_scales_grow_with_what_is_far(length, near, factor, grid):
    """Against fractions: step k begins where (p + 1 - w) / (L - w) is above 2^(k/g)."""
    most = (length * factor - near) / (length - near)
    schedule = Schedule(length, most, grid, near)
    for position in range(int(length * factor)):
        s, k = Fraction(max(position + 1 - near, 0), length - near), 0
        while s**grid > 2**k:
            k += 1
        assert schedule.step(position) == min(k, len(schedule.starts()))
        scale = schedule.scale_of(position)
        assert near + (position + 1 - near) / scale <= length + 1e-9 or position < length  # nothing turns further than trained
    assert schedule.scale_of(length - 1) == 1
    assert schedule.scale_of(2**40) == pytest.approx(most)


def test_scales_of_lengths():
    static = Stretch(ROPE, "linear", 8.0, (), None, 256)
    assert static.largest_scale == (4096 - 256) / 256 == static.scale_at(600)
    request = Stretch(ROPE, "linear", 8.0, (), Dynamic("request"), 256)
    assert request.scale_at(512) == 1
    assert request.scale_at(1024) == 3
    for near, lengths in {0: (256, 512, 1024, 2**20), 256: (256, 512, 1024, 2**20)}.items():
        scales = [Stretch(ROPE, "linear", 8.0, (), Dynamic("rotate"), near).scale_at(length) for length in lengths]
        assert scales == ([1, 1, 2, 8] if near == 0 else [1, 1, 3, 15])
    assert pairs(static)["stretched"] == 32
    assert Stretch(ROPE, "rerope", 8.0, (), None, 256).scaled_by(15.0).inv_freq == (0.0,) * 32
    for method in far_methods():
        if method not in ("longrope", "rope_theta"):
            assert Stretch(ROPE, method, 8.0, (), Dynamic(), 256).scaled_by(1.0).inv_freq == ROPE.inv_freq


def test_groups_of_self_extend():
    scaled = Stretch(ROPE, "self_extend", 8.0, (), None, 256).scaled_by(14.2)
    assert scaled.group == 15
    assert scaled.inv_freq == tuple(theta / 15 for theta in ROPE.inv_freq)
    assert Stretch(ROPE, "self_extend", 8.0, (("group", 20.0),), None, 256).scaled_by(15.0).group == 20
    with pytest.raises(BadOption, match=r"group is 1.5; it must be a whole number of tokens"):
        Stretch(ROPE, "self_extend", 8.0, (("group", 1.5),), None, 256)


def test_groups_for_some_pairs_each():
    """dpe_config.yaml of LuLuLuyi/DPE@46b85de, Llama-3-8B: of 64 pairs 8 for each of these."""
    published = (2, 8, 2, 8, 32, 32, 32, 4)
    scaled = make_plan(LLAMA, factor=8, method="near-1024-self_extend-static", options={"group": published}).stretches[0][1]
    assert scaled.options == (("group", tuple(map(float, published))),)
    found = scaled.scaled_by(scaled.largest_scale)
    assert found.group == tuple(g for g in published for _ in range(8))
    assert found.inv_freq == tuple(theta / g for theta, g in zip(scaled.rope.inv_freq, found.group, strict=True))
    assert Stretch(ROPE, "self_extend", 8.0, (("group", (4.0, 4.0)),), None, 256).scaled_by(15.0).group == 4
    for wrong, words in (((2.0, 3.0, 4.0), "a list of 3, and 32 pairs cannot be shared out evenly"), ((), "a list of 0"),
                         ((2.0, 0.5), r"it must be a whole number of tokens, 1 or more, or a list")):  # fmt: skip
        with pytest.raises(BadOption, match=words):
            Stretch(ROPE, "self_extend", 8.0, (("group", wrong),), None, 256)


def test_no_config_says_it_and_an_export_says_every_distance():
    for name in ("near-linear", "near-yarn-static", "rerope", "near-ntk-request"):
        plan = make_plan(LLAMA, factor=4, method=name)
        with pytest.raises(CannotExpress, match="no one table of frequencies says"):
            write(plan, CONFIGS["LLAMA2_7B"])
        with pytest.raises(CannotExpress, match="distances below"):
            plan.stretches[0][1].scaled()
        rungs = ladder(plan)
        assert [folder for folder, _ in rungs] == ["x2", "x4"]
        assert all(rung.is_one_table for _, rung in rungs)


def test_bad_input():
    assert not {"rerope", "self_extend"} & set(methods())
    for width in (0, -3, 512, 600, 2.5, True):
        if width != 0:
            with pytest.raises(BadLength, match=r"near is .*; it must be a whole number of tokens, 1 to 511"):
                Stretch(ROPE, "linear", 8.0, (), None, width)
    for name in ("near-0-linear", "near-1.5-linear", "near-0.0-linear", "near-9x-linear"):
        with pytest.raises(BadLength, match="no width for the near distances"):
            read_name(name)
    with pytest.raises(BadLength, match="what is far needs room"):
        make_plan(LLAMA, factor=4, method="near-4096-linear")
    for name in (
        "near",
        "near-",
        "near-64",
        "near-liner",
        "near-linear-statik",
        "near-linear-log_n-causal-2-2",
        "near-64-64-yarn",
    ):
        with pytest.raises(UnknownName):
            read_name(name)
    with pytest.raises(UnknownName, match="Did you mean 'near-linear'"):
        read_name("near-liner")
    with pytest.raises(BadOption, match="rule for far distances alone: write near-rerope"):
        Stretch(ROPE, "rerope", 8.0)
    with pytest.raises(BadOption, match="log_n goes with near distances"):
        Stretch(ROPE, "linear", 8.0, log_n=True)
    lists = (("long_factor", (2.0,) * 32), ("short_factor", (1.0,) * 32))
    with pytest.raises(BadOption, match="short_factor is a list of its own"):
        Stretch(ROPE, "longrope", 8.0, lists, None, 256)
    with pytest.raises(BadOption, match="lists end at factor 2"):
        Stretch(
            ROPE, "longrope", 8.0, (("attention_factor", (1.0,)), ("long_factor", (2.0,) * 32), ("scales", (2.0,))), None, 256
        )
    data = json.loads(make_plan(LLAMA, factor=4, method="near-linear").to_json())
    for key, value in (("near", "64"), ("near", 0.5), ("near", -1), ("log_n", 1)):
        broken = json.loads(json.dumps(data))
        broken["stretches"]["all"][key] = value
        with pytest.raises((BadConfig, BadLength)):
            ScalingPlan.from_json(json.dumps(broken))
