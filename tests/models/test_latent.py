"""Latent attention (MLA) as DeepSeek publishes it: its yarn scales the softmax of every channel, and plans say so."""

import copy
import json
import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadOption, CannotAttach, CannotExpress, Mismatch
from ropewalk.jobs.fit.family import get_family
from ropewalk.jobs.fit.job import own_softmax
from ropewalk.models.attach import attach
from ropewalk.models.differentiable import rotating_by
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.schedule import CAUSAL, Dynamic
from support.architectures import LENGTH, METHODS, MLA, build, tiny_config, yarn
from support.published import DEEPSEEK_V3, QWEN3_8B

# (mscale, mscale_all_dim) of DeepSeek-V3, R1 and Kimi K2; of DeepSeek-V2; and two that are not alike.
SLOPES = [(1.0, 1.0), (0.707, 0.707), (1.0, 0.5)]
FAMILIES = ["deepseek_v2", "deepseek_v3"]
TOKENS = 300  # beyond the original length
IDS = (torch.arange(TOKENS)[None] * 7 + 3) % 119 + 1


def published(family, slopes=SLOPES[0], factor=4.0, **more):
    """A tiny random model with the keys that DeepSeek writes."""
    torch.manual_seed(0)
    above, below = slopes
    keys = yarn(1e4, factor=factor, mscale=above, mscale_all_dim=below)
    return build(tiny_config(family, dict(MLA, rope_parameters=keys, max_position_embeddings=round(factor * LENGTH), **more)))


@torch.no_grad()
def logits(model, ids=IDS):
    return model(ids).logits


def stock(model, config):
    """transformers' own model of that config, with the weights of `model`."""
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"]).from_dict(config))
    made.load_state_dict(model.state_dict())
    return made.eval()


def softmax_scales(model):
    return [layer.self_attn.scaling * layer.self_attn.qk_head_dim**0.5 for layer in model.model.layers]


def deepseeks(factor, slope):
    """What inference/model.py of DeepSeek-V3 (9b4e978) multiplies its softmax scale by, where the deployment is long:
    mscale = 0.1 * args.mscale * math.log(args.rope_factor) + 1.0; self.softmax_scale = self.softmax_scale * mscale * mscale"""
    mscale = 0.1 * slope * math.log(factor) + 1.0
    return mscale * mscale


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("method", [*METHODS, "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_is_stock_transformers_of_the_written_config(family, method, slopes):
    model = published(family, slopes)
    config = model.config.to_dict()
    plan = make_plan(read(config), factor=1 if method == "none" else 8, method=method)
    wanted, before = logits(stock(model, write(plan, config))), logits(model)

    with attach(model, plan):
        found, scales = logits(model), softmax_scales(model)

    assert (found - wanted).abs().max() <= 3e-5 * max(float((wanted - before).abs().max()), 1e-2)
    kept = deepseeks(8, slopes[1]) if method == "yarn" else 1.0  # others replace the stretch, its softmax too
    assert scales == pytest.approx([kept] * len(scales), rel=1e-9)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_undo_puts_back_the_very_number(family):
    model = published(family)
    before = [layer.self_attn.scaling for layer in model.model.layers]
    with attach(model, make_plan(read(model.config.to_dict()), factor=8)):
        assert [layer.self_attn.scaling for layer in model.model.layers] != before
    assert [layer.self_attn.scaling for layer in model.model.layers] == before


@pytest.mark.parametrize("family", ["glm4_moe_lite", "minicpm3", "youtu", "axk1"])
def test_other_latent_attention_too(family):
    model = published(family)
    config = model.config.to_dict()
    plan = make_plan(read(config), factor=8)
    wanted, before = logits(stock(model, write(plan, config))), logits(model)
    with attach(model, plan):
        assert (logits(model) - wanted).abs().max() <= 3e-5 * float((wanted - before).abs().max())


def test_the_published_keys_widen_to_the_published_keys():
    """DeepSeek-V3 from 40 to 80 times 4,096 tokens: the factor changes and the softmax with it, (0.1 ln 80 + 1)^2 = 2.0686."""
    spec = read(DEEPSEEK_V3)
    plan = make_plan(spec, factor=80)
    keys = write(plan, DEEPSEEK_V3)["rope_parameters"]
    own = DEEPSEEK_V3["rope_scaling"]

    assert {key: keys[key] for key in own if key not in ("type", "factor")} == {
        key: own[key] for key in own if key not in ("type", "factor")
    }
    assert (keys["rope_type"], keys["factor"]) == ("yarn", 80.0)
    assert "attention_factor" not in keys  # which vLLM would read as another yarn
    assert dict(spec.scaling)["all"].scaled().softmax_factor == pytest.approx(1.8739, abs=5e-5)  # (0.1 ln 40 + 1)^2
    assert plan.stretch("all").scaled().softmax_factor == pytest.approx(deepseeks(80, 1.0), rel=1e-12)
    assert plan.stretch("all").scaled().attention_factor == 1.0
    assert ScalingPlan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["stretches"]["all"]["options"]["softmax_mscale"] == 1.0


@pytest.mark.parametrize("semantics", ["causal-2", "rotate"])
def test_causal_reads_each_token_as_the_model_of_its_own_scale(semantics):
    """Of one layer, whose queries and keys no scale has touched yet: the logits at position p are those of transformers' model
    whose config says the scale of p."""
    model = published("deepseek_v3", num_hidden_layers=1)
    config = model.config.to_dict()
    plan = make_plan(read(config), factor=4, method=f"dynamic-yarn-{semantics}")
    schedule = plan.stretch("all").schedule
    with attach(model, plan):
        found = logits(model)[0]
        alone = logits(model, IDS[:, :200])[0]

    looked_at = [0, 5, LENGTH - 1, LENGTH, LENGTH + 40, 199, 200, 250, TOKENS - 1]
    for p in looked_at if semantics.startswith("causal") else [TOKENS - 1]:
        scale = schedule.scale_of(p) if semantics.startswith("causal") else plan.stretch("all").scale_at(TOKENS)
        static = make_plan(read(config), factor=scale)
        wanted = logits(stock(model, write(static, config)), IDS[:, : p + 1])[0, -1]
        assert (found[p] - wanted).abs().max() < 2e-4 * float(wanted.abs().max()), p
    if semantics.startswith("causal"):
        torch.testing.assert_close(alone, found[:200], rtol=1e-4, atol=1e-4)


def test_causal_leaves_short_texts_to_the_plain_model():
    """Inside the original window the scale is 1: no ramp, and a softmax that nothing multiplies."""
    model = published("deepseek_v3")
    config = model.config.to_dict()
    plain = stock(model, write(make_plan(read(config), factor=1, method="none"), config))
    ids = IDS[:, :LENGTH]
    with attach(model, make_plan(read(config), factor=8, method="dynamic-yarn-causal-2")):
        torch.testing.assert_close(logits(model, ids), logits(plain, ids), rtol=2e-5, atol=2e-5)  # float32's frequencies
        cached = model.generate(IDS[:, :140], max_new_tokens=20, do_sample=False)
        again = model.generate(IDS[:, :140], max_new_tokens=20, do_sample=False, use_cache=False)
    assert torch.equal(cached, again)


def test_one_scale_per_request():
    model = published("deepseek_v3")
    config = model.config.to_dict()
    plan = make_plan(read(config), factor=8, method="dynamic-yarn-request")
    static = write(make_plan(read(config), factor=TOKENS / LENGTH), config)
    with attach(model, plan):
        found = logits(model)
    torch.testing.assert_close(found, logits(stock(model, static)), rtol=1e-4, atol=1e-4)


def test_a_softmax_that_is_not_the_configs_is_seen():
    model = published("deepseek_v3")
    plan = make_plan(read(model.config.to_dict()), factor=8)
    model.model.layers[1].self_attn.scaling *= 1.5
    with pytest.raises(Mismatch, match=r"multiplies its softmax scale by 1\.944\d+; as its config says, it is 1\.296"):
        attach(model, plan)


def test_a_softmax_that_somebody_changes_is_seen():
    model = published("deepseek_v3")
    with attach(model, make_plan(read(model.config.to_dict()), factor=8)) as attached:
        model.model.layers[0].self_attn.scaling = 0.1
        with pytest.raises(Mismatch, match="as the plan says"):
            attached.check()


def test_other_attention_has_no_such_word():
    model = build(tiny_config("llama"))
    plan = make_plan(read(model.config.to_dict()), factor=4, options={"softmax_mscale": 1.0})
    with pytest.raises(CannotAttach, match="softmax of latent attention"):
        attach(model, plan)
    with pytest.raises(CannotExpress, match="softmax of latent attention"):
        write(make_plan(read(QWEN3_8B), factor=4, options={"softmax_mscale": 1.0}), QWEN3_8B)


def test_what_no_keys_can_say_is_refused():
    spec = read(DEEPSEEK_V3)
    for options in ({"beta_growth": 1.0}, {"ramp": "turns"}):
        with pytest.raises(CannotExpress, match="longrope's lists cannot say"):
            write(make_plan(spec, factor=80, options=options), copy.deepcopy(DEEPSEEK_V3))


@pytest.mark.parametrize("causal", [False, True])
def test_a_fit_leaves_the_softmax_to_the_model(causal):
    """A search moves frequencies and the attention factor; what the gradient reads is the model that would be written."""
    model = published("deepseek_v3")
    spec = read(model.config.to_dict())
    dynamic = Dynamic(CAUSAL, 2) if causal else None
    space = get_family("yarn").space(spec.rope("all"), 4.0, dynamic).keeping(own_softmax(spec, "all"))
    start, u = space.starts[-1], [0.3, -0.2, 0.4, 0.1][: space.size]
    plans = [ScalingPlan((("all", space.stretch(point)),), 4 * LENGTH, "x") for point in (start, u)]
    assert [dict(plan.stretch("all").options)["softmax_mscale"] for plan in plans] == [1.0, 1.0]
    assert plans[0].stretch("all").scaled().attention_factor == 1.0  # one of its starts is DeepSeek's own

    point = torch.tensor(u, dtype=torch.float64)
    with attach(model, plans[1]):
        wanted = logits(model)
    with rotating_by(model, plans[0], lambda scale: space.frequencies(point, scale), TOKENS):
        found = logits(model)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)

    lists = get_family("free").space(spec.rope("all"), 4.0, None).keeping(own_softmax(spec, "all"))
    with pytest.raises(BadOption, match=r"longrope has no word for that\. Take the family yarn"):
        lists.stretch([0.0] * lists.size)


def test_near_distances_as_trained_keep_the_softmax_of_the_far_ones():
    """Of one layer, at the last token, near everything: no distance is stretched, and the softmax is what the scale says."""
    model = published("deepseek_v3", num_hidden_layers=1)
    config = model.config.to_dict()
    plan = make_plan(read(config), factor=4, method="near-100-yarn-static")
    (_, stretch) = plan.stretches[0]
    plain = stock(model, write(make_plan(read(config), factor=1, method="none"), config))
    for layer in plain.model.layers:
        layer.self_attn.scaling *= deepseeks(stretch.largest_scale, 1.0)
    ids = IDS[:, :100]  # every distance is below 100
    with attach(model, plan):
        torch.testing.assert_close(logits(model, ids), logits(plain, ids), rtol=1e-4, atol=1e-4)
