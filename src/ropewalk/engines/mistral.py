"""Mistral's params.json, which vLLM and SGLang read. Its `yarn` object: factor, original length, beta, alpha, apply_scale.

apply_scale false, as in every published file that was seen, leaves the attention factor at 1: ntk_by_parts.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.engine import Engine, Written, register
from ropewalk.engines.keys import LENGTH, Keys, mscale
from ropewalk.engines.own_files import is_ramped, needed, needed_whole, only_stretch, options, prove
from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ALL_LAYERS

META = ("use_scaled_rope", "ffn_dim_multiplier", "multiple_of")  # keys of Llama's params.json that Mistral's never had
DEFAULT_LENGTH = 128_000  # of vLLM and SGLang, where params.json does not say


def read(data: Mapping[str, Any]) -> tuple[Keys, ...]:
    fields = Fields(data)
    if found := next((key for key in META if key in data), None):
        raise BadConfig(
            f"this params.json has {found}: it is Meta's, for Llama's own code, which stretches where use_scaled_rope is "
            "true.\n  vLLM reads Mistral's alone. Take the config.json of the same model, often one folder up."
        )
    head = fields.whole("qk_rope_head_dim") or fields.whole("head_dim")
    if head is None:
        head = needed_whole(fields, "dim") // (needed_whole(fields, "n_heads") or 1)
    longest = fields.whole("max_position_embeddings") or fields.whole("max_seq_len") or DEFAULT_LENGTH
    yarn, original = fields.part("yarn"), longest
    said: dict[str, Any] = {"rope_type": "default"}
    if yarn.config:
        unknown = set(yarn.config) - {"factor", LENGTH, "beta", "alpha", "apply_scale"}
        if unknown:
            raise BadConfig(f"yarn.{sorted(unknown)[0]} is not a key that readers of params.json know.")
        original, factor = needed_whole(yarn, LENGTH), needed(yarn, "factor")
        said = {
            "rope_type": "yarn", "factor": factor, LENGTH: original, "beta_fast": yarn.number("beta") or 32.0,
            "beta_slow": yarn.number("alpha") or 1.0,
            "attention_factor": mscale(factor) if yarn.yes("apply_scale", default=True) else 1.0,
        }  # fmt: skip
    rope = Rope(head, fields.number("rope_theta") or 10_000.0, original)
    return (Keys(ALL_LAYERS, said, rope, {"max_position_embeddings": longest}, "params.json"),)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    stretch = only_stretch(plan, "params.json")
    rope, m = stretch.rope, stretch.scaled().attention_factor
    new: dict[str, Any] = {
        "head_dim": rope.rotary_dim,
        "rope_theta": rope.rope_theta,
        "max_position_embeddings": plan.target_length,
    }
    if stretch.method == "ntk":
        new["rope_theta"] = stretched_theta(rope, stretch.factor)
    elif stretch.method == "rope_theta":
        new["rope_theta"] = dict(stretch.options)["rope_theta"]
    elif is_ramped(stretch):
        fast, slow, _ = options(stretch)
        new["yarn"] = {
            "factor": stretch.factor,
            LENGTH: rope.original_length,
            "beta": fast,
            "alpha": slow,
            "apply_scale": m != 1,
        }
    elif stretch.method != "none":
        raise CannotExpress(f"params.json knows a base and yarn; it has no key for {stretch.name}.")
    prove(ENGINE, plan, new, version)
    return Written({"params.json": new}, (), "params.json")


ENGINE = register(Engine("mistral", "params.json", "as vLLM reads it", "params.json", (), write, read))
