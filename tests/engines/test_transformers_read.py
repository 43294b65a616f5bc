"""Reading config.json: published configs by hand, every refusal by its words, and anything at all by fuzzing."""

import contextlib
import copy
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadConfig, BadLength, BadOption, NoRope, RopewalkError, UnknownName
from ropewalk.scaling.method import methods
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.rope import Rope
from support.published import (
    CONFIGS,
    DEEPSEEK_V3,
    GEMMA3_4B_TEXT,
    LLAMA2_7B,
    LLAMA31_8B,
    MISTRAL_7B_V01,
    OLMO3_7B,
    PHI3_MINI_128K,
    QWEN3_8B,
    QWEN3_8B_YARN,
)

ALL = "all"
# name: (ropes, what the config asks for {layer type: (method, factor, m)}, unrotated layers, (length, its cache in 16 bit))
# Cache of one token and layer: 2 (k and v) x key-value heads x head size x 2 bytes; MLA: (512 latent + 64 rotary) x 2 bytes.
RESOLVED = {
    "LLAMA2_7B": ({ALL: Rope(128, 1e4, 4096)}, {}, 0, (1, 2 * 32 * 128 * 2 * 32)),
    "LLAMA31_8B": ({ALL: Rope(128, 5e5, 8192)}, {ALL: ("llama3", 8, 1)}, 0, (1000, 1000 * 2 * 8 * 128 * 2 * 32)),
    "QWEN25_7B": ({ALL: Rope(128, 1e6, 32_768)}, {}, 0, (1, 2 * 4 * 128 * 2 * 28)),
    "QWEN3_8B": ({ALL: Rope(128, 1e6, 32_768)}, {}, 0, (1, 2 * 8 * 128 * 2 * 36)),
    "QWEN3_8B_YARN": ({ALL: Rope(128, 1e6, 32_768)}, {ALL: ("yarn", 4, 1.1386)}, 0, (1, 2 * 8 * 128 * 2 * 36)),
    # 3072 / 32 = 96 channels; s = 131072 / 4096 = 32; m = sqrt(1 + ln 32 / ln 4096) = sqrt(17 / 12)
    "PHI3_MINI_128K": ({ALL: Rope(96, 1e4, 4096)}, {ALL: ("longrope", 32, 1.1902)}, 0, (1, 2 * 32 * 96 * 2 * 32)),
    # every 6th of 34 layers is full: 5, and 29 that keep 1024 tokens; trained at 32K
    "GEMMA3_4B_TEXT": (
        {"full_attention": Rope(256, 1e6, 32_768), "sliding_attention": Rope(256, 1e4, 32_768)},
        {"full_attention": ("linear", 8, 1)},
        0,
        (32_768, 2 * 4 * 256 * 2 * (5 * 32_768 + 29 * 1024)),
    ),
    # every 4th of 32 layers is full: 8, and 24 that keep 4096 tokens
    "OLMO3_7B": (
        {"full_attention": Rope(128, 5e5, 8192), "sliding_attention": Rope(128, 5e5, 65_536)},
        {"full_attention": ("yarn", 8, 1.2079)},
        0,
        (65_536, 2 * 32 * 128 * 2 * (8 * 65_536 + 24 * 4096)),
    ),
    "GPT_OSS_20B": (
        {ALL: Rope(64, 150_000.0, 4096)}, {ALL: ("yarn", 32, 1.3466)}, 0, (4096, 2 * 8 * 64 * 2 * (12 * 4096 + 12 * 128)),
    ),
    "DEEPSEEK_V3": ({ALL: Rope(64, 1e4, 4096)}, {ALL: ("yarn", 40, 1)}, 0, (1, (512 + 64) * 2 * 61)),
    "PYTHIA_14B": ({ALL: Rope(32, 1e4, 2048)}, {}, 0, (1, 2 * 16 * 128 * 2 * 24)),  # 0.25 x 128
    "GLM4_9B": ({ALL: Rope(64, 1e4, 32_768)}, {}, 0, (1, 2 * 2 * 128 * 2 * 40)),  # 0.5 x 128
    "QWEN2_VL_7B": ({ALL: Rope(128, 1e6, 32_768)}, {}, 0, (1, 2 * 4 * 128 * 2 * 28)),
    "SMOLLM3_3B": ({ALL: Rope(128, 5e6, 65_536)}, {}, 9, (1, 2 * 4 * 128 * 2 * 36)),
    # every 4th of 32 layers is full and does not rotate
    "COMMAND_R7B": ({"sliding_attention": Rope(128, 5e4, 8192)}, {}, 8, (8192, 2 * 8 * 128 * 2 * (8 * 8192 + 24 * 4096))),
    "MISTRAL_7B_V01": ({ALL: Rope(128, 1e4, 8192)}, {}, 0, (8192, 4096 * 2 * 8 * 128 * 2 * 32)),
}  # fmt: skip
RESOLVED["GEMMA3_4B"] = RESOLVED["GEMMA3_4B_TEXT"]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_published_configs_resolve_to_their_published_numbers(name):
    spec = read(CONFIGS[name])
    ropes, scaling, unrotated, (length, cache_bytes) = RESOLVED[name]

    assert dict(spec.ropes) == ropes
    assert {k: (s.method, s.factor, pytest.approx(s.scaled().attention_factor, abs=5e-5)) for k, s in spec.scaling} == scaling
    assert spec.unrotated_layers == unrotated
    assert spec.cache_bytes(length, 2) == cache_bytes
    assert spec.max_length == CONFIGS[name].get("text_config", CONFIGS[name])["max_position_embeddings"]


def test_a_cache_fills_no_further_than_its_window():
    spec = read(MISTRAL_7B_V01)

    assert spec.cache_bytes(100, 2) == 100 * 2 * 8 * 128 * 2 * 32
    assert spec.cache_bytes(4096, 2) == spec.cache_bytes(32_768, 2)
    assert spec.cache_bytes(100, 0.5) * 4 == spec.cache_bytes(100, 2)


@pytest.mark.parametrize(
    ("config", "name", "source"),
    [
        (LLAMA2_7B, "all.rope_theta", "default of LlamaConfig in transformers 5.23"),
        (LLAMA2_7B, "all.original_length", "max_position_embeddings (nothing says otherwise)"),
        (LLAMA2_7B, "max_length", "max_position_embeddings"),
        (LLAMA31_8B, "all.original_length", "rope_scaling.original_max_position_embeddings"),
        (QWEN3_8B, "all.rope_theta", "rope_theta"),
        (PHI3_MINI_128K, "all.original_length", "original_max_position_embeddings"),
        (GEMMA3_4B_TEXT, "sliding_attention.rope_theta", "rope_local_base_freq"),
        (CONFIGS["GEMMA3_4B"], "sliding_attention.rope_theta", "text_config.rope_local_base_freq"),
        (DEEPSEEK_V3, "all.rotary_dim", "qk_rope_head_dim"),
        (CONFIGS["GLM4_9B"], "all.rotary_dim", "head_dim 128 x 0.5 (partial rotation)"),
        (CONFIGS["PYTHIA_14B"], "all.rope_theta", "rotary_emb_base"),
    ],
    ids=str,
)
def test_every_number_says_where_it_was_read(config, name, source):
    assert source in [reading.source for reading in read(config).readings if reading.name == name]


def test_qwen3s_original_length_is_not_its_max_position_embeddings():
    spec = read(QWEN3_8B)

    assert spec.warnings == (
        "max_position_embeddings is 40960, but the original length is 32768 (Qwen3 model cards: native context 32,768; "
        "40,960 leaves 8,192 for the prompt's answer).",
    )
    assert read(QWEN3_8B_YARN).warnings == ()
    assert read(QWEN3_8B, original_length=40_960).rope(ALL).original_length == 40_960
    assert read({**QWEN3_8B, "rope_theta": 5e6, "max_position_embeddings": 262_144}).rope(ALL).original_length == 262_144


@pytest.mark.parametrize("config", [LLAMA31_8B, QWEN3_8B_YARN, DEEPSEEK_V3, GEMMA3_4B_TEXT, OLMO3_7B], ids=str)
def test_the_fifth_version_of_transformers_says_the_same_as_the_fourth(config):
    """v5: the base and the partial rotation inside `rope_parameters`, nested where layer types differ."""
    v5 = {k: v for k, v in config.items() if k not in ("rope_scaling", "rope_theta", "rope_local_base_freq")}
    flat = {**config["rope_scaling"], "rope_theta": config["rope_theta"]}
    if len(read(config).ropes) > 1:
        local = {"rope_type": "default", "rope_theta": config.get("rope_local_base_freq", config["rope_theta"])}
        flat = {"full_attention": flat, "sliding_attention": local}

    one, other = read(config), read({**v5, "rope_parameters": flat})

    assert (one.ropes, one.scaling, one.cache) == (other.ropes, other.scaling, other.cache)


def llama(scaling=None, **keys):
    return {**LLAMA2_7B, "rope_theta": 1e4, "rope_scaling": scaling, **keys}


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("scaling", "m"),
    [
        ({}, 1.1386),
        ({"attention_factor": 1.0}, 1.0),
        ({"attn_factor": 0.878}, 1.1386),  # a multiplier that transformers does not read
        ({"mscale": 0.707}, 1.1386),  # ignored without the other, as transformers does
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 1.0, "mscale_all_dim": 0.5}, 1.1386 / 1.0693),
        ({"mscale": 0.707, "mscale_all_dim": 0}, 1.1386),
    ],
    ids=str,
)
def test_the_temperature_keys_mean_what_transformers_makes_of_them(scaling, m):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    spec = read(llama({**YARN, **scaling}))
    config = LlamaConfig(rope_parameters={**YARN, **scaling, "rope_theta": 1e4}, hidden_size=4096, num_attention_heads=32)

    assert dict(spec.scaling)[ALL].scaled().attention_factor == pytest.approx(m, abs=1e-4)
    assert dict(spec.scaling)[ALL].scaled().attention_factor == pytest.approx(
        ROPE_INIT_FUNCTIONS["yarn"](config)[1], rel=1e-12
    )
    assert any("attn_factor (a multiplier) is ignored" in w for w in spec.warnings) == ("attn_factor" in scaling)


def test_yarn_without_a_factor_takes_max_over_original():
    spec = read(llama({"type": "yarn", "original_max_position_embeddings": 1024}))

    assert (dict(spec.scaling)[ALL].factor, spec.rope(ALL).original_length) == (4.0, 1024)


def test_longrope_by_its_old_name_and_phimoes_own_temperature():
    lists = {"short_factor": [1.0] * 64, "long_factor": [4.0] * 64}
    su = read(llama({"type": "su", "factor": 4.0, **lists}, original_max_position_embeddings=1024))
    moe = read(llama({"type": "longrope", "factor": 4.0, **lists, "short_mscale": 1.1, "long_mscale": 1.243}))

    assert dict(su.scaling)[ALL].scaled().attention_factor == pytest.approx(math.sqrt(1.2))  # ln 4 / ln 1024 = 1 / 5
    assert dict(moe.scaling)[ALL].scaled().attention_factor == 1.243
    assert any("short_mscale 1.1 and long_mscale 1.243 differ" in w for w in moe.warnings)


def test_hunyuans_alpha_is_a_base_and_not_dynamic():
    """transformers 5.23 computes b alpha^(d / (d - 2)) once."""
    from support.oracles import transformers_rotary

    config = llama({"type": "dynamic", "alpha": 1000.0, "factor": 1.0}, model_type="hunyuan_v1_dense", head_dim=128)
    stretch = dict(read(config).scaling)[ALL]

    assert not stretch.dynamic
    assert list(stretch.scaled(2**20).inv_freq) == pytest.approx(transformers_rotary(config, length=9000)[0], rel=1e-6)


def test_dynamic_grows_with_the_request_without_an_upper_end():
    from support.oracles import transformers_rotary

    config = llama({"rope_type": "dynamic", "factor": 1.0})
    stretch = dict(read(config).scaling)[ALL]

    for length in (100, 4096, 10_000, 1_000_000):
        assert list(stretch.scaled(length).inv_freq) == pytest.approx(transformers_rotary(config, length=length)[0], rel=2e-6)


def test_what_transformers_ignores_is_a_warning():
    flat = {k: v for k, v in OLMO3_7B.items() if k != "rope_scaling"} | {"rope_parameters": OLMO3_7B["rope_scaling"]}
    warned = {
        "rope_parameters is flat, but olmo3 has one per layer type": flat,
        "rope_type dynamic with factor 2: transformers uses 2 l/L - 1, not s = l/L": llama({"type": "dynamic", "factor": 2}),
        "linear scaling by 4 without an original length: taken to be 4096 / 4 = 1024": llama({"type": "linear", "factor": 4}),
        "rope_scaling.original_max_position_embeddings is missing: 4096 is assumed": llama({"type": "yarn", "factor": 4}),
    }

    assert read(flat).scaling == ()
    for words, config in warned.items():
        assert any(words in warning for warning in read(config).warnings), words


@pytest.mark.parametrize("kind", ["exaone4", "exaone_moe", "afmoe"])
def test_hybrids_whose_full_layers_do_not_rotate(kind):
    hybrid = llama(model_type=kind, sliding_window=4096, layer_types=["sliding_attention"] * 3 + ["full_attention"])

    assert [name for name, _ in read(hybrid).ropes] == ["sliding_attention"]
    assert read(hybrid).unrotated_layers == 1
    assert kind == "afmoe" or [name for name, _ in read({**hybrid, "sliding_window": None}).ropes] == [ALL]


def test_layers_without_rotation_are_counted():
    interval = llama(model_type="smollm3", no_rope_layer_interval=4)
    hybrid = llama(layer_types=["conv", "linear_attention", "full_attention", "mamba"])

    assert read(interval).unrotated_layers == 8
    assert read(hybrid).unrotated_layers == 3
    assert [group.layers for group in read(hybrid).cache] == [1]


# Refusals: the value, the rule, the way out.

NO_ROPE = [
    ({"model_type": "gpt2", "n_positions": 1024}, "gpt2 has no rotary embedding: it uses learned or fixed absolute positions"),
    ({"model_type": "mamba"}, "mamba has no rotary embedding: it uses a recurrent state. There is nothing to stretch"),
    ({"model_type": "bloom"}, "bloom has no rotary embedding: it uses ALiBi"),
    ({"model_type": "falcon", "alibi": True}, r"this falcon model uses ALiBi \(alibi: true\)"),
    ({"model_type": "jamba"}, "jamba has no rotary embedding: it uses Mamba layers for order"),
    ({"model_type": "newcomer"}, r"the config of newcomer has none of rope_parameters, rope_scaling(.|\n)*add rope_theta"),
    ({}, "no rotary embedding found: the config of this model has none of"),
]


@pytest.mark.parametrize(("config", "message"), NO_ROPE)
def test_models_without_rotation(config, message):
    with pytest.raises(NoRope, match=message):
        read(config)


BAD = [
    ([], BadConfig, "a config must be a JSON object with keys, not list"),
    ({"text_config": 3}, BadConfig, "text_config is 3; it must be an object with keys"),
    # NeMo's megatron_gpt_config.yaml as JSON, presets of LM Studio (old and new), arguments of vLLM, of a trainer
    ({"rotary_percent": 1.0, "rotary_base": 10_000, "encoder_seq_length": 4096}, BadConfig, "a config of Megatron-LM or NeMo"),
    ({"name": "x", "load_params": {"n_ctx": 32_768, "rope_freq_scale": 0.25}}, BadConfig, "it is a preset of LM Studio"),
    ({"name": "x", "operation": {"fields": []}, "load": {"fields": []}}, BadConfig, "it is a preset of LM Studio; the GGUF"),
    ({"model": "a/b", "max_model_len": 9, "hf_overrides": {"rope_scaling": YARN}}, BadConfig, "it is a file of vLLM's argum"),
    ({"model_name_or_path": "a/b", "rope_scaling": {"type": "linear"}}, BadConfig, "it is a trainer's settings; the model"),
    ({"model_type": ["llama"]}, BadConfig, r"model_type is \['llama'\]; it must be a word"),
    ({"model_type": "falcon", "alibi": "yes"}, BadConfig, "alibi is 'yes'; it must be true or false"),
    (llama(max_position_embeddings=None), BadConfig, "max_position_embeddings is missing: the config does not say how far"),
    (llama(max_position_embeddings=-5), BadConfig, "max_position_embeddings is -5; it must be a whole number from 0 to"),
    (llama(max_position_embeddings=True), BadConfig, "max_position_embeddings is True; it must be a whole number"),
    (llama(max_position_embeddings=2**50), BadConfig, r"max_position_embeddings is \d+; it must be a whole number from 0 to"),
    (llama(rope_theta=None), BadConfig, r"rope_theta is missing or null, and llama cannot(.|\n)*write rope_theta back"),
    (llama({**YARN, "rope_theta": None}, rope_theta=None), BadConfig, "rope_theta is missing or null"),
    ({"model_type": "x", "rope_scaling": YARN, "max_position_embeddings": 9, "head_dim": 8}, BadConfig, "x cannot be built"),
    (llama(rope_theta="1e4"), BadConfig, "rope_theta is '1e4'; it must be a finite number"),
    (llama(rope_theta=math.nan), BadConfig, "rope_theta is nan; it must be a finite number"),
    (llama(rope_theta=0.5), BadConfig, "rope_theta is 0.5; it must be a finite number greater than 1"),
    (llama(rotary_emb_base=5e5), BadConfig, r"rope_theta is 10000 but rotary_emb_base is 500000, and both mean"),
    (llama({**YARN, "rope_theta": 5e5}), BadConfig, r"rope_scaling.rope_theta is 500000 but rope_theta is 10000\.\n.*Engines"),
    (llama(hidden_size=None), BadConfig, "neither head_dim nor hidden_size and num_attention_heads are given"),
    (llama(head_dim=63), BadConfig, "rotary_dim is 63; it must be an even number of channels"),
    (llama(model_type="stablelm", partial_rotary_factor=0), BadConfig, "partial rotation is 0; the rotated share of a head"),
    (llama(model_type="stablelm", partial_rotary_factor=1.5), BadConfig, "partial rotation is 1.5; the rotated share"),
    (llama(layer_types=[1]), BadConfig, "layer_types must be a list of words"),
    (llama("yarn"), BadConfig, "rope_scaling is 'yarn'; it must be an object with keys"),
    (llama({"rope_type": "yarm", "factor": 4}), UnknownName, "no rope_type is called 'yarm'. Did you mean 'yarn'"),
    (llama({**YARN, "beta_fats": 32}), UnknownName, "no key of rope_scaling is called 'beta_fats'. Did you mean 'beta_fast'"),
    (llama({**YARN, "type": "linear"}), BadConfig, "rope_scaling.rope_type is 'yarn' but rope_scaling.type is 'linear'"),
    (llama({**YARN, "factor": 0.5}), BadLength, "factor is 0.5; it must be a number of 1 or more"),
    (llama({**YARN, "factor": True}), BadConfig, "rope_scaling.factor is True; it must be a finite number"),
    (llama({**YARN, "beta_fast": {}}), BadConfig, "rope_scaling.beta_fast is {}; it must be a finite number"),
    (llama({**YARN, "truncate": 1}), BadConfig, "rope_scaling.truncate is 1; it must be true or false"),
    (llama({**YARN, "beta_fast": 0.5}), BadOption, "beta_fast is 0.5 and beta_slow 1"),
    (llama({**YARN, "attention_factor": -1}), BadOption, "attention_factor is -1.0; it must be a finite number above 0"),
    (llama({"type": "linear"}), BadConfig, "rope_scaling.factor is missing: rope_type linear says that"),
    (llama({"type": "llama3"}), BadConfig, "rope_scaling.factor is missing: rope_type llama3"),
    (llama({"type": "longrope", "factor": 4, "long_factor": [1.0]}), BadConfig, "short_factor must both be given"),
    (llama({"type": "longrope", "factor": 4, "long_factor": "x"}), BadConfig, "long_factor must be a list of finite numbers"),
    (
        llama({"type": "longrope", "factor": 4, "long_factor": [1.0] * 9, "short_factor": [1.0] * 9}),
        BadOption,
        r"longrope was given 9 factors for 64 pairs",
    ),
    (
        llama(YARN, original_max_position_embeddings=2048),
        BadConfig,
        r"original_max_position_embeddings is 4096 but original.* is 2048\.\n.*transformers uses the second",
    ),
    (
        llama(YARN, rope_parameters={**YARN, "factor": 8.0}),
        BadConfig,
        r"rope_parameters.factor is 8.0 but rope_scaling.factor is 4.0: two spellings that disagree\.\n.*Remove the wrong one",
    ),
    # transformers 5 takes the old spelling here and others the new one
    (
        llama({"type": "yarn", "factor": 4.0}, rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
        BadConfig,
        "rope_parameters.factor is None but rope_scaling.factor is 4.0",
    ),
    (llama(YARN, rope_parameters={**YARN, "beta_fast": 16}), BadConfig, "rope_parameters.beta_fast is 16 but .* is None"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "kind", "message"), BAD)
def test_refusals(config, kind, message):
    with pytest.raises(kind, match=message):
        read(config)


def test_agreeing_spellings_are_fine():
    both = llama({**YARN, "type": "yarn"}, rope_parameters={**YARN, "rope_theta": 1e4})

    assert read(both).scaling == read(llama(YARN)).scaling


def test_an_original_length_given_by_hand_is_checked():
    with pytest.raises(BadConfig, match="original_length is 0; it must be a whole number of tokens"):
        read(LLAMA2_7B, original_length=0)


# Anything at all.

KEYS = sorted({key for config in CONFIGS.values() for part in (config, config.get("rope_scaling") or {}) for key in part}
              | {"rope_parameters", "full_attention", "sliding_attention", "text_config", "attention_factor", "alpha",
                 "partial_rotary_factor", "rotary_dim", "rope_local_base_freq", "mscale", "type"})  # fmt: skip
VALUES = st.none() | st.booleans() | st.integers(-3, 200_000) | st.floats() | st.sampled_from(
    [10**400, 2**63, -(2**63), 1e308, 5e-324, 1.0, 2, 0.25, "yarn", "linear", "dynamic", "llama3", "longrope", "proportional",
     "default", "mrope", "llama", "gemma3_text", "phi3", "gpt_neox", "cohere2", "full_attention", "", [], {}, [1.0] * 64]
)  # fmt: skip
ANY = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4), max_leaves=8
)


def must_answer_or_refuse(config):
    """Read it; if that works plan it with every method and write the plan. No error but our own."""
    before = copy.deepcopy(config)
    try:
        spec = read(config)
    except RopewalkError:
        return
    for method in [*methods(), "dynamic"]:
        options = {"rope_theta": {"rope_theta": 5e5}, "longrope": {"long_factor": [2.0] * (spec.ropes[0][1].rotary_dim // 2)}}
        with contextlib.suppress(RopewalkError):
            write(make_plan(spec, factor=2, method=method, options=options.get(method)), config)
    spec.cache_bytes(10_000, 2)
    assert repr(config) == repr(before)


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_any_json_is_read_or_refused(config):
    must_answer_or_refuse(config)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(CONFIGS)),
    st.lists(
        st.tuples(
            st.sampled_from(["replace", "remove", "insert"]), st.booleans(), st.integers(0, 50), st.sampled_from(KEYS), ANY
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_a_mutated_config_is_read_or_refused(name, changes):
    config = copy.deepcopy(CONFIGS[name])
    for action, inside, index, key, value in changes:
        part = config.get("text_config", config)
        part = part if isinstance(part, dict) else config
        if inside and isinstance(part.get("rope_scaling"), dict):
            part = part["rope_scaling"]
        keys = sorted(part)
        if action == "insert":
            part[key] = value
        elif keys and action == "replace":
            part[keys[index % len(keys)]] = value
        elif keys:
            del part[keys[index % len(keys)]]
    must_answer_or_refuse(config)


def test_gemma3s_window_is_known_where_its_config_leaves_it_out():
    """The published 4B to 27B configs have no max_position_embeddings; transformers 5.23's config class says 131072."""
    config = {"model_type": "gemma3_text", "hidden_size": 2560, "num_attention_heads": 8, "head_dim": 256}
    spec = read(config)

    assert spec.max_length == 131_072
    assert spec.rope("full_attention").original_length == 32_768


@pytest.mark.parametrize(
    ("kind", "key"),
    [("llama", "partial_rotary_factor"), ("llama", "rotary_pct"), ("llama", "rotary_dim"), ("phi", "rotary_pct"),
     ("deepseek_v3", "partial_rotary_factor")],
)  # fmt: skip
def test_a_share_beyond_all_integers_is_refused_in_words(kind, key):
    """1e306 of a head is infinitely many channels: int() fell over it."""
    latent = {"qk_rope_head_dim": 64, "kv_lora_rank": 512} if kind == "deepseek_v3" else {}
    config = {"model_type": kind, "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 4096, **latent}
    with pytest.raises(BadConfig, match=key):
        read({**config, key: 1e306})
