"""What configs leave out, or state wrongly, about the rotary embedding: a small table with sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.engines.transformers import class_defaults
from ropewalk.engines.transformers.class_defaults import classes

FULL, SLIDING = "full_attention", "sliding_attention"


def _theta(layer_type: str) -> dict[str, float]:
    rows = {kind: row.theta for kind, row in classes().items()}
    return {
        k: t[layer_type] if isinstance(t, Mapping) else t
        for k, t in rows.items()
        if not isinstance(t, Mapping) or layer_type in t
    }


# rope_theta of architectures whose configs may omit it, for transformers 5.23; and what computes from constants in its code.
DEFAULT_THETA = {**_theta(FULL), **dict.fromkeys(["gptj", "codegen"], 10_000.0)}
# Where the classes of transformers 4 (4.57.3) had others, and a scaling where a config says none.
OLD_THETA = {"cohere": 10_000.0, "falcon_h1": 100_000.0, "olmo3": 10_000.0, "persimmon": 25_000.0}
OLD_SCALING: Mapping[str, Mapping[str, Any]] = {
    "apertus": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0},
    "gpt_oss": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0,
                "beta_slow": 1.0, "truncate": False},
}  # fmt: skip

# The window of architectures whose published configs leave out max_position_embeddings.
DEFAULT_LENGTH = {
    kind: row.fields["max_position_embeddings"] for kind, row in classes().items() if "max_position_embeddings" in row.fields
}

# Other names of the window that engines look at beside max_position_embeddings; SGLang takes the first that is there (0.5.23,
# CONTEXT_LENGTH_KEYS), vLLM the smallest, or model_max_length (0.32.0, model_arch_config_convertor.py).
OTHER_WINDOWS = ("max_sequence_length", "seq_length", "max_seq_len", "model_max_length", "max_seq_length", "seq_len")
# What a window is called where nothing else states one; the first is Step-3's word.
WINDOWS = ("max_position_embedding", *OTHER_WINDOWS)

# Rotated share of the head where configs may omit it.
DEFAULT_PARTIAL = {kind: row.partial for kind, row in classes().items() if row.partial != 1}

# Base of sliding-window layers where it differs from full-attention layers and configs may omit it.
DEFAULT_LOCAL_THETA = {kind: t for kind, t in _theta(SLIDING).items() if t != DEFAULT_THETA.get(kind)}

# Architectures with one rotary table per layer type (transformers 5.23.0: `rope_parameters` nested by default).
PER_LAYER_TYPE = frozenset(
    kind for kind, row in classes().items() if isinstance(row.theta, Mapping) and {FULL, SLIDING} <= set(row.theta)
)
# Those of them where a flat spelling is of every layer, and not of the full-attention ones alone.
SCALED_EVERYWHERE = frozenset({"modernbert", "modernbert-decoder"})
# Those of them whose old spelling can say as much: rope_theta and rope_scaling of the full-attention layers, and this base of
# the others. transformers 5 merges the two spellings, and MLX-LM reads the old one alone.
OLD_LOCAL_BASE = {"gemma3_text": "rope_local_base_freq"}

# Architectures whose full-attention layers do not rotate: only sliding-window or chunked layers carry RoPE, under the key
# that makes them local. A config that sets the key to null rotates everywhere (EXAONE 4.0 1.2B).
ROTATE_LOCALLY = {
    **dict.fromkeys("afmoe cohere2 cohere2_moe exaone4 exaone_moe".split(), "sliding_window"),
    "llama4_text": "attention_chunk_size",
}

# Where every n-th layer sees everything, and what the others are: the key of n, its default, their type.
FULL_EVERY = {
    **dict.fromkeys("qwen3_next qwen3_5_text qwen3_5_moe_text".split(), ("full_attention_interval", 4, "linear_attention")),
    "llama4_text": ("no_rope_layer_interval", 4, "chunked_attention"),
}

# Where a layer has several attentions, each with a cache: num_layers counts layers, num_hidden_layers attentions.
ATTENTIONS = {"longcat_flash": 2}

# Where attention reads a stream wider than the model's: heads are of this many times hidden_size / num_attention_heads.
HEAD_SCALE = {"zamba2": 2}

# Layers from max_window_layers (28) on slide, if use_sliding_window says so.
SLIDING_FROM = frozenset(
    "qwen2 qwen2_moe qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text qwen2_5_omni_text qwen3 qwen3_moe dots1".split()
)

# Latent attention (these two keys of its config) multiplies its softmax scale by (0.1 mscale_all_dim ln s + 1)^2 too, outside
# the rotary embedding: yarn_apply_mscale of 14 models in transformers 5.23.
SOFTMAX_MSCALE, LATENT = "mscale_all_dim", class_defaults.LATENT

# No rotary embedding at all, and what they use instead.
WITHOUT_ROPE = {
    **dict.fromkeys(
        "gpt2 gpt_neo gpt_bigcode openai-gpt opt bert ctrl xglm biogpt imagegpt".split(), "learned or fixed absolute positions"
    ),
    **dict.fromkeys(["bloom", "mpt"], "ALiBi"),
    **dict.fromkeys("mamba mamba2 falcon_mamba rwkv xlstm recurrent".split(), "a recurrent state"),
    **dict.fromkeys("jamba nemotron_h zamba".split(), "Mamba layers for order and attention without positions"),
    "kimi_linear": "linear attention for order and full attention without positions",
    "t5": "relative position buckets",
}

# Classes that rotate only where a key says so (transformers 5.23.0, their modeling files): the key, and what it must be.
ROTATES_IF: Mapping[str, tuple[str, object]] = {
    "granitemoehybrid": ("position_embedding_type", "rope"),
    "zamba2": ("use_mem_rope", True),
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
    if kind == "mistral" and longest == 32_768 and config.get("sliding_window") == 4_096 and rope_theta == 10_000:
        return Fact(8_192, "Mistral 7B, arXiv:2310.06825, Table 1: context length 8192")
    if kind in ("qwen2_5_vl", "qwen2_5_vl_text") and longest == 128_000:
        return Fact(32_768, "Qwen2.5-VL model cards: trained at 32,768 tokens, and YaRN beyond")
    if kind in ("cohere", "cohere2") and isinstance(own := config.get("model_max_length"), int) and own > (longest or 0):
        return Fact(own, "model_max_length: Command-R was trained further than its max_position_embeddings says")
    dual = config.get("dual_chunk_attention_config")
    if isinstance(dual, Mapping) and isinstance(length := dual.get("original_max_position_embeddings"), int):
        return Fact(
            length, "dual_chunk_attention_config: what is beyond was made for dual chunk attention, which few engines have"
        )
    if kind == "gemma3_text" and longest == 131_072:
        return Fact(32_768, "Gemma 3 report, arXiv:2503.19786, section 2: trained at 32K, then scaled to 128K")
    return None


# Model types whose config classes accept nothing but longrope.
LONGROPE_ONLY = frozenset({"phi3", "phi4_multimodal", "phimoe"})
