"""Reading config.json of transformers: the sizes of the model, for what training it takes."""

from collections.abc import Mapping
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.scaling.checkpoint import text_path
from ropewalk.scaling.dialects.class_defaults import text_fields
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.dialects.transformers_layers import head_dim, read_layers
from ropewalk.scaling.shape import ModelShape

EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size")
# What their blocks are was read in transformers 5.23, models/*/modeling_*.py.
LIKE_LLAMA = frozenset("llama mistral ministral ministral3 qwen2 qwen3 seed_oss smollm3 granite".split())
QK_NORM = frozenset("qwen3 gemma3_text exaone4 hunyuan_v1_dense apertus".split())
UNGATED = frozenset("apertus gpt_neox gptj nemotron phi starcoder2".split())


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The sizes of a dense decoder; BadConfig for what is none, and for a size that is not stated."""
    fields, around = text_fields(config), text_path(config)
    kind = fields.text("model_type") or ""
    _check_dense(fields, kind)
    groups, _ = read_layers(fields, kind)
    layers = _size(fields, "num_hidden_layers", "n_layer")
    if sum(group.layers for group in groups) not in (0, layers):
        raise BadConfig(f"{kind} has layers without attention (linear or recurrent); the formula is for dense decoders.")
    heads = _size(fields, "num_attention_heads", "n_head")
    return ModelShape(
        hidden=_size(fields, "hidden_size", "n_embd"),
        ffn=_size(fields, "intermediate_size", "n_inner"),
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads") or heads,
        head_dim=head_dim(fields),
        layers=layers,
        vocabulary=_size(fields, "vocab_size"),
        tied=fields.yes("tie_word_embeddings", default=kind.startswith("gemma")),
        gated=kind not in UNGATED,
        qk_norm=kind in QK_NORM,
        windows=tuple(group.window for group in groups for _ in range(group.layers)),
        notes=_notes(kind, bool(around)),
    )


def _check_dense(fields: Fields, kind: str) -> None:
    if experts := [key for key in EXPERT_KEYS if (fields.whole(key) or 0) > 1]:
        raise BadConfig(
            f"{kind} is a mixture of experts ({fields.where(experts[0])}); the memory formula is for dense models.\n"
            "  Which expert a token goes to, and how experts are spread over cards, decides what it takes."
        )
    if "kv_lora_rank" in fields:
        raise BadConfig(f"{kind} compresses its keys (kv_lora_rank); the memory formula is for dense models with plain heads.")


def _size(fields: Fields, *keys: str) -> int:
    for key in keys:
        if found := fields.whole(key):
            return found
    raise BadConfig(
        f"the config states no {keys[0]}, and memory cannot be counted without it.\n"
        "  A config that transformers saved has it: is this one cut short?"
    )


def _notes(kind: str, around: bool) -> tuple[str, ...]:
    notes = []
    if kind not in LIKE_LLAMA:
        notes.append(f"a layer of {kind} is counted as one of Llama's; --simulate walks through its own")
    if around:
        notes.append("the text model alone is counted; what encodes pictures or sound comes on top")
    return tuple(notes)
