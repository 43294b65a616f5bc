"""What running live models showed the reader and the writer to get wrong."""

import pytest

from ropewalk.engines.transformers.write import read, write
from ropewalk.errors import BadLength
from ropewalk.scaling.plan import make_plan

SIZES = dict(hidden_size=64, num_attention_heads=2, num_hidden_layers=4, max_position_embeddings=128, rope_theta=1e4)


# Which layers rotate, read in transformers 5.23.0: Exaone4Attention.forward, AfmoeAttention.forward, Llama4TextAttention.
@pytest.mark.parametrize(
    ("kind", "local", "key"),
    [
        ("exaone4", "sliding_attention", "sliding_window"),
        ("exaone_moe", "sliding_attention", "sliding_window"),
        ("afmoe", "sliding_attention", "sliding_window"),
        ("llama4_text", "chunked_attention", "attention_chunk_size"),
    ],
)
def test_full_layers_without_rope_are_nothing_to_stretch(kind, local, key):
    spec = read({"model_type": kind, **SIZES, key: 64, "layer_types": [local] * 3 + ["full_attention"]})
    assert [name for name, _ in spec.ropes] == [local]
    assert spec.unrotated_layers == 1
    with pytest.raises(BadLength, match="nothing to stretch here"):
        make_plan(spec, factor=2)


def test_exaone4_without_a_window_rotates_everywhere():
    # LGAI-EXAONE/EXAONE-4.0-1.2B, config.json: "sliding_window": null
    spec = read({"model_type": "exaone4", **SIZES, "sliding_window": None, "layer_types": ["full_attention"] * 4})
    assert spec.stretchable == ("all",)
    assert spec.unrotated_layers == 0


def test_query_temperature_keeps_its_length():
    rope = dict(rope_type="yarn", rope_theta=1e4, factor=2.0, original_max_position_embeddings=64, llama_4_scaling_beta=0.1)
    rope |= dict(mscale=1.0, mscale_all_dim=1.0)  # as published; only MLA models make a softmax scale of it
    config = {"model_type": "ministral3", **SIZES, "rope_parameters": rope}
    plan = make_plan(read(config), factor=4, method="ntk")
    written = write(plan, config)["rope_parameters"]
    assert (written["llama_4_scaling_beta"], written["original_max_position_embeddings"]) == (0.1, 64)


def test_a_softmax_scale_is_not_dropped_silently():
    yarn = dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=1.0)
    config = {"model_type": "deepseek_v3", **SIZES, "qk_rope_head_dim": 16, "rope_scaling": yarn}
    kept = write(make_plan(read(config), factor=80), config)["rope_parameters"]
    assert (kept["mscale"], kept["mscale_all_dim"], kept["factor"]) == (1.0, 1.0, 80.0)
    gone = write(make_plan(read(config), factor=4, method="ntk"), config)[
        "rope_parameters"
    ]  # replaced, and said by plan's note
    assert not {"mscale", "mscale_all_dim"} & gone.keys()
