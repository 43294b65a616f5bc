"""Megatron-LM, and NeMo, whose model configs have the same names. Read at d98e8a6 (August 2026)."""

import math
from collections.abc import Mapping
from typing import Any

from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import LENGTH, Keys, deepseek_ratio, mscale
from ropewalk.engines.own_files import is_ramped, needed, needed_whole, only_stretch, options, prove
from ropewalk.engines.quirks import missing_length, temperature
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS
from ropewalk.scaling.stretch import Stretch

AT = "Megatron-LM d98e8a6"
PRESET_LENGTH = 131_072  # of the gpt-oss preset, whose model was trained at 4,096
# The bands of Llama 3.1, which are in the code; only the factor is a setting.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, LENGTH: 8192}


def read(data: Mapping[str, Any]) -> tuple[Keys, ...]:
    """A TransformerConfig as a dict (its own names)."""
    fields = Fields(data)
    channels = needed_whole(fields, "kv_channels")
    share = fields.number("rotary_percent")
    if share is not None and not 0 < share <= 1:
        raise BadConfig(f"rotary_percent is {share:g}; the rotated share of a head must be above 0 and at most 1.")
    rotated = channels if share is None else int(channels * share)
    longest = needed_whole(fields, "max_position_embeddings")
    kind = fields.text("position_embedding_type") or "rope"
    length = fields.whole("yarn_original_max_position_embeddings")
    said: dict[str, Any] = {"rope_type": "default"}
    if kind == "yarn":
        names = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow", "yarn_mscale": "mscale",
                 "yarn_mscale_all_dim": "mscale_all_dim"}  # fmt: skip
        said = {"rope_type": "yarn", "factor": needed(fields, "yarn_rotary_scaling_factor")}
        said |= {ours: value for theirs, ours in names.items() if (value := fields.number(theirs)) is not None}
        said["truncate"] = fields.yes("yarn_correction_range_round_to_int", default=True)
        if length:
            said[LENGTH] = length
    elif fields.yes("use_rope_scaling"):
        said, length = {"rope_type": "llama3", "factor": fields.number("rope_scaling_factor") or 8.0, **LLAMA3}, 8192
    elif factor := fields.number("seq_len_interpolation_factor"):
        said = {"rope_type": "linear", "factor": factor}
    rope = Rope(rotated, fields.number("rotary_base") or 10_000.0, length or longest)
    model = {"max_position_embeddings": longest, "kv_channels": channels, "rotary_percent": share}
    return (Keys(ALL_LAYERS, said, rope, model, "TransformerConfig"),)


def _whole_head(keys: Keys) -> Says | None:
    channels = keys.model.get("kv_channels")
    if keys.rope_type != "yarn" or not channels or channels == keys.rope.rotary_dim:
        return None
    rope = Rope(channels, keys.rope.rope_theta, keys.rope.original_length)
    return Says(f"rotary_percent: yarn rotates all {channels} channels", keys.but(rope))


QUIRKS = (
    Quirk(Verb.REPLACES, missing_length(lambda keys: PRESET_LENGTH, "yarn"),
          "https://github.com/NVIDIA/Megatron-LM/issues/1418; post_training/model_builder.py:305",
          way_out="Set yarn_original_max_position_embeddings."),
    Quirk(Verb.IGNORES, _whole_head, f"{AT}, yarn_rotary_pos_embedding.py:66"),
    Quirk(Verb.IGNORES, temperature(deepseek_ratio, "mscale", "mscale_all_dim"), f"{AT}, yarn_rotary_pos_embedding.py"),
)  # fmt: skip


def settings(stretch: Stretch, channels: int, target: int) -> dict[str, Any]:
    """TransformerConfig fields of a static stretch."""
    rope, s, m = stretch.rope, stretch.factor, stretch.scaled().attention_factor
    base: dict[str, Any] = {"kv_channels": channels, "max_position_embeddings": target, "rotary_base": rope.rope_theta,
                            "rotary_percent": rope.rotary_dim / channels, "position_embedding_type": "rope"}  # fmt: skip
    if stretch.method == "none" or s == 1:
        return base
    if stretch.method in ("ntk", "rope_theta"):
        theta = stretched_theta(rope, s) if stretch.method == "ntk" else dict(stretch.options)["rope_theta"]
        return {**base, "rotary_base": theta}
    if stretch.method == "linear":
        return {**base, "seq_len_interpolation_factor": s}
    if stretch.method == "llama3" and not stretch.options and rope.original_length == 8192:
        return {**base, "use_rope_scaling": True, "rope_scaling_factor": s}
    if not is_ramped(stretch):
        raise CannotExpress(f"Megatron has no setting for {stretch.name}: its llama3 bands are fixed and it reads no lists.")
    fast, slow, truncate = options(stretch)
    slope = (m * mscale(s) - 1) / (0.1 * math.log(s))
    return {
        **base, "position_embedding_type": "yarn", "yarn_rotary_scaling_factor": s,
        "yarn_original_max_position_embeddings": rope.original_length, "yarn_beta_fast": fast, "yarn_beta_slow": slow,
        "yarn_mscale": slope, "yarn_mscale_all_dim": 1.0, "yarn_correction_range_round_to_int": truncate,
    }  # fmt: skip


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    stretch = only_stretch(plan, "Megatron")
    text = text_of(config)
    heads = text.get("num_attention_heads")
    channels = text.get("head_dim") or (text["hidden_size"] // heads if heads else stretch.rope.rotary_dim)
    new = settings(stretch, channels, plan.target_length)
    prove(ENGINE, plan, new, version)
    return Written({"transformer_config.json": new}, (), "TransformerConfig")


ENGINE = register(Engine("megatron", "Megatron", "d98e8a6", "TransformerConfig", QUIRKS, write, read))
