"""What is written, judged by the rotary modules of stock transformers (5.23.0, float32) and by reading it back."""

import copy
import math

import pytest
import transformers

from ropewalk.engines.engine import Verb, get_engine, rotation
from ropewalk.engines.keys import layers_of
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import CannotExpress, UnknownName
from ropewalk.scaling.method import methods
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.stretch import Stretch
from support.oracles import transformers_rotary
from support.published import CONFIGS, DEEPSEEK_V3, GEMMA3_4B, GEMMA3_4B_TEXT, LLAMA2_7B, PYTHIA_14B, QWEN2_VL_7B, QWEN3_8B

STRETCHED = {"full_attention", "all"}


def text_of(config):
    return config.get("text_config", config)


def rotary_layer_types(spec):
    return [name for name, _ in spec.ropes]


def close(ours, theirs):
    frequencies, m = theirs
    assert list(ours.inv_freq) == pytest.approx(frequencies, rel=1e-6, abs=0)
    assert ours.attention_factor == pytest.approx(m, rel=1e-6)


def options_for(method, rope):
    return {
        "longrope": {"long_factor": [1 + i / 7 for i in range(rope.rotary_dim // 2)]},
        "rope_theta": {"rope_theta": rope.rope_theta * 30},
        "ntk_by_parts": {"truncate": False},
        "yarn": {"beta_fast": 24.0},
        "proportional": {"proportion": 0.25},
    }.get(method, {})


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_we_read_is_what_transformers_computes(name):
    config = CONFIGS[name]
    spec = read(config)

    for layer_type, rope in spec.ropes:
        stretch = dict(spec.scaling).get(layer_type) or Stretch(rope)
        close(stretch.scaled(), transformers_rotary(config, layer_type, length=spec.max_length))


@pytest.mark.parametrize("method", [*methods(), "dynamic-request"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_what_we_write_is_what_transformers_computes(name, method):
    config, spec = CONFIGS[name], read(CONFIGS[name])
    layer_types = spec.stretchable or tuple(rotary_layer_types(spec))
    plan = make_plan(
        spec, factor=4, method=method, options=options_for(method, spec.rope(layer_types[0])), layer_types=layer_types
    )
    before = copy.deepcopy(config)

    try:
        written = write(plan, config)
    except CannotExpress:
        partial = name in ("PYTHIA_14B", "GLM4_9B", "PHI3_MINI_128K")
        assert (
            (method, partial) == ("proportional", True)
            or (method, name) == ("dynamic-request", "PHI3_MINI_128K")  # nothing but longrope
        )
        return

    assert config == before
    for layer_type, rope in spec.ropes:
        stretch = plan.stretch(layer_type) or dict(spec.scaling).get(layer_type) or Stretch(rope)
        length = 4 * rope.original_length if plan.stretch(layer_type) else spec.max_length
        close(stretch.scaled(length), transformers_rotary(written, layer_type, length=length))
        again = read(written)
        said = dict(again.scaling).get(layer_type) or Stretch(again.rope(layer_type))
        assert said.scaled(length).inv_freq == pytest.approx(stretch.scaled(length).inv_freq, rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"DEEPSEEK_V3"}))  # refused: see its own test below
def test_nothing_else_is_touched(name):
    config, spec = CONFIGS[name], read(CONFIGS[name])
    rotary = {"rope_parameters", "rope_scaling", "rope_theta", "rope_local_base_freq", "rotary_emb_base",
              "max_position_embeddings", "original_max_position_embeddings"}  # fmt: skip
    plan = make_plan(spec, factor=4, method="yarn", layer_types=rotary_layer_types(spec)[:1])

    written = write(plan, config)

    for key, value in text_of(config).items():
        assert key in rotary or text_of(written)[key] == value
    assert {key: value for key, value in written.items() if key not in text_of(config)} == {
        key: value if key != "text_config" else written["text_config"]
        for key, value in config.items()
        if key not in text_of(config)
    } | {key: written[key] for key in rotary if key in written and key not in config}


def test_both_spellings_say_the_same():
    written = write(make_plan(read(QWEN3_8B), factor=4), QWEN3_8B)

    scaling = {
        "rope_type": "yarn", "factor": 4.0, "attention_factor": pytest.approx(1.138629436111989), "beta_fast": 32.0,
        "beta_slow": 1.0, "truncate": True, "original_max_position_embeddings": 32_768,
    }  # fmt: skip
    assert written["rope_scaling"] == scaling
    assert written["rope_parameters"] == {**scaling, "rope_theta": 1e6}
    assert (written["rope_theta"], written["max_position_embeddings"]) == (1e6, 131_072)


def test_ntk_is_a_base_and_dynamic_keeps_the_original_length():
    ntk = write(make_plan(read(LLAMA2_7B), factor=2, method="ntk"), LLAMA2_7B)
    dynamic = write(make_plan(read(LLAMA2_7B), factor=2, method="dynamic-request"), LLAMA2_7B)

    assert ntk["rope_scaling"] is None
    assert ntk["rope_theta"] == pytest.approx(20_221, abs=0.5)
    assert dynamic["rope_scaling"] == {"rope_type": "dynamic", "factor": 1.0}  # factor 2 would make s = 3 at 2 L
    assert dynamic["max_position_embeddings"] == 4096  # transformers takes it for L


def test_mrope_sections_and_the_base_survive():
    written = write(make_plan(read(QWEN2_VL_7B), factor=4), QWEN2_VL_7B)

    for spelling in ("rope_scaling", "rope_parameters"):
        assert written[spelling]["mrope_section"] == [16, 24, 24]
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 1e6


@pytest.mark.parametrize("method", ["yarn", "linear", "ntk", "none", "longrope"])
def test_partial_rotation_that_only_rope_parameters_states_survives_in_both_spellings(method):
    rope_parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    config = {**LLAMA2_7B, "model_type": "stablelm", "rope_parameters": rope_parameters}  # Llama's class does not read it
    rope = read(config).rope("all")
    plan = make_plan(read(config), factor=4, method=method, options=options_for(method, rope))

    written = write(plan, config)

    assert rope.rotary_dim == 64
    if method not in ("ntk", "none"):
        close(plan.stretch("all").scaled(), transformers_rotary(written, length=4 * 4096))
    v4 = {key: value for key, value in written.items() if key != "rope_parameters"}
    assert read(v4).rope("all").rotary_dim == 64


def test_gpt_neox_keeps_its_own_name_for_the_base():
    written = write(make_plan(read(PYTHIA_14B), factor=4, method="ntk"), PYTHIA_14B)

    assert written["rotary_emb_base"] == written["rope_theta"] == pytest.approx(1e4 * 4 ** (32 / 30))


def test_deepseeks_softmax_temperature_is_kept_and_grows_with_the_factor():
    """It multiplies logits by 1.87 at s = 40, on channels that do not rotate too."""
    spec = read(DEEPSEEK_V3)
    same = write(ScalingPlan(spec.scaling, spec.max_length), DEEPSEEK_V3)

    assert same["rope_parameters"]["mscale_all_dim"] == same["rope_parameters"]["mscale"] == 1.0
    wider = write(make_plan(spec, factor=80), DEEPSEEK_V3)
    assert {**wider["rope_parameters"], "factor": 40.0} == same["rope_parameters"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("yarn", {}), ("ntk_by_parts", {}), ("yarn", {"attention_factor": 1.3}),
        ("yarn", {"attention_factor": 1.3, "softmax_mscale": 0.0}), ("yarn", {"attention_factor": 0.9}),
    ],
)  # fmt: skip
def test_deepseeks_own_code_finds_the_same_attention_factor(method, options):
    """It reads no attention_factor. modeling_deepseek.py of DeepSeek-V3, _set_cos_sin_cache and DeepseekV3Attention.__init__,
    written out: mscale is 1 and mscale_all_dim 0 where they are missing."""
    plan = make_plan(read(DEEPSEEK_V3), factor=8, method=method, options=options)
    said = write(plan, DEEPSEEK_V3)["rope_scaling"]

    def m(x):
        return 0.1 * x * math.log(8) + 1

    ((_, stretch),) = plan.stretches
    own = m(said.get("mscale", 1.0)) / m(said.get("mscale_all_dim", 0.0))
    assert own == pytest.approx(stretch.scaled().attention_factor, rel=1e-9)
    assert m(said.get("mscale_all_dim", 0.0)) ** 2 == pytest.approx(stretch.softmax_factor, rel=1e-9)


def test_a_multimodal_model_is_written_inside_its_text_config():
    plan = make_plan(read(GEMMA3_4B), factor=8, method="linear")
    written = write(plan, GEMMA3_4B)

    assert set(written) == set(GEMMA3_4B)
    assert written["text_config"]["rope_parameters"] == {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }


def test_a_nested_config_with_one_rotating_layer_type_stays_nested():
    nested = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": None}
    config = {**GEMMA3_4B_TEXT, "rope_scaling": None, "rope_parameters": nested}
    written = write(make_plan(read(config), factor=4, method="linear"), config)

    assert written["rope_parameters"] == {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
        "sliding_attention": None,
    }


@pytest.mark.parametrize(("method", "scaling"), [("yarn", True), ("ntk", False)])
def test_gemma_3_is_written_in_both_spellings(method, scaling):
    """transformers 4 has rope_theta and rope_scaling for the layers that see all, rope_local_base_freq for the others."""
    plan = make_plan(read(GEMMA3_4B_TEXT), factor=4, method=method)
    written = write(plan, GEMMA3_4B_TEXT)

    full, local = (written["rope_parameters"][name] for name in ("full_attention", "sliding_attention"))
    assert (written["rope_theta"], written["rope_local_base_freq"]) == (full["rope_theta"], 10_000.0)
    assert local == {"rope_type": "default", "rope_theta": 10_000.0}
    assert written["rope_scaling"] == ({k: v for k, v in full.items() if k != "rope_theta"} if scaling else None)
    merged = transformers.Gemma3TextConfig(
        **copy.deepcopy(written)
    ).rope_parameters  # transformers 5 takes both, and makes one of them
    assert {k: merged["full_attention"][k] for k in full} == full
    assert {k: merged["sliding_attention"][k] for k in local} == local


def test_truncate_false_in_a_nested_config_goes_by_longrope():
    """transformers 5.23 looks for `truncate` beside the layer types instead of inside."""
    written = write(make_plan(read(GEMMA3_4B_TEXT), factor=4, options={"truncate": False}), GEMMA3_4B_TEXT)

    assert written["rope_parameters"]["full_attention"]["rope_type"] == "longrope"


def test_lists_are_stretched_in_transformers_4_too():
    """Run at 4.57.3: without original_max_position_embeddings at the top of the config, short_factor counts up to M."""
    lists = {"long_factor": tuple(1 + i / 16 for i in range(64)), "attention_factor": 1.1}
    config = write(make_plan(read(LLAMA2_7B), factor=4, method="longrope", options=lists), LLAMA2_7B)
    (keys,) = layers_of(config)

    assert config["original_max_position_embeddings"] == 4096
    for version in ("4.51", "4.57", "5.23"):
        assert {loss.verb for loss in rotation(get_engine("transformers"), keys, version).losses} == {Verb.DRIFTS}
    del config["original_max_position_embeddings"]
    (keys,) = layers_of(config)
    assert "inside rope_scaling" in rotation(get_engine("transformers"), keys, "4.57").losses[0].what


def test_what_no_config_can_say_is_refused():
    with pytest.raises(CannotExpress, match=r"no config can say dynamic-yarn: .*one dynamic rule, over ntk\.\n  Attach"):
        write(make_plan(read(LLAMA2_7B), factor=2, method="dynamic-yarn"), LLAMA2_7B)
    with pytest.raises(CannotExpress, match="no config can say dynamic-request-2: "):  # transformers does not round
        write(make_plan(read(LLAMA2_7B), factor=2, method="dynamic-request-2"), LLAMA2_7B)
    with pytest.raises(CannotExpress, match="no config can say dynamic: "):  # causal: every token has a scale of its own
        write(make_plan(read(LLAMA2_7B), factor=2, method="dynamic"), LLAMA2_7B)
    gptj = {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28, "n_positions": 2048, "rotary_dim": 64}
    with pytest.raises(CannotExpress, match="gptj computes its rotation from constants in its code"):
        write(make_plan(read(gptj), factor=2), gptj)
    phi = {**CONFIGS["PHI3_MINI_128K"], "rope_scaling": None}
    with pytest.raises(CannotExpress, match="proportional stops some pairs altogether"):
        write(make_plan(read(phi), factor=2, method="proportional", options={"proportion": 0.5}), phi)


def test_a_plan_of_another_model_is_refused():
    with pytest.raises(UnknownName, match="no rotary layer type of this config is called 'all'"):
        write(make_plan(read(LLAMA2_7B), factor=2), GEMMA3_4B_TEXT)
    with pytest.raises(CannotExpress, match=r"cannot say yarn for all(.|\n)*rotates 128 channels per head and the config 32"):
        write(make_plan(read(LLAMA2_7B), factor=2), PYTHIA_14B)
