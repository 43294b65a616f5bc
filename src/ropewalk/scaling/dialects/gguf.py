"""GGUF's keys for the rotary embedding, read into transformers' words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.dialects.own_files import is_ramped, options
from ropewalk.scaling.gguf_header import FREQS
from ropewalk.scaling.keys import GGUF, LENGTH, Keys, mscale
from ropewalk.scaling.plan import Stretch
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS

# Marks of a command line in Keys.model: nothing that a config could hold.
NO_TYPE, SHIFTS = "ropewalk.no_rope_scaling", "ropewalk.context_shift"
ARCHITECTURES = {
    "mistral": "llama", "mixtral": "llama", "llama4_text": "llama4", "gemma3_text": "gemma3", "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2", "gpt_oss": "gpt-oss", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
    "ministral3": "mistral3",
    "gpt_neox": "gptneox", "exaone_moe": "exaone-moe", "hunyuan_v1_dense": "hunyuan-dense",
}  # fmt: skip
# Architectures whose loader takes rope_freqs.weight and whose graph divides by it (llama.cpp, src/models; minicpm and
# granitemoe have granite's graph). Elsewhere one tensor more is "wrong number of tensors", and the model does not load:
# cohere2, minicpm3 and hunyuan-dense ask for factors and never load them, phi3 loads the long and short lists alone, smollm3
# hands none to its rotation. mistral3 does both, and computes its attention factor itself.
ROPE_FACTORS = frozenset(
    "llama llama4 deci exaone exaone4 exaone-moe granite granitemoe minicpm apertus arcee nanbeige".split()
)
TYPES = {"none": "default", "linear": "linear", "yarn": "yarn", "longrope": "longrope"}


def architecture(kind: str) -> str:
    """GGUF's name of a model_type."""
    return ARCHITECTURES.get(kind, kind)


def flags_can_say(stretch: Stretch) -> bool:
    """Whether llama.cpp's command line has words for the method at all."""
    plain = stretch.method in ("none", "linear", "ntk", "rope_theta")
    return plain or (is_ramped(stretch) and options(stretch)[2])


def keys_of(metadata: Mapping[str, Any]) -> Keys:
    """The rotary keys of a GGUF's metadata. `rope_freqs.weight`, a tensor, may be among them as a list of numbers."""
    fields = Fields(metadata)
    arch = fields.text("general.architecture")
    if not arch:
        raise BadConfig("general.architecture is missing: these are not the keys of a model's GGUF.")

    def key(name: str) -> str:
        return f"{arch}.{name}"

    longest = fields.whole(key("context_length")) or 0
    if not longest:
        raise BadConfig(f"{key('context_length')} is missing: the GGUF does not say how far the model reads.")
    original = fields.whole(key("rope.scaling.original_context_length"))
    theta = fields.number(key("rope.freq_base")) or 10_000.0
    rope = Rope(_rotary_dim(fields, arch), theta, original or longest)
    kind = fields.text(key("rope.scaling.type")) or "none"
    if kind not in TYPES:
        raise BadConfig(f"{key('rope.scaling.type')} is {kind!r}; llama.cpp knows {', '.join(TYPES)}.")
    said: dict[str, Any] = {"rope_type": TYPES[kind]}
    names = {
        "rope.scaling.factor": "factor", "rope.scaling.attn_factor": "attn_factor",
        "rope.scaling.yarn_attn_factor": "attention_factor", "rope.scaling.yarn_beta_fast": "beta_fast",
        "rope.scaling.yarn_beta_slow": "beta_slow",
    }  # fmt: skip
    said |= {ours: value for theirs, ours in names.items() if (value := fields.number(key(theirs))) is not None}
    if original:
        said[LENGTH] = original
    factors = fields.numbers(FREQS)
    if factors and kind == "none":
        m = said.pop("attn_factor", 1.0)
        said |= {"rope_type": "longrope", "long_factor": list(factors), "short_factor": list(factors), "attention_factor": m}
        said.setdefault("factor", 1.0)
    model: dict[str, Any] = {"model_type": arch, "max_position_embeddings": longest}
    if arch == "deepseek2" and kind == "yarn":  # its temperature goes to the softmax, and m cancels on cos and sin
        model["qk_rope_head_dim"], said["attention_factor"] = rope.rotary_dim, 1.0
    keys = Keys(ALL_LAYERS, said, rope, model, GGUF)
    return _with_factors(keys, factors) if factors and kind in ("linear", "yarn") else keys


def _with_factors(keys: Keys, factors: Sequence[float]) -> Keys:
    """`rope_freqs.weight` beside a scaling type: both act, the factors first (ggml_rope_cache_init divides the angle by them,
    then rope_yarn scales it), and m stays that of the type. Said as one list.
    """
    scaled = keys.scaled()
    if len(factors) != len(scaled.inv_freq):
        raise BadConfig(f"{FREQS} has {len(factors)} factors for {len(scaled.inv_freq)} pairs.")
    both = [f * plain / new for f, plain, new in zip(factors, keys.rope.inv_freq, scaled.inv_freq, strict=True)]
    m = mscale(keys.factor) if keys.rope_type == "yarn" else 1.0
    said = {"rope_type": "longrope", "long_factor": both, "short_factor": both, "factor": keys.factor,
            "attention_factor": m * float(keys.said.get("attn_factor", 1.0)), LENGTH: keys.rope.original_length}  # fmt: skip
    return dataclasses.replace(keys, said=said)


def _rotary_dim(fields: Fields, arch: str) -> int:
    if stated := fields.whole(f"{arch}.rope.dimension_count") or fields.whole(f"{arch}.attention.key_length"):
        return stated
    width, heads = fields.whole(f"{arch}.embedding_length"), fields.whole(f"{arch}.attention.head_count")
    if not width or not heads:
        raise BadConfig(f"neither {arch}.rope.dimension_count nor embedding_length and head_count are there.")
    return width // heads
