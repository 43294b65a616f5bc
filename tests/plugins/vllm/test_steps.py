"""Which step a request takes: counted by hand, and salts that no two steps share."""

import itertools

import pytest

from ropewalk.errors import BadLength, BadOption
from ropewalk.plugins.vllm.plan import Steps, salted
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic, Schedule
from ropewalk.scaling.stretch import Stretch

# L = 512, factor 8, one step per octave, served to 3,000 tokens: scales 1, 2, 4 and, for the rest, 8.
STEPS = Steps.of(Schedule(512, 8.0, 1), 3000)


def test_counted_by_hand():
    assert STEPS.scales == (1, 2, 4, 8)
    assert STEPS.rows == (512, 1024, 2048, 3000)
    assert STEPS.starts == (0, 512, 1536, 3584)
    lengths = {1: 0, 512: 0, 513: 1, 1024: 1, 1025: 2, 2048: 2, 2049: 3, 3000: 3, 9999: 3}
    assert {n: STEPS.choose(n) for n in lengths} == lengths


def test_only_as_many_steps_as_the_longest_request_needs():
    assert Steps.of(Schedule(512, 8.0, 1), 1024) == Steps((1.0, 2.0), (512, 1024))
    assert Steps.of(Schedule(512, 8.0, 1), 1025).scales == (1, 2, 4)
    assert Steps.of(Schedule(512, 6.0, 1), 3072).scales == (1, 2, 4, 6)  # the factor caps the last


@pytest.mark.parametrize("grid", [1, 2, 3, 5])
@pytest.mark.parametrize("original", [3, 100, 512])
def test_as_the_plan_itself_scales_a_request(grid, original):
    stretch = Stretch(Rope(64, 1e4, original), "yarn", 5.0, (), Dynamic("request", grid))
    steps = Steps.of(stretch.schedule, 5 * original)

    for length in range(1, 5 * original + 1):
        step = steps.choose(length)
        assert steps.scales[step] == stretch.scale_at(length), length
        assert length <= steps.rows[step]


def test_a_scale_may_be_asked_for():
    assert [STEPS.choose(100, scale) for scale in (1, 2.0, 4.0001, 8)] == [0, 1, 2, 3]
    assert Steps.of(Schedule(512, 8.0, 2), 4096).choose(10, 1.414) == 1
    for wrong in (3, 16, 0, "2", True, [2], float("nan"), None or {}):
        with pytest.raises(BadOption, match=r"the served plan has the scales 1, 2, 4, 8\.\n  Leave rope_scale out"):
            STEPS.choose(100, wrong)
    with pytest.raises(
        BadLength, match=r"rope_scale is 2, which holds 1,024 tokens; this request has 1,025(.|\n)*Ask for 4 or more"
    ):
        STEPS.choose(1025, 2)


def test_no_two_steps_share_a_salt():
    """Nor do two plans; at scale 1 keys are the unstretched model's, whatever the plan, and keep the client's own salt."""
    given = [None, "mine", "mine:2", "f:1", ":1"]
    made = [salted(g, f, step) for g, f, step in itertools.product(given, ("f", "g"), (1, 2, 11))]
    made += [salted(g, "f", 0) for g in given]

    assert len(set(made)) == len(made)
    assert [salted(g, "f", 0) for g in given] == given


def test_a_client_cannot_take_another_steps_salt():
    stolen = salted(None, "f", 2)
    for step in (0, 1):
        with pytest.raises(BadOption, match="salts that begin with 'ropewalk:' are the plan's own"):
            salted(stolen, "f", step)
