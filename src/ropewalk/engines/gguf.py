"""GGUF's keys for the rotary embedding, read into transformers' words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.engines.gguf_file import FREQS, LONG, SHORT
from ropewalk.engines.keys import GGUF, LENGTH, Beside, Keys, mscale
from ropewalk.engines.own_files import is_ramped, options
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.known import SOFTMAX_MSCALE
from ropewalk.engines.transformers.layers import FULL, SLIDING
from ropewalk.errors import BadConfig, NoRope
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS
from ropewalk.scaling.stretch import Stretch

ARCHITECTURES = {
    "mistral": "llama", "mixtral": "llama", "llama4_text": "llama4", "gemma3_text": "gemma3", "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2", "kimi_k2": "deepseek2", "gpt_oss": "gpt-oss", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
    "deepseek_v32": "deepseek32", "ministral3": "mistral3",
    "gpt_neox": "gptneox", "exaone_moe": "exaone-moe", "hunyuan_v1_dense": "hunyuan-dense",
}  # fmt: skip
# Architectures whose loader takes rope_freqs.weight and whose graph divides by it (llama.cpp, src/models; minicpm and
# granitemoe have granite's graph). Elsewhere one tensor more is "wrong number of tensors", and the model does not load:
# cohere2, minicpm3 and hunyuan-dense ask for factors and never load them, phi3 loads the long and short lists alone, smollm3
# hands none to its rotation. mistral3 does both, and computes its attention factor itself.
ROPE_FACTORS = frozenset(
    "llama llama4 deci exaone exaone4 exaone-moe granite granitemoe minicpm apertus arcee nanbeige".split()
)
# Architectures whose sliding layers have a base and scale of their own; the base, where rope.freq_base_swa does not say it.
OWN_SLIDING, SWA_BASE = frozenset({"gemma3", "gemma3n"}), 10_000.0
# The same of architectures that are read, and not yet written: these, and those whose sliding layers keep the base of the keys
# and a scale of 1 (src/models/olmo2.cpp, laguna.cpp).
READ_SLIDING = OWN_SLIDING | {"gemma4", "mimo2", "step35", "plamo3"}
PLAIN_SLIDING = frozenset({"olmo2", "laguna"})
# Architectures whose graph does not rotate: LLAMA_ROPE_TYPE_NONE (llama-model.cpp), and two with learned positions beside it.
WITHOUT_ROPE = frozenset(
    "gpt2 gptj mpt refact bloom mamba mamba2 jamba jina-bert-v2 t5 t5encoder jais rwkv6 rwkv6qwen2 rwkv7 arwkv7 nemotron_h "
    "nemotron_h_moe kimi-linear kimi-k3 bert starcoder".split()
)
# Where rope.scaling.finetuned is a switch for the rotation (src/models/granite.cpp, granite-hybrid.cpp).
SWITCHED = frozenset({"granite", "granitemoe", "granitehybrid", "graniteswitch"})
# Whose yarn_log_multiplier is a tenth of mscale_all_dim, for the sake of old files (conversion/deepseek.py, deepseek2.cpp).
LATENT = frozenset({"deepseek2", "deepseek32"})
RANK = "attention.kv_lora_rank"  # of latent attention, those and others
# Whose yarn_log_multiplier is mscale_all_dim itself (conversion/mistral3.py): m is m(s, 1) / m(s, that) (llama-context.cpp).
RATIO = frozenset({"mistral3"})
TENTH = 0.10000000149011612  # 0.1 as float32, which the loader divides by
TYPES = {"none": "default", "linear": "linear", "yarn": "yarn", "longrope": "longrope"}


def architecture(kind: str) -> str:
    """GGUF's name of a model_type."""
    return ARCHITECTURES.get(kind, kind)


def flags_can_say(stretch: Stretch) -> bool:
    """Whether llama.cpp's command line has words for the method at all."""
    plain = stretch.method in ("none", "linear", "ntk", "rope_theta")
    return plain or (is_ramped(stretch) and options(stretch)[2])


def layers_of(metadata: Mapping[str, Any]) -> tuple[Keys, ...]:
    """The rotary keys of a GGUF's metadata, of sliding layers too where llama.cpp gives them a base and scale of their own."""
    keys = keys_of(metadata)
    arch, fields = keys.kind, Fields(metadata)
    if arch not in READ_SLIDING | PLAIN_SLIDING or not metadata.get(f"{arch}.attention.sliding_window"):
        return (keys,)
    base = fields.number(f"{arch}.rope.freq_base_swa") or (SWA_BASE if arch in READ_SLIDING else keys.rope.rope_theta)
    wide = fields.whole(f"{arch}.rope.dimension_count_swa") or keys.rope.rotary_dim
    local = Rope(wide, base, keys.longest)
    full = dataclasses.replace(keys, layer_type=FULL)
    return full, dataclasses.replace(keys, layer_type=SLIDING, said={"rope_type": "default"}, rope=local)


def slides_apart(metadata: Mapping[str, Any]) -> bool:
    """Whether sliding layers keep their own base and a scale of 1, whatever the keys say (src/models/gemma3.cpp, gemma3n.cpp;
    llama-hparams.h: 10000 and 1). Other graphs with a window copy the base, the scale or both from the keys."""
    arch = metadata.get("general.architecture")
    return arch in OWN_SLIDING and bool(metadata.get(f"{arch}.attention.sliding_window"))


def keys_of(metadata: Mapping[str, Any]) -> Keys:
    """The rotary keys of a GGUF's metadata, as llama.cpp's loader takes them (llama-model.cpp, load_hparams).

    The factors, which are tensors, may be among them as lists of numbers.
    """
    fields = Fields(metadata)
    arch = fields.text("general.architecture")
    _check_model(fields, arch)

    def key(name: str) -> str:
        return f"{arch}.{name}"

    longest = fields.whole(key("context_length")) or 0
    if not longest:
        raise BadConfig(
            f"{key('context_length')} is missing: the GGUF does not say how far the model reads.\n"
            "  Is it a file beside a model, such as an adapter (LoRA) or a picture encoder (mmproj)?"
        )
    original = fields.whole(key("rope.scaling.original_context_length"))
    theta = fields.number(key("rope.freq_base")) or 10_000.0
    rope = Rope(_rotary_dim(fields, str(arch)), theta, original or longest)
    model: dict[str, Any] = {"model_type": arch, "max_position_embeddings": longest}
    model |= {RANK: rank} if (rank := fields.whole(key(RANK))) else {}
    said, no_factor = _scaling(fields, str(arch))
    names = {
        "rope.scaling.attn_factor": "attn_factor", "rope.scaling.yarn_attn_factor": "attention_factor",
        "rope.scaling.yarn_beta_fast": "beta_fast", "rope.scaling.yarn_beta_slow": "beta_slow",
    }  # fmt: skip
    said |= {ours: value for theirs, ours in names.items() if (value := fields.number(key(theirs))) is not None}
    if original:
        said[LENGTH] = original
    kind = said["rope_type"]
    if arch in LATENT:
        model["qk_rope_head_dim"] = rope.rotary_dim
        said.pop("attention_factor", None)
        if softmax := fields.number(key("rope.scaling.yarn_log_multiplier")):
            said[SOFTMAX_MSCALE] = round(softmax / TENTH, 6)  # float32 holds 7 digits
            said |= {"attention_factor": 1.0} if kind == "yarn" else {}  # the softmax has it, and m cancels on cos and sin
    if arch in RATIO and kind == "yarn" and (slope := fields.number(key("rope.scaling.yarn_log_multiplier"))):
        said[SOFTMAX_MSCALE] = slope
    long, short = fields.numbers(FREQS) or fields.numbers(LONG), fields.numbers(FREQS) or fields.numbers(SHORT)
    keys = Keys(ALL_LAYERS, said, rope, model, GGUF, beside=Beside(no_factor=no_factor))
    if long and kind not in ("linear", "yarn"):
        m = said.pop("attn_factor", 1.0)
        said |= {
            "rope_type": "longrope",
            "long_factor": list(long),
            "short_factor": list(short or long),
            "attention_factor": m,
        }
        if fields.numbers(FREQS):
            said.setdefault("factor", 1.0)
    return _with_factors(keys, long) if long and kind in ("linear", "yarn") else keys


def _check_model(fields: Fields, arch: str | None) -> None:
    """BadConfig for files that belong to a model and are none."""
    kind = fields.text("general.type") or ""
    if arch == "clip" or kind == "mmproj":
        raise BadConfig(
            "this GGUF is the picture or sound encoder of a model (mmproj); it has no window to stretch.\n"
            "  The language model beside it is the file to look at."
        )
    if kind == "adapter":
        raise BadConfig(
            "this GGUF is a LoRA adapter: it changes weights, and its base model decides the rotation.\n"
            "  Look at the GGUF of the base model."
        )
    if kind in ("imatrix", "vocab", "controlvector") or arch in ("controlvector", "imatrix"):
        raise BadConfig(f"this GGUF is no model ({kind or arch}): it has no window to stretch.")
    if (fields.whole("split.no") or 0) > 0:
        raise BadConfig("this is a later part of a model in several files; the first one (00001-of-...) has the keys.")
    if not arch:
        raise BadConfig("general.architecture is missing: these are not the keys of a model's GGUF.")
    _check_rotates(fields, arch)


def _check_rotates(fields: Fields, arch: str) -> None:
    if arch in WITHOUT_ROPE:
        raise NoRope(f"{arch} has no rotary embedding in llama.cpp. There is nothing to stretch.")
    switch = f"{arch}.rope.scaling.finetuned"
    if arch in SWITCHED and fields.config.get(switch) in (False, 0):
        raise NoRope(f"this {arch} model does not rotate: {switch} is false, which llama.cpp takes for no rotary embedding.")


def _scaling(fields: Fields, arch: str) -> tuple[dict[str, Any], bool]:
    """The type and the factor, and whether a type stands there without one.

    Without a type it is linear; without a factor, or with 0, the scale is 1; rope.scale_linear is the factor's name of
    before 2024, and still read where the new one is absent.
    """
    where = f"{arch}.rope.scaling.type"
    kind = fields.text(where)
    if kind is not None and kind not in TYPES:
        raise BadConfig(f"{where} is {kind!r}; llama.cpp knows {', '.join(TYPES)}.")
    factor = fields.number(f"{arch}.rope.scaling.factor")
    if factor is None:
        factor = fields.number(f"{arch}.rope.scale_linear")
    if kind is None and not factor:
        return {"rope_type": "default"}, False
    rope_type = TYPES[kind or "linear"]
    if rope_type == "linear" and not factor:
        return {"rope_type": "default"}, True
    if rope_type == "yarn" and not factor:  # as it was meant: context_length over the original one
        return {"rope_type": "yarn"}, True
    return {"rope_type": rope_type} | ({"factor": factor} if factor else {}), False


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
