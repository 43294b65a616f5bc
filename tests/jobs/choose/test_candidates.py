"""Which plans take part, and which of those that read alike."""

import pytest

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.jobs.choose.candidates import FIRST, NONE, OWN, candidates, names
from ropewalk.measure.window import WindowPlan
from ropewalk.scaling.method import methods
from ropewalk.scaling.names import PRESETS
from ropewalk.scaling.plan import make_plan

CONFIG = read_config(bundled_model())
SPEC = read(CONFIG)


def by_name(found):
    return {candidate.name: candidate for candidate in found}


def test_every_stretch_without_parameters_takes_part_once():
    found = candidates(SPEC, 2048, CONFIG)
    heard = {name for candidate in found for name in (candidate.name, *candidate.alike)}
    wanted = {name for name, method in methods().items() if not method.required}
    dynamic = {"dynamic" if name == "ntk" else f"dynamic-{name}" for name in wanted - {NONE}}
    assert wanted | dynamic | {f"{name}-request" for name in dynamic} | {*PRESETS} | {*FIRST} <= heard
    assert len(heard) == sum(1 + len(candidate.alike) for candidate in found)
    assert found[0].name == NONE


def test_all_reach_the_target_with_the_smallest_factor():
    for candidate in candidates(SPEC, 1536, CONFIG):
        assert candidate.plan.target_length == 1536
        if not isinstance(candidate.plan, WindowPlan):
            assert [stretch.factor for _, stretch in candidate.plan.stretches] == [3.0]


def test_of_two_that_read_the_target_alike_the_one_without_a_cost_inside_takes_part():
    """A request of the target length has the whole factor, so dynamic-yarn-request reads it as yarn does."""
    found = by_name(candidates(SPEC, 2048, CONFIG))
    assert "yarn" not in found
    assert found["dynamic-yarn-request"].reads.name == "yarn"
    assert found["dynamic-yarn-request"].reads.is_one_table
    assert "linear" in found["dynamic-linear-request"].alike  # and proportional, whose default is linear
    assert "proportional" in found["dynamic-linear-request"].alike


def test_engines_carry_what_their_ledger_says():
    """A config holds one table of frequencies: no plan that depends on positions (docs/engines.md)."""
    found = by_name(candidates(SPEC, 2048, CONFIG, engines=["vllm", "llama.cpp"]))
    carried = {name for name, candidate in found.items() if not candidate.refused}
    assert carried == {NONE, "window", "yarn", "ntk", "ntk_by_parts", "linear", "llama3", "resonance"}
    assert set(found["near-linear"].refused) == {"vLLM", "llama.cpp"}
    assert "never written" in found["near-linear"].refused["vLLM"]


def test_the_configs_own_stretch_and_saved_plans_take_part_under_their_names():
    own = read(write(make_plan(SPEC, factor=4.0, method="yarn"), CONFIG))
    saved = make_plan(SPEC, factor=4.0, method="yarn", options={"beta_fast": 16.0})
    found = candidates(own, 2048, CONFIG, saved={"mine": saved})
    assert [candidate.name for candidate in found][:3] == [OWN, NONE, "mine"]
    assert found[0].plan.stretches[0][1].method == "yarn"
    assert "yarn" in found[0].alike  # the same plan, once
    with pytest.raises(BadOption, match="the plan mine reaches 2,048 tokens, and 4,096 are asked for"):
        candidates(SPEC, 4096, CONFIG, saved={"mine": saved})


@pytest.mark.parametrize(
    ("name", "given"), [("yarn", {}), ("yarn", {"methods": ("yarn",)}), ("none", {"methods": ("linear",)}), ("window", {})]
)
def test_a_saved_plan_under_a_name_that_is_taken_is_refused(name, given):
    """Only one of the two was read, the other one, and the saved plan's name stood beside what it did."""
    saved = make_plan(SPEC, factor=4.0, method="yarn", options={"beta_fast": 16.0})
    with pytest.raises(BadOption, match=f"{name} is a stretch that takes part(.|\n)*Rename"):
        candidates(SPEC, 2048, CONFIG, saved={name: saved}, **given)
    same = make_plan(SPEC, target_length=2048, method="yarn")
    assert "yarn" in by_name(candidates(SPEC, 2048, CONFIG, saved={"yarn": same}, methods=("yarn", "ntk")))


def test_own_asked_of_a_config_without_a_stretch_is_refused():
    with pytest.raises(BadOption, match="own is the stretch that a config has already, and this one has none"):
        candidates(SPEC, 2048, CONFIG, methods=("own", "yarn"))


@pytest.mark.parametrize("target", [1024, 2048, 3072])
def test_a_config_that_scales_by_the_request_is_read_at_the_targets_scale(target):
    """NTK at s = l / L: theta s^(d / (d - 2)), as transformers' `dynamic`, written out; a config says no largest s."""
    config = {**CONFIG, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}
    own = by_name(candidates(read(config), target, config))[OWN].reads.stretches[0][1]
    base = 10000.0 * (target / 512) ** (64 / 62)
    assert own.dynamic is None
    assert own.scaled().inv_freq == pytest.approx([base ** (-2 * i / 64) for i in range(32)], rel=1e-9)


def test_a_model_that_nothing_can_stretch_says_why():
    """Mistral 7B v0.1: every layer slides over 4,096 of the 8,192 tokens (its published config)."""
    config = {
        "model_type": "mistral", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "num_hidden_layers": 32, "max_position_embeddings": 8192, "rope_theta": 10000.0, "sliding_window": 4096,
    }  # fmt: skip
    with pytest.raises(BadLength, match="every layer is a sliding-window layer"):
        candidates(read(config), 16384, config)


def test_names_are_readable():
    for name in names():
        assert make_plan(SPEC, factor=2.0, method=name).target_length == 1024


def test_of_named_methods_those_alone_take_part_beside_no_stretch():
    found = candidates(SPEC, 2048, CONFIG, methods=["near-linear", "none", "window"])
    assert [candidate.name for candidate in found] == [NONE, "near-linear", "window"]
    assert isinstance(found[2].plan, WindowPlan)
    with pytest.raises(UnknownName, match="Did you mean 'yarn'"):
        candidates(SPEC, 2048, CONFIG, methods=["yarm"])
