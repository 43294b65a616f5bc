"""Widening a model that is stretched already: its own options hold, and what depends on the factor is computed again."""

import math

import pytest

from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadOption
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.plan_notes import plan_notes
from ropewalk.scaling.stretch import Stretch
from support.corpus import CORPUS

STRETCHED = [entry for entry in CORPUS if any(not stretch.dynamic for _, stretch in read(entry.config).scaling)]
LONG = {entry.model: entry for entry in CORPUS}


def widened(config, times=2, **more):
    """The plan of the same methods at `times` the factor that the config has, and its layer types."""
    spec = read(config)
    (method,) = {stretch.method for _, stretch in spec.scaling}
    layers = [name for name, _ in spec.scaling]
    factor = max(stretch.factor for _, stretch in spec.scaling) * times
    return spec, make_plan(spec, factor=factor, method=method, layer_types=layers, **more)


@pytest.mark.parametrize("entry", STRETCHED, ids=lambda entry: entry.model)
def test_the_window_a_model_has_is_what_it_is(entry):
    """Each of its own layer types alone: the plan is the stretch that was read, option for option, and is written back."""
    spec = read(entry.config)
    for name, stretch in spec.scaling:
        if stretch.dynamic:
            continue
        plan = make_plan(spec, factor=stretch.factor, method=stretch.method, layer_types=[name])
        assert plan.stretch(name) == stretch
        again = read(write(plan, entry.config))  # a base alone is written as one
        assert (dict(again.scaling).get(name) or Stretch(again.rope(name))).scaled() == stretch.scaled()


# (model, m at twice its factor): from DeepSeek's ratio, from 0.1 ln s + 1, or as stated
DOUBLED = [
    ("mistralai/Ministral-3-8B-Instruct-2512", 1.0),  # mscale = mscale_all_dim
    ("openai/gpt-oss-20b", 0.1 * math.log(64) + 1),
    ("LLM360/K2-Horizon", 0.1 * math.log(32) + 1),  # states its formula
    ("poolside/Laguna-XS.2", 1.0),  # stated, and no formula
    ("allenai/Olmo-3-1025-7B", 0.1 * math.log(16) + 1),
    ("deepseek-ai/DeepSeek-V3", 1.0),
    ("moonshotai/Kimi-K2-Instruct", 1.0),
    ("Qwen/Qwen3-8B, the card's YaRN", 0.1 * math.log(8) + 1),
]


@pytest.mark.parametrize(("model", "m"), DOUBLED)
def test_a_wider_window_keeps_the_models_own_yarn(model, m):
    spec, plan = widened(LONG[model].config)
    for name, new in plan.stretches:
        before, now = dict(dict(spec.scaling)[name].options), dict(new.options)
        assert {k: v for k, v in now.items() if k != "attention_factor"} == {
            k: v for k, v in before.items() if k != "attention_factor"
        }
        assert new.scaled().attention_factor == pytest.approx(m, rel=1e-12)


def test_a_ratio_that_depends_on_the_factor_is_computed_again():
    """mscale 1 over mscale_all_dim 0.5, as transformers' yarn has it: (0.1 ln s + 1) / (0.05 ln s + 1)."""
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1e4, "mscale": 1.0,
            "mscale_all_dim": 0.5}  # fmt: skip
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 1, "max_position_embeddings": 512,
              "rope_parameters": rope}  # fmt: skip
    spec, plan = widened(config, times=4)
    s = math.log(16)

    assert plan.stretch("all").scaled().attention_factor == pytest.approx((0.1 * s + 1) / (0.05 * s + 1), rel=1e-12)
    assert "a ratio, of mscale 1 and mscale_all_dim 0.5" in " ".join(plan_notes(spec, plan))
    assert dict(read(write(plan, config)).scaling)["all"].scaled() == plan.stretch("all").scaled()


def test_a_person_goes_before_what_is_carried():
    horizon = LONG["LLM360/K2-Horizon"].config

    _, plan = widened(horizon, options={"beta_fast": 16.0})
    assert dict(plan.stretch("all").options)["beta_fast"] == 16.0
    assert dict(plan.stretch("all").options)["beta_slow"] == 4.0
    _, plan = widened(LONG["poolside/Laguna-XS.2"].config, options={"temperature_slope": 0.07})
    assert plan.stretch("full_attention").scaled().attention_factor == pytest.approx(0.07 * math.log(128) + 1)
    _, plan = widened(LONG["poolside/Laguna-XS.2"].config, options={"attention_factor": None})
    assert plan.stretch("full_attention").scaled().attention_factor == pytest.approx(0.1 * math.log(128) + 1)


def test_another_method_carries_nothing_and_says_so():
    spec = read(LONG["LLM360/K2-Horizon"].config)
    plan = make_plan(spec, factor=32, method="linear")

    assert plan.stretch("all").options == ()
    assert "yarn x16, and this plan replaces that with linear" in plan_notes(spec, plan)[0]


def test_longropes_lists_hold_for_their_own_factor_alone():
    phi3 = LONG["microsoft/Phi-3-mini-128k-instruct"].config
    spec = read(phi3)

    with pytest.raises(BadOption, match="searched for factor 32, and say nothing of factor 64"):
        make_plan(spec, factor=64, method="longrope")
    lists = {"long_factor": tuple(2.0 + i for i in range(48))}
    assert dict(make_plan(spec, factor=64, method="longrope", options=lists).stretch("all").options) == lists


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("LLM360/K2-Horizon", ["its own beta_fast 128, beta_slow 4 carried on", "computed again for factor 32"]),
        ("poolside/Laguna-XS.2", ["attention factor 1 is carried on, since it is not 1.4159"]),
        ("openai/gpt-oss-20b", ["its own truncate false carried on"]),
        ("mistralai/Ministral-3-8B-Instruct-2512", ["a ratio, of mscale 1 and mscale_all_dim 1: 1 at factor 32"]),
    ],
)
def test_what_is_carried_is_said(model, words):
    said = " ".join(plan_notes(*widened(LONG[model].config)))
    assert all(word in said for word in words), said


def test_deepseeks_softmax_is_carried_on():
    config = LONG["deepseek-ai/DeepSeek-V3"].config
    spec, plan = widened(config)
    assert "its own attention_factor" not in (said := " ".join(plan_notes(spec, plan)))
    assert "softmax_mscale 1 carried on" in said
    assert write(plan, config)["rope_parameters"]["mscale_all_dim"] == 1.0
