"""Models whose own code decides: read as that code reads, written in its few words, and refused where it would raise."""

import math

import pytest

from ropewalk.engines.keys import layers_of
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadLength, CannotExpress, NoRope
from ropewalk.scaling.plan import make_plan
from support.published import DEEPSEEK_V3, QWEN25_7B

INTERNLM2 = {"model_type": "internlm2", "hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 24,
             "max_position_embeddings": 32_768, "rope_theta": 1e6}  # fmt: skip
GLM = {"model_type": "chatglm", "kv_channels": 128, "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 40,
       "seq_length": 131_072, "rope_ratio": 500, "multi_query_attention": True, "multi_query_group_num": 2}  # fmt: skip
QWEN = {"model_type": "qwen", "hidden_size": 4096, "kv_channels": 128, "num_attention_heads": 32, "num_hidden_layers": 32,
        "max_position_embeddings": 8192, "rotary_emb_base": 10_000, "rotary_pct": 1.0, "seq_length": 2048}  # fmt: skip
MINICPM = {**INTERNLM2, "model_type": "minicpm", "rope_theta": 1e4}
KIMI_K2 = {**DEEPSEEK_V3, "model_type": "kimi_k2", "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
           "num_attention_heads": 64, "max_position_embeddings": 131_072, "rope_theta": 50_000.0,
           "rope_scaling": {"beta_fast": 1.0, "beta_slow": 1.0, "factor": 32.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                            "original_max_position_embeddings": 4096, "type": "yarn"}}  # fmt: skip
BAICHUAN = {"model_type": "baichuan", "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 4096}


def planned(config, method, factor=4.0, **more):
    return write(make_plan(read(config), factor=factor, method=method, **more), config)


def test_internlm2_takes_a_dict_of_type_and_factor_and_nothing_else():
    new = planned(INTERNLM2, "linear")

    assert new["rope_scaling"] == {"type": "linear", "factor": 4.0}
    assert new["max_position_embeddings"] == 131_072
    assert "rope_parameters" not in new
    assert planned(INTERNLM2, "dynamic-request")["rope_scaling"] == {"type": "dynamic", "factor": 1.0}
    ntk = planned(INTERNLM2, "ntk")
    assert ntk["rope_scaling"] is None
    assert ntk["rope_theta"] == pytest.approx(1e6 * 4 ** (128 / 126))


@pytest.mark.parametrize("method", ["yarn", "llama3", "ntk_by_parts", "dynamic-yarn-request", "dynamic"])
@pytest.mark.parametrize("config", [INTERNLM2, GLM, QWEN], ids=lambda config: config["model_type"])
def test_what_its_code_raises_on_or_does_not_read_is_refused(config, method):
    with pytest.raises(CannotExpress, match="own code decides"):
        planned(config, method)


def test_minicpm_takes_lists_with_its_own_attention_factor():
    new = planned(MINICPM, "ntk_by_parts", options={}, factor=1.0)
    assert new["rope_scaling"]["rope_type"] == "longrope"
    with pytest.raises(CannotExpress, match="longrope with its own attention factor alone"):
        planned(MINICPM, "yarn")
    lists = {"long_factor": tuple(1.0 + i for i in range(64))}
    assert planned(MINICPM, "longrope", options=lists)["rope_scaling"]["original_max_position_embeddings"] == 32_768


def test_glms_base_is_ten_thousand_times_its_ratio():
    rope = read(GLM).rope("all")
    assert (rope.rotary_dim, rope.rope_theta, rope.original_length) == (64, 5e6, 131_072)
    new = planned(GLM, "ntk", factor=2.0)
    assert new["rope_ratio"] == pytest.approx(500 * 2 ** (64 / 62))
    assert new["seq_length"] == 262_144
    assert read(GLM).cache[0].values_per_token == 2 * 2 * 128


def test_qwens_own_stretch_has_to_be_off_before_a_plan_is_written():
    with pytest.raises(CannotExpress, match="stretches by itself"):
        planned({**QWEN, "use_dynamic_ntk": True}, "ntk")
    assert planned(QWEN, "ntk")["rotary_emb_base"] == pytest.approx(1e4 * 4 ** (128 / 126))


def deepseeks_own(config):
    """(inv_freq, m on cos and sin, what multiplies the softmax scale) as modeling_deepseek.py of DeepSeek-V3 has them:
    DeepseekV3Attention and DeepseekV3YarnRotaryEmbedding look for these keys and no others."""
    said, d, base = config["rope_scaling"], config["qk_rope_head_dim"], config["rope_theta"]
    assert said["type"] == "yarn"
    s, length = said["factor"], said["original_max_position_embeddings"]
    fast, slow, slope, all_dim = (
        said.get(k, v) for k, v in dict(beta_fast=32, beta_slow=1, mscale=1, mscale_all_dim=0).items()
    )
    dim = [d * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in (fast, slow)]
    low, high = max(math.floor(dim[0]), 0), min(math.ceil(dim[1]), d - 1)
    high += 0.001 * (low == high)
    ramp = [min(max((i - low) / (high - low), 0), 1) for i in range(d // 2)]
    plain = [base ** (-2 * i / d) for i in range(d // 2)]
    inv_freq = [f / s * r + f * (1 - r) for f, r in zip(plain, ramp, strict=True)]
    m = (0.1 * slope * math.log(s) + 1) / (0.1 * all_dim * math.log(s) + 1)
    return inv_freq, m, (0.1 * all_dim * math.log(s) + 1) ** 2 if all_dim else 1.0


@pytest.mark.parametrize(
    ("options", "mscale", "all_dim"),
    [
        ({}, 1.0, 1.0),  # what Kimi K2 ships with goes on
        ({"softmax_mscale": 0.5, "attention_factor": 1.0, "beta_fast": 16.0}, 0.5, 0.5),
        ({"softmax_mscale": 0.0, "attention_factor": None}, 1.0, 0.0),  # the paper's: m on cos and sin, nothing on the softmax
        ({"attention_factor": 1.1}, 1.3404491, 1.0),  # (1.1 (0.1 ln 64 + 1) - 1) / (0.1 ln 64), ln 64 = 4.1588831
    ],
)
def test_kimi_k2s_own_code_computes_what_is_written(options, mscale, all_dim):
    plan = make_plan(read(KIMI_K2), factor=64, method="yarn", options=options)
    new = write(plan, KIMI_K2)
    inv_freq, m, softmax = deepseeks_own(new)
    wanted = plan.stretches[0][1].scaled()

    assert new["max_position_embeddings"] == 262_144
    assert (new["rope_scaling"]["mscale"], new["rope_scaling"]["mscale_all_dim"]) == (pytest.approx(mscale), all_dim)
    assert wanted.inv_freq == pytest.approx(inv_freq, rel=1e-12)
    assert (wanted.attention_factor, wanted.softmax_factor) == (pytest.approx(m), pytest.approx(softmax))


def test_what_kimi_k2s_own_code_cannot_be_told_is_refused():
    """Without mscale keys its m is 0.1 ln s + 1, and it rounds the ramp's ends."""
    for method, options in (("ntk_by_parts", {}), ("yarn", {"truncate": False}), ("llama3", {})):
        with pytest.raises(CannotExpress, match=r"own code decides(.|\n)*method linear .*or method yarn"):
            planned(KIMI_K2, method, 64, options=options)
    assert planned(KIMI_K2, "linear", 64)["rope_scaling"] == {"type": "linear", "factor": 64.0}


def test_a_config_with_code_of_its_own_says_the_type_under_both_names():
    """DeepSeek-V3's code asks for rope_scaling["type"] alone, transformers' class for either; both must say the same."""
    for config in ({**DEEPSEEK_V3, "auto_map": {}}, DEEPSEEK_V3):
        new = planned(config, "yarn", 80)
        assert ("type" in new["rope_scaling"]) == ("auto_map" in config)
        assert new["rope_scaling"]["rope_type"] == new["rope_scaling"].get("type", "yarn") == "yarn"
        assert "type" not in new["rope_parameters"]
    assert planned({**DEEPSEEK_V3, "auto_map": {}}, "ntk")["rope_scaling"] is None


def test_baichuans_base_is_fixed_and_its_large_one_has_none():
    assert read(BAICHUAN).rope("all").rope_theta == 1e4
    with pytest.raises(CannotExpress, match="fixed in its own code"):
        planned(BAICHUAN, "ntk")
    with pytest.raises(NoRope, match="ALiBi"):
        read({**BAICHUAN, "hidden_size": 5120})


def test_keys_that_its_code_does_not_read_are_reported():
    (keys,) = layers_of({**GLM, "rope_theta": 1e4, "rope_scaling": {"type": "yarn", "factor": 4.0}})
    assert keys.rope.rope_theta == 5e6
    assert [one.what for one in keys.ignored] == ["rope_scaling and rope_theta: chatglm's own code reads none of it"]


def test_a_window_that_slides_everywhere_is_not_stretched_unless_it_is_named():
    sliding = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 0}
    qwen2 = {**QWEN25_7B, **sliding, "num_hidden_layers": 4}

    with pytest.raises(BadLength, match=r"none looks further back than 4,096 tokens"):
        make_plan(read(qwen2), factor=4)
    assert make_plan(read(qwen2), factor=4, layer_types=["all"]).target_length == 131_072
    assert make_plan(read({**qwen2, "max_window_layers": 2}), factor=4).target_length == 131_072
    assert make_plan(read({**qwen2, "use_sliding_window": False}), factor=4).target_length == 131_072
    assert make_plan(read({**qwen2, "sliding_window": 65_536}), factor=4).target_length == 131_072
