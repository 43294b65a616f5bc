"""Configs with every size stated, and shapes made from them. The sizes are those of the published config.json files."""

from ropewalk.engines.transformers.shape import read_shape
from support import published

LLAMA31_8B = {**published.LLAMA31_8B, "intermediate_size": 14_336, "vocab_size": 128_256, "tie_word_embeddings": False}
LLAMA31_70B = {**LLAMA31_8B, "hidden_size": 8192, "intermediate_size": 28_672, "num_attention_heads": 64,
               "num_hidden_layers": 80}  # fmt: skip
QWEN3_8B = {**published.QWEN3_8B, "intermediate_size": 12_288, "vocab_size": 151_936, "tie_word_embeddings": False}
QWEN3_32B = {**QWEN3_8B, "hidden_size": 5120, "intermediate_size": 25_600, "num_attention_heads": 64,
             "num_hidden_layers": 64}  # fmt: skip
QWEN25_7B = {**published.QWEN25_7B, "intermediate_size": 18_944, "vocab_size": 152_064, "tie_word_embeddings": False}
GEMMA3_4B = {**published.GEMMA3_4B_TEXT, "intermediate_size": 10_240, "vocab_size": 262_208}
LLAMA2_7B = {**published.LLAMA2_7B, "intermediate_size": 11_008, "vocab_size": 32_000, "tie_word_embeddings": False}


def small(**sizes):
    """A Llama of a few thousand weights."""
    return {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "num_hidden_layers": 2, "vocab_size": 32, "tie_word_embeddings": False,
        "max_position_embeddings": 2**20, **sizes,
    }  # fmt: skip


LLAMA = read_shape(LLAMA31_8B)
