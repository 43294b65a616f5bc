"""Which models have a rotary embedding at all."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, NoRope

V4_KEYS = ("rope_scaling", "rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta", "rotary_emb_base")

# JSON that people bring in a config.json's place: a key that it has, and what it is.
OTHER_FILES = {
    "peft_type": "an adapter's config; the model that it was trained on has the rotary embedding",
    "n_heads": "a params.json, whose words are Mistral's or Meta's own",
    "weight_map": "an index of weights",
    "tokenizer_class": "a tokenizer's config",
    "do_sample": "a generation_config.json",
    "ropeconfig": "koboldcpp's settings; the GGUF that they name has the rotary embedding",
    "load_params": "a preset of LM Studio; the GGUF that it is used with has the rotary embedding",
    "operation": "a preset of LM Studio; the GGUF that it is used with has the rotary embedding",
    "max_model_len": "a file of vLLM's arguments; the model that it names has the rotary embedding",
    "model_name_or_path": "a trainer's settings; the model that they name has the rotary embedding",
    "pretrained_config": "a TensorRT-LLM engine's config",
    "rotary_percent": "a config of Megatron-LM or NeMo, whose words are its own",
    "rotary_base": "a TensorRT-LLM checkpoint's config, whose words are its own",
    "rope_scaling_factor": "gpt-oss's own config, whose words are its own",
    "rope_factor": "the config of DeepSeek's own program, whose words are its own",
}


def _check_file(config: Mapping[str, Any], kind: str) -> None:
    """BadConfig for JSON that is no config.json of transformers, whose words would be read as none."""
    inner = config.get("model_config")
    if isinstance(inner, Mapping) and any(key in inner or key in config for key in ("context_window_size", "hidden_size")):
        raise BadConfig(
            "this is an mlc-chat-config.json: its model_config has the sizes, in words of MLC's own.\n"
            "  Give the config.json of the model that it was compiled from."
        )
    what = next((OTHER_FILES[key] for key in OTHER_FILES if key in config), "")
    if what and not kind and "architectures" not in config:
        raise BadConfig(f"this is no config.json of a model, it is {what}.\n  Give the config.json that transformers reads.")


def check_has_rope(fields: Fields, kind: str) -> None:
    """NoRope for a model that does not rotate, and where nothing says that it does."""
    _check_file(fields.config, kind)
    if kind == "mpt" and fields.part("attn_config").config.get("rope"):
        raise NoRope(
            "attn_config.rope is true, which llm-foundry's code reads and transformers' mpt does not (it has ALiBi alone): no "
            "plan is made for that."
        )
    if kind in known.WITHOUT_ROPE:
        raise NoRope(f"{kind} has no rotary embedding: it uses {known.WITHOUT_ROPE[kind]}. There is nothing to stretch.")
    if kind == "falcon" and fields.yes("alibi"):
        raise NoRope("this falcon model uses ALiBi (alibi: true), not a rotary embedding. There is nothing to stretch.")
    key, needed = known.ROTATES_IF.get(kind, ("", None))
    if key and (said := fields.config.get(key)) != needed:
        raise NoRope(
            f"this {kind} model has no rotary embedding: {fields.where(key)} is {json.dumps(said)}, and it rotates only where "
            f"that is {json.dumps(needed)}. There is nothing to stretch."
        )
    names = ("rope_parameters", *V4_KEYS, "rope_embedding_base", "rotary_dim", "rotary_pct")
    if kind == "baichuan" and fields.whole("hidden_size") == 5120:
        raise NoRope(
            "this baichuan model, of 13 billion parameters, uses ALiBi, not a rotary embedding. There is nothing to stretch."
        )
    if kind == "chatglm" and fields.yes("position_encoding_2d"):
        raise NoRope(
            "this chatglm model, ChatGLM-6B, rotates the halves of a head by two kinds of positions (position_encoding_2d): "
            "no plan is made for that."
        )
    if class_of(kind) is None and kind not in known.FIXED_IN_CODE and not any(name in fields for name in names):
        raise NoRope(
            f"no rotary embedding found: the config of {kind or 'this model'} has none of {', '.join(names)}.\n"
            f"  {_way_out(fields.config, names)}"
        )


def _way_out(config: Mapping[str, Any], names: Sequence[str]) -> str:
    """Where they stand in a part that is not known, that part may be a model's: whether its program reads it there, is not."""
    inside = [key for key, part in config.items() if isinstance(part, Mapping) and any(name in part for name in names)]
    if inside:
        return (
            f"They stand in {inside[0]!r}, a part that is not known here. Give that part as a config.json of its own\n"
            "  (some models keep it in a folder beside this file), and see that your program reads what is written there."
        )
    return "If the model does rotate, with a base fixed in its code, add rope_theta to the config."
