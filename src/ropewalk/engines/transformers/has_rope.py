"""Which models have a rotary embedding at all."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import NoRope

V4_KEYS = ("rope_scaling", "rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta", "rotary_emb_base")


def check_has_rope(fields: Fields, kind: str) -> None:
    """NoRope for a model that does not rotate, and where nothing says that it does."""
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
