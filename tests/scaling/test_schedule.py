"""The scale by position: hand-counted values, and whole-number and arbitrary-precision arithmetic of its own."""

from fractions import Fraction

import mpmath
import pytest

from ropewalk.errors import BadOption, UnknownName
from ropewalk.scaling.names import read_name
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import SEMANTICS, Dynamic, Schedule
from ropewalk.scaling.stretch import Stretch


def test_counted_by_hand():
    """L = 512, two steps per octave: 512 sqrt 2 = 724.08, so position 724 (length 725) is the first beyond it."""
    schedule = Schedule(512, 8.0, 2)
    assert schedule.starts() == (512, 724, 1024, 1448, 2048, 2896)
    root = 2**0.5
    for position, scale in [(0, 1), (511, 1), (512, root), (723, root), (724, 2), (1023, 2), (1024, 2 * root), (4095, 8)]:
        assert schedule.scale_of(position) == pytest.approx(scale, rel=1e-15), position
    assert schedule.scale_of(10**9) == 8


def test_the_factor_caps_a_grid_that_passes_it():
    schedule = Schedule(100, 3.0, 1)
    assert schedule.starts() == (100, 200)
    assert [schedule.scale_of(p) for p in (99, 100, 199, 200, 5000)] == [1, 2, 2, 3, 3]
    assert Schedule(100, 1.0, 4).starts() == ()


@pytest.mark.parametrize("length", [1, 2, 100, 512, 4096, 8191, 32768, 131072])
@pytest.mark.parametrize("grid", [1, 2, 3, 4, 8])
def test_rounded_up_by_other_arithmetic(length, grid):
    """s^g is rational where s = 2^(k/g): compare ((p + 1) / L)^g with 2^k as fractions."""
    schedule = Schedule(length, 16.0, grid)
    for start in schedule.starts():
        for position in {max(start - 1, 0), start, start + 1, 16 * length, 17 * length}:
            wanted = Fraction(position + 1, length) ** grid
            k = next(k for k in range(200) if wanted <= 2**k)
            exact = mpmath.mpf(2) ** (mpmath.mpf(k) / grid)
            assert schedule.scale_of(position) == pytest.approx(float(min(exact, 16)), rel=1e-14)


def test_without_a_grid_every_length_has_its_own_scale():
    schedule = Schedule(100, 2.5, 0)
    assert [schedule.scale_of(p) for p in (0, 99, 100, 149, 249, 250, 9999)] == [1, 1, 1.01, 1.5, 2.5, 2.5, 2.5]
    assert Schedule(3, 1.5, 0).scale_of(4) == 1.5  # 5 / 3 lies beyond


@pytest.mark.parametrize(
    "name",
    [
        "dynamic",
        "dynamic-yarn",
        "dynamic-yarn-rotate",
        "dynamic-causal-4",
        "dynamic-linear-rotate-3",
        "dynamic-yarn-request-2",
    ],
)
def test_names_and_json_give_the_stretch_back(name):
    method, dynamic, *_ = read_name(name)
    stretch = Stretch(Rope(64, 1e4, 512), method, 8.0, (), dynamic)
    assert stretch.name == name
    plan = ScalingPlan((("all", stretch),), 4096)
    assert ScalingPlan.from_json(plan.to_json()) == plan


def test_defaults():
    assert read_name("dynamic") == ("ntk", Dynamic("causal", 2), None, False)
    assert read_name("dynamic-yarn-request") == ("yarn", Dynamic("request", 0), None, False)
    assert read_name("dynamic-recompute") == ("ntk", Dynamic("recompute", 0), None, False)
    assert set(SEMANTICS) == {"causal", "request", "rotate", "recompute"}


def test_a_request_is_rounded_up_to_its_grid():
    """L = 512, g = 2, counted by hand: 724 tokens still fit sqrt 2, 725 do not; 1025 to 1448 take 2 sqrt 2 = 2.828."""
    stretch = Stretch(Rope(64, 1e4, 512), "yarn", 8.0, (), Dynamic("request", 2))
    scales = [(512, 1), (513, 2**0.5), (724, 2**0.5), (725, 2), (1025, 8**0.5), (2897, 8), (9999, 8), (None, 8)]
    for length, scale in scales:
        assert stretch.scale_at(length) == pytest.approx(scale, rel=1e-15), length


def test_an_old_plan_meant_requests():
    text = ScalingPlan((("all", Stretch(Rope(64, 1e4, 512), "yarn", 8.0)),), 4096).to_json()
    old = ScalingPlan.from_json(text.replace('"dynamic": false', '"dynamic": true'))
    assert old.stretches[0][1].dynamic == Dynamic("request")


def test_bad_input():
    with pytest.raises(UnknownName, match=r"meaning of dynamic is called 'casual'. Did you mean 'causal'"):
        Dynamic("casual")
    with pytest.raises(BadOption, match="grid is 0; causal takes a whole number of steps per octave, 1 to 64"):
        Dynamic("causal", 0)
    with pytest.raises(BadOption, match="longrope cannot be dynamic"):
        Stretch(Rope(4, 1e4, 512), "longrope", 8.0, (("long_factor", (1.0, 2.0)),), Dynamic())
    for name in ("dynamic-yarn-causal-x", "dynamic-causal-2-3", "dynamic-warn", "yarn-causal"):
        with pytest.raises(UnknownName):
            read_name(name)
