"""What configs leave out, or state wrongly, about the rotary embedding: a small table with sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# rope_theta of architectures whose configs may omit it: the defaults of transformers 5.23.0's config classes.
DEFAULT_THETA = {
    **dict.fromkeys(
        (
            "arcee cohere2 deepseek_v2 deepseek_v3 dots1 exaone4 falcon gemma gemma2 glm glm4 glm4_moe gpt_neox "
            "granite granitemoe hunyuan_v1_dense jetmoe llama ministral mistral nemotron olmo olmo2 "
            "olmoe persimmon phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next seed_oss stablelm starcoder2 "
            "gptj codegen"
        ).split(),
        10_000.0,
    ),
    **dict.fromkeys("bitnet cohere ernie4_5 ernie4_5_moe llama4_text olmo3".split(), 500_000.0),
    "apertus": 12_000_000.0,
    "gemma3_text": 1_000_000.0,
    "gemma3n_text": 1_000_000.0,
    "gpt_oss": 150_000.0,
    "helium": 100_000.0,
    "minimax": 1_000_000.0,
    "minimax_m2": 5_000_000.0,
    "ministral3": 1_000_000.0,
    "mixtral": 1_000_000.0,
    "modernbert-decoder": 160_000.0,
    "phimoe": 1_000_000.0,
    "smollm3": 2_000_000.0,
}

# The window of architectures whose published configs leave out max_position_embeddings: the same source.
DEFAULT_LENGTH = {"gemma3_text": 131_072}

# Rotated share of the head where configs may omit it: the same source.
DEFAULT_PARTIAL = {
    **dict.fromkeys("glm glm4 glm4_moe nemotron persimmon phi".split(), 0.5),
    **dict.fromkeys(["gpt_neox", "qwen3_next", "stablelm"], 0.25),
}

# Base of sliding-window layers where it differs from full-attention layers and configs may omit it.
DEFAULT_LOCAL_THETA = dict.fromkeys(["gemma3_text", "gemma3n_text", "modernbert-decoder"], 10_000.0)

# Architectures with one rotary table per layer type (transformers 5.23.0: `rope_parameters` nested by default).
PER_LAYER_TYPE = frozenset({"gemma3_text", "gemma3n_text", "olmo3", "modernbert-decoder"})
# Those of them whose old spelling can say as much: rope_theta and rope_scaling of the full-attention layers, and this base of
# the others. transformers 5 merges the two spellings, and MLX-LM reads the old one alone.
OLD_LOCAL_BASE = {"gemma3_text": "rope_local_base_freq"}

# Architectures whose full-attention layers do not rotate: only sliding-window or chunked layers carry RoPE, under the key
# that makes them local. A config that sets the key to null rotates everywhere (EXAONE 4.0 1.2B).
ROTATE_LOCALLY = {
    **dict.fromkeys("afmoe cohere2 cohere2_moe exaone4 exaone_moe".split(), "sliding_window"),
    "llama4_text": "attention_chunk_size",
}

# Attention that also multiplies its softmax scale by (0.1 mscale_all_dim ln s + 1)^2, outside the rotary embedding.
SOFTMAX_MSCALE = "mscale_all_dim"

# No rotary embedding at all, and what they use instead.
WITHOUT_ROPE = {
    **dict.fromkeys(
        "gpt2 gpt_neo gpt_bigcode openai-gpt opt bert ctrl xglm biogpt imagegpt".split(), "learned or fixed absolute positions"
    ),
    **dict.fromkeys(["bloom", "mpt"], "ALiBi"),
    **dict.fromkeys("mamba mamba2 falcon_mamba rwkv xlstm recurrent".split(), "a recurrent state"),
    "jamba": "Mamba layers for order and attention without positions",
    "t5": "relative position buckets",
}

# Rotation is computed inside the attention code from constants: no config can change it.
FIXED_IN_CODE = frozenset({"gptj", "codegen"})


@dataclass(frozen=True, slots=True)
class Fact:
    """An original length that the config does not state, or states wrongly."""

    original_length: int
    source: str


def published_length(config: Mapping[str, Any], rope_theta: float) -> Fact | None:
    """The original length of models whose max_position_embeddings is something else; recognised by their numbers."""
    kind = config.get("model_type")
    longest = config.get("max_position_embeddings") or DEFAULT_LENGTH.get(str(kind))
    if kind in ("qwen3", "qwen3_moe") and longest == 40_960 and rope_theta == 1_000_000:
        return Fact(32_768, "Qwen3 model cards: native context 32,768; 40,960 leaves 8,192 for the prompt's answer")
    if kind == "qwen2" and longest == 40_960 and rope_theta == 1_000_000:
        return Fact(32_768, "QwQ-32B model card: YaRN beyond 32,768 tokens, original_max_position_embeddings 32768")
    if kind == "mistral" and longest == 32_768 and config.get("sliding_window") == 4_096:
        return Fact(8_192, "Mistral 7B, arXiv:2310.06825, Table 1: context length 8192")
    if kind == "gemma3_text" and longest == 131_072:
        return Fact(32_768, "Gemma 3 report, arXiv:2503.19786, section 2: trained at 32K, then scaled to 128K")
    return None
