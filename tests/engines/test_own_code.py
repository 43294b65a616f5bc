"""Models whose own code decides: read as that code reads, written in its few words, and refused where it would raise."""

import pytest

from ropewalk.engines.keys import layers_of
from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadLength, CannotExpress, NoRope
from ropewalk.scaling.plan import make_plan
from support.published import QWEN25_7B

INTERNLM2 = {"model_type": "internlm2", "hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 24,
             "max_position_embeddings": 32_768, "rope_theta": 1e6}  # fmt: skip
GLM = {"model_type": "chatglm", "kv_channels": 128, "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 40,
       "seq_length": 131_072, "rope_ratio": 500, "multi_query_attention": True, "multi_query_group_num": 2}  # fmt: skip
QWEN = {"model_type": "qwen", "hidden_size": 4096, "kv_channels": 128, "num_attention_heads": 32, "num_hidden_layers": 32,
        "max_position_embeddings": 8192, "rotary_emb_base": 10_000, "rotary_pct": 1.0, "seq_length": 2048}  # fmt: skip
MINICPM = {**INTERNLM2, "model_type": "minicpm", "rope_theta": 1e4}
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
