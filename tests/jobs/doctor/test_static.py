"""Diagnoses, two stacks side by side, and configs that mean harm."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.engines.engine import engines, get_engine
from ropewalk.engines.keys import layers_of
from ropewalk.errors import BadConfig, BadOption, RopewalkError, UnknownName
from ropewalk.jobs.doctor.static import compare, examine, meaning
from ropewalk.jobs.doctor.target import Target, resolve
from support.published import LLAMA2_7B, OLMO3_7B, QWEN3_8B_YARN

READERS = [name for name, engine in engines().items() if engine.reads in ("config.json", "GGUF")]


def target(config, *names):
    return Target("x", names or ("transformers", "vllm"), layers_of(config))


BY_PARTS = {**LLAMA2_7B, "rope_theta": 1e4, "max_position_embeddings": 262_144, "rope_scaling": {
    "rope_type": "yarn", "factor": 64.0, "original_max_position_embeddings": 4096, "attention_factor": 1.0}}  # fmt: skip


def test_a_trainer_and_its_rollout_that_disagree():
    """prime-rl#2802: attention_factor 1.0 at factor 64, honoured by the trainer and not by its rollout: logits x2.0."""
    (trainer,) = examine(target(BY_PARTS, "transformers"))
    (rollout,) = examine(target(BY_PARTS, "vllm"), (), {"vllm": "0.29"})
    (apart,) = compare(trainer, rollout)

    assert apart.differs
    assert apart.frequency == pytest.approx(1.0)
    assert apart.attention_factor == pytest.approx(0.1 * math.log(64) + 1)
    assert apart.logits == pytest.approx(2.005, abs=1e-3)
    (newer,) = examine(target(BY_PARTS, "vllm"), (), {"vllm": "0.30"})
    assert not compare(trainer, newer)[0].differs


def test_a_layer_type_that_one_of_them_lacks_cannot_be_compared():
    (one,) = examine(target(OLMO3_7B, "transformers"))
    (other,) = examine(target(LLAMA2_7B, "transformers"))
    assert {d.layer_type: d.differs for d in compare(one, other)} == dict.fromkeys(
        ("full_attention", "sliding_attention", "all"), True
    )


def test_what_is_written_in_one_line():
    (keys,) = layers_of(QWEN3_8B_YARN)
    assert meaning(keys) == "64 pairs, base 1e+06, yarn x4, 32,768 -> 131,072 tokens, attention factor 1.1386"
    (keys,) = layers_of(LLAMA2_7B)
    assert meaning(keys) == "64 pairs, base 10,000, plain, 4,096 tokens"


@pytest.mark.parametrize(
    ("names", "versions", "error", "words"),
    [
        (["vlm"], {}, UnknownName, "no engine is called 'vlm'"),
        (["megatron"], {}, BadOption, "Megatron reads a TransformerConfig, and x is a config.json"),
        ([], {"vllm": "new"}, BadOption, "'new' is not a version"),
        ([], {"sglang": "0.5"}, BadOption, "names sglang, which is not among the engines looked at"),
        ([], {"vlm": "0.5"}, UnknownName, "no engine is called 'vlm'"),
    ],
)
def test_unknown_engines_and_versions(names, versions, error, words):
    with pytest.raises(error, match=words):
        examine(target(LLAMA2_7B), names, versions)


def written(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    return resolve(str(tmp_path), lambda name: pytest.fail(name))


def test_a_base_that_is_null_is_a_finding(tmp_path):
    """Row 1 of the ledger: the setter of transformers 5 leaves rope_theta null."""
    config = {**{k: v for k, v in LLAMA2_7B.items() if k != "rope_scaling"}, "rope_parameters": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, "rope_theta": None}}  # fmt: skip
    for broken in (config, {**LLAMA2_7B, "rope_theta": None}):
        found = examine(written(tmp_path, broken), ["transformers"])
        assert [loss.said for loss in found[0].losses] == [
            "transformers >= 5 does not run with rope_theta: null (TypeError when the model is built)"
        ]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        # get_rope and get_rope_config hand on what transformers has under rope_theta, None (read from its config: run), and
        # _compute_inv_freq takes None to a power
        ("vllm", "vLLM does not run with rope_theta: null (TypeError when the model is built)"),
        ("sglang", "SGLang does not run with rope_theta: null (TypeError when the model is built)"),
        # nn.RoPE(base=None): ValueError, "Neither base nor freqs has a value" (run at mlx 0.32.4)
        ("mlx_lm", "MLX-LM does not run with rope_theta: null (ValueError when a text is read)"),
        # getattr(config, "rope_theta", 10000.0) gives the None that is there, and a power is taken of it
        ("tensorrt_llm", "TensorRT-LLM does not run with rope_theta: null (TypeError when the model is built)"),
        # conversion/base.py: `if ... is not None: add_rope_freq_base`; llama-model.cpp: rope_freq_base_train = 10000
        ("llama_cpp", "llama.cpp reads otherwise rope_theta: null, which its converter leaves out: it takes 10,000"),
    ],
)
def test_other_engines_have_no_base_either(tmp_path, engine, said):
    (found,) = examine(written(tmp_path, {**LLAMA2_7B, "rope_theta": None}), [engine])
    assert [loss.said for loss in found.losses] == [said]


@pytest.mark.parametrize("engine", ["transformers", "vllm", "sglang", "mlx_lm", "llama_cpp"])
def test_yarn_that_does_not_say_how_far(tmp_path, engine):
    """AutoConfig of transformers 5.23 stops: "Missing required keys" (run), and so do the engines that read with it; get_rope
    and initialize_rope take rope_scaling["factor"] (run). llama.cpp's converter: `elif yarn and rope_factor is not None`."""
    config = {**LLAMA2_7B, "max_position_embeddings": 16_384,
              "rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 4096}}  # fmt: skip
    (found,) = examine(written(tmp_path, config), [engine])
    (said,) = [loss.said for loss in found.losses]
    leaves = "llama.cpp ignores yarn without factor, which its converter leaves out"
    assert (
        said.startswith(leaves) if engine == "llama_cpp" else said.endswith("does not run with yarn without factor (KeyError)")
    )
    (other,) = examine(written(tmp_path, config), ["tensorrt_llm"])  # rope_scaling.get("factor", 1.0)
    assert other.losses[0].said.startswith("TensorRT-LLM reads otherwise yarn without factor: it takes 1")
    assert other.rotations[0].scaled.inv_freq == pytest.approx(
        examine(written(tmp_path, LLAMA2_7B))[0].rotations[0].scaled.inv_freq
    )
    stated = {**config, "rope_scaling": {**config["rope_scaling"], "factor": 4.0}}
    assert examine(written(tmp_path, stated), [engine])[0].losses == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_parameters": {**BY_PARTS["rope_scaling"], "factor": 8.0}},
         r"rope_parameters.factor is 8.0 but rope_scaling.factor is 64.0: two spellings that disagree"),
        ({"rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 2.0}}, "is 'yarn' but .*type is 'linear'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": math.nan}}, "factor is nan; it must be a finite number"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "4"}}, "factor is '4'; it must be a finite number"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": "1"}}, "mscale is '1'; it must be a finite number"),
        ({"rope_scaling": {"rope_type": {}, "factor": 4.0}}, "rope_type is {}; it must be a word"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attn_factor": [1]}}, r"attn_factor is \[1\]"),
        ({"rope_scaling": {"full_attention": {"rope_type": "yarn"}}, "rope_theta": "x"}, "rope_theta is 'x'"),
        ({"model_type": {}}, "model_type is {}"),
        ({"max_position_embeddings": {}}, "max_position_embeddings is {}"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_configs_are_refused_by_name(change, words, tmp_path):
    with pytest.raises(BadConfig, match=words):
        examine(written(tmp_path, {**BY_PARTS, **change}))


leaves = st.none() | st.booleans() | st.integers(-5, 2**41) | st.floats() | st.sampled_from(
    ["yarn", "linear", "dynamic", "ntk", "llama3", "longrope", "su", "default", "proportional", "mrope", "", "x"]
)  # fmt: skip
keys = st.sampled_from(
    "rope_type type factor original_max_position_embeddings attention_factor attn_factor mscale mscale_all_dim truncate "
    "beta_fast beta_slow rope_theta alpha long_factor short_factor long_mscale low_freq_factor high_freq_factor "
    "partial_rotary_factor full_attention sliding_attention mrope_section".split()
)
nested = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=12
)
kinds = st.sampled_from(
    "llama qwen2 qwen3 phi3 phimoe gemma3_text olmo3 deepseek_v3 gpt_oss laguna hunyuan_v1_dense x".split()
)


@settings(max_examples=400, deadline=None)
@given(kinds, nested, nested, leaves, leaves)
def test_no_config_makes_it_fall_over(kind, old, new, theta, length):
    """Whatever stands in the rope dicts: findings or one of our errors, never another exception."""
    config = {**LLAMA2_7B, "model_type": kind, "rope_scaling": old, "rope_parameters": new, "rope_theta": theta,
              "max_position_embeddings": length, "qk_rope_head_dim": 64 if kind == "deepseek_v3" else None}  # fmt: skip
    with contextlib.suppress(RopewalkError):
        found = examine(Target("x", (), layers_of(config)), READERS)
        assert all(loss.said for diagnosis in found for loss in diagnosis.losses)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["yarn", "linear", "llama3", "longrope", "dynamic", "ntk", "su"]),
    st.dictionaries(keys, leaves, max_size=6),
)
def test_no_sound_config_with_odd_keys_makes_it_fall_over(kind, odd):
    said = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 1024, "long_factor": [1.0] * 64,
            "short_factor": [1.0] * 64, **odd}  # fmt: skip
    with contextlib.suppress(RopewalkError):
        examine(Target("x", (), layers_of({**LLAMA2_7B, "rope_theta": 1e4, "rope_scaling": said})), READERS)


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("vllm", "0.6.5", "0.6.5 is older than any vLLM that was looked at (0.6.6)"),
        ("vllm", "0.6.6", ""),
        ("vllm", "0.33.1", ""),  # a release of the line that was looked at
        ("vllm", "0.34", "0.34 is newer than any vLLM that was looked at (0.33)"),
        ("mlx_lm", "0.20.6", "0.20.6 is older than any MLX-LM that was looked at (0.21)"),
        ("sglang", "0.5.24", "0.5.24 is newer than any SGLang that was looked at (0.5.23)"),
        ("llama_cpp", "b9000", ""),  # a commit was: builds are not told apart
        ("vllm", "", ""),
    ],
)
def test_a_version_that_nobody_looked_at_is_said_to_be_one(name, version, words):
    engine = get_engine(name)
    assert engine.unseen(version).startswith(words)
    assert bool(engine.unseen(version)) == bool(words)
