"""Sizes read from configs, against the models that transformers builds from them (on no device: nothing is allocated)."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ropewalk.engines.transformers.shape import read_shape
from ropewalk.errors import BadConfig
from support import published, shapes

CONFIGS = {
    name: getattr(shapes, name) for name in ("LLAMA31_8B", "LLAMA31_70B", "QWEN3_8B", "QWEN3_32B", "QWEN25_7B", "GEMMA3_4B")
} | {
    "tied": {**shapes.LLAMA31_8B, "tie_word_embeddings": True},
    "starcoder2": {**shapes.LLAMA31_8B, "model_type": "starcoder2", "tie_word_embeddings": True},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_parameters_are_those_of_the_model(config):
    made = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(made)
    assert read_shape(config).parameters == pytest.approx(sum(p.numel() for p in model.parameters()), rel=1e-3)


def test_published_parameters():
    """8,030,261,248 and 70,553,706,496: the model cards of Llama 3.1."""
    assert read_shape(shapes.LLAMA31_8B).parameters == 8_030_261_248
    assert read_shape(shapes.LLAMA31_70B).parameters == 70_553_706_496


def test_lora_counts_adapters_norms_and_embedding():
    """Rank 1 on seven matrices, as peft counts them: in + out each."""
    shape = read_shape(shapes.LLAMA31_8B)
    adapters = 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14_336))
    assert shape.lora_parameters(1) == adapters + 65 * 4096 + 128_256 * 4096


def test_windows_and_the_inner_config_are_found():
    shape = read_shape({"model_type": "gemma3", "text_config": shapes.GEMMA3_4B})
    assert (shape.windows.count(1024), shape.windows.count(None)) == (29, 5)
    assert shape.tied
    assert shape.qk_norm
    assert any("pictures" in note for note in shape.notes)


def test_a_layer_that_is_none_of_llamas_says_so():
    assert read_shape(shapes.LLAMA31_8B).notes == ()
    assert "--simulate" in read_shape(shapes.GEMMA3_4B).notes[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**shapes.LLAMA31_8B, "model_type": "mixtral", "num_local_experts": 8}, "mixture of experts"),
        ({**shapes.QWEN3_8B, "model_type": "qwen3_moe", "num_experts": 128}, "mixture of experts"),
        ({**published.DEEPSEEK_V3, "n_routed_experts": None, "moe_intermediate_size": None}, "kv_lora_rank"),
        ({**published.LLAMA31_8B, "intermediate_size": None}, "states no intermediate_size"),
        ({**shapes.LLAMA31_8B, "vocab_size": "many"}, "whole number"),
        ({**shapes.QWEN3_8B, "num_hidden_layers": 4, "layer_types": ["linear_attention"] * 3 + ["full_attention"]},
         "without attention"),
    ],
)  # fmt: skip
def test_what_the_formula_is_not_for_is_refused(config, words):
    with pytest.raises(BadConfig, match=words):
        read_shape(config)


def test_tiny_is_read():
    assert read_shape(shapes.small(tie_word_embeddings=True)).tied
