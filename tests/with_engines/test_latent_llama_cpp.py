"""The temperature of latent attention in llama.cpp, from the keys of a GGUF: its logits, and those of transformers' own
DeepSeek-V3 with the rotation and the softmax that Ropewalk reads from the same keys.

Needs llama-cpp-python in an environment of its own: see with_engines/judge.py.
"""

import math

import gguf
import numpy as np
import pytest
import torch
import transformers

from ropewalk.engines.engine import get_engine, understood
from support.gguf_shapes import SIZES
from with_engines.judge import ask, need_llama_cpp

pytestmark = pytest.mark.engines
LAYERS, FACTOR, LENGTH = 3, 4.0, 64
SHAPE = {
    **SIZES, "num_key_value_heads": 4, "num_hidden_layers": LAYERS, "first_k_dense_replace": LAYERS, "q_lora_rank": 96,
    "kv_lora_rank": 64, "qk_rope_head_dim": 32, "qk_nope_head_dim": 32, "v_head_dim": 32, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "moe_intermediate_size": 64,
}  # fmt: skip
IDS = torch.randint(3, 512, (96,), generator=torch.Generator().manual_seed(1)).tolist()
NOISE = 1.5e-4  # of a logit, as in test_gguf_llama_cpp.py


@pytest.fixture(scope="module", autouse=True)
def _llama_cpp():
    need_llama_cpp()


def random_deepseek(rope):
    """Every number drawn, the same ones whatever the rotation."""
    config = transformers.DeepseekV3Config(**SHAPE, rope_parameters={"rope_theta": 1e4, **rope})
    torch.manual_seed(0)
    model = transformers.DeepseekV3ForCausalLM._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.copy_(torch.randn_like(weight) * 0.2 + 1.0)
            else:
                weight.normal_(std=1.5 / math.sqrt(weight.shape[-1]))
    return model


def write_deepseek(path, model, keys):
    """As conversion/deepseek.py laid it out before keys and values were apart: one kv_b matrix. The rows stay as they are."""
    writer = gguf.GGUFWriter(path, "deepseek2")
    for add, value in {
        "context_length": 256, "embedding_length": 256, "block_count": LAYERS, "feed_forward_length": 512, "head_count": 4,
        "head_count_kv": 4, "layer_norm_rms_eps": model.config.rms_norm_eps, "vocab_size": 512, "key_length": 64,
        "value_length": 32, "q_lora_rank": 96, "kv_lora_rank": 64, "leading_dense_block_count": LAYERS,
        "expert_feed_forward_length": 64, "expert_shared_count": 1, "rope_dimension_count": 32, "rope_freq_base": 1e4,
    }.items():  # fmt: skip
        getattr(writer, f"add_{add}")(value)
    for name, value in keys.items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32 if isinstance(value, int) else writer.add_float32)(
            f"deepseek2.rope.scaling.{name}", value
        )
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DEEPSEEK2, LAYERS)
    for key, tensor in model.state_dict().items():
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stretched(kind, **more):
    return {"type": kind, "factor": FACTOR, "original_context_length": LENGTH, **more}


def read_by_us(keys):
    """The rope parameters that transformers needs so as to do what llama.cpp does with these keys."""
    metadata = {
        "general.architecture": "deepseek2", "deepseek2.context_length": 256, "deepseek2.rope.dimension_count": 32,
        "deepseek2.rope.freq_base": 1e4, **{f"deepseek2.rope.scaling.{name}": value for name, value in keys.items()},
    }  # fmt: skip
    (found,) = get_engine("llama_cpp").read(metadata)
    scaled = understood(get_engine("llama_cpp"), found).scaled()
    slope = (math.sqrt(scaled.softmax_factor) - 1) / (0.1 * math.log(FACTOR))
    return {
        "rope_type": "yarn", "factor": FACTOR, "original_max_position_embeddings": LENGTH, "mscale_all_dim": slope,
        "attention_factor": scaled.attention_factor,
    }  # fmt: skip


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


def apart(a, b):
    return float(np.abs(a - b).max())


@pytest.mark.parametrize(
    "more",
    [{"yarn_log_multiplier": 0.1}, {"yarn_log_multiplier": 0.0707}, {}, {"yarn_log_multiplier": 0.1, "attn_factor": 1.1}],
)
def test_rotation_and_softmax_of_deepseek_are_as_read_from_its_keys(more, tmp_path):
    keys = stretched("yarn", **more)
    model = random_deepseek(read_by_us(keys))
    found = ask(write_deepseek(tmp_path / "x.gguf", model, keys), ids=IDS)["logits"]

    assert apart(logits_of(model), found) < NOISE
    other = {**read_by_us(keys), "mscale_all_dim": 0.0}  # the softmax left alone: what was read before
    assert apart(logits_of(random_deepseek(other)), found) > 100 * NOISE


def test_linear_multiplies_the_softmax_scale_of_latent_attention(tmp_path):
    model = random_deepseek({"rope_type": "linear", "factor": FACTOR})
    found = ask(write_deepseek(tmp_path / "x.gguf", model, stretched("linear")), ids=IDS)["logits"]

    assert apart(logits_of(model), found) > 100 * NOISE
    for layer in model.model.layers:
        layer.self_attn.scaling *= (0.1 * math.log(FACTOR) + 1) ** 2
    assert apart(logits_of(model), found) < NOISE
