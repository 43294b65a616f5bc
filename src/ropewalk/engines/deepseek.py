"""DeepSeek's own inference config (ModelArgs of inference/model.py). Read at DeepSeek-V3 9b4e978.

The rotation is pure, its temperature multiplies the softmax on all channels, and yarn exists only where
max_seq_len > original_seq_len: the length of the deployment decides.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import LENGTH, Keys
from ropewalk.engines.own_files import is_ramped, needed, needed_whole, only_stretch, options, prove
from ropewalk.engines.quirks import plain
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import CannotExpress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS

AT = "DeepSeek-V3 9b4e978, inference/model.py"


def read(data: Mapping[str, Any]) -> tuple[Keys, ...]:
    fields = Fields(data)
    original = needed_whole(fields, "original_seq_len")
    rope = Rope(needed_whole(fields, "qk_rope_head_dim"), needed(fields, "rope_theta"), original)
    said = {
        "rope_type": "yarn", "factor": needed(fields, "rope_factor"), LENGTH: original, "attention_factor": 1.0,
        "beta_fast": fields.number("beta_fast") or 32.0, "beta_slow": fields.number("beta_slow") or 1.0,
        "mscale_all_dim": fields.number("mscale") or 0.0,
    }  # fmt: skip
    model = {"max_position_embeddings": needed_whole(fields, "max_seq_len"), "qk_rope_head_dim": rope.rotary_dim}
    return (Keys(ALL_LAYERS, said, rope, model, "ModelArgs"),)


def _off(keys: Keys) -> Says | None:
    if keys.longest > keys.rope.original_length:
        return None
    return Says(f"yarn altogether, since max_seq_len {keys.longest:,} is within original_seq_len", plain(keys))


QUIRKS = (Quirk(Verb.IGNORES, _off, f"{AT}:367", way_out="Set max_seq_len above original_seq_len, even for short inputs."),)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    stretch = only_stretch(plan, "DeepSeek's code")
    if not is_ramped(stretch):
        raise CannotExpress(f"DeepSeek's code computes yarn alone; it has no setting for {stretch.name}.")
    m, (fast, slow, _) = stretch.scaled().attention_factor, options(stretch)
    if abs(m - 1) > 1e-12:
        raise CannotExpress(
            f"DeepSeek's code scales the softmax of every channel, not cos and sin: logits x{m * m:.4g} of rotated channels\n"
            "  alone cannot be said. ntk_by_parts, whose attention factor is 1, can, and so can yarn with\n"
            "  attention_factor 1 and softmax_mscale."
        )
    new = {
        "qk_rope_head_dim": stretch.rope.rotary_dim, "rope_theta": stretch.rope.rope_theta, "rope_factor": stretch.factor,
        "original_seq_len": stretch.rope.original_length, "max_seq_len": plan.target_length, "beta_fast": fast,
        "beta_slow": slow, "mscale": float(dict(stretch.options).get("softmax_mscale", 0.0)),  # type: ignore[arg-type]
    }  # fmt: skip
    prove(ENGINE, plan, new, version)
    return Written({"config.json": new}, (), "ModelArgs")


ENGINE = register(Engine("deepseek", "DeepSeek's code", "9b4e978", "ModelArgs", QUIRKS, write, read))
