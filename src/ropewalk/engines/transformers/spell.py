"""What one stretch is called in the rope dict of transformers: a method's own words, or longrope's lists.

Read at transformers 5.23.0 (modeling_rope_utils.py) and 4.57.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.errors import CannotExpress
from ropewalk.scaling.method import Option
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.schedule import REQUEST, Dynamic
from ropewalk.scaling.stretch import Stretch


def spell(stretch: Stretch, *, nested: bool = False, kind: str = "") -> dict[str, Any]:
    """`rope_parameters` for one stretch, or CannotExpress.

    nested: inside a per-layer-type dict, where transformers 5.23 does not see `truncate`.
    kind: the model type; Phi-3's config class accepts nothing but longrope.
    """
    rope, options = stretch.rope, dict(stretch.options)
    base = {"rope_theta": float(rope.rope_theta)}
    if stretch.near:
        stretch.scaled()  # says why no config can
    if stretch.dynamic:
        if stretch.method != "ntk" or stretch.dynamic != Dynamic(REQUEST):
            raise CannotExpress(
                f"no config can say {stretch.name}: transformers has dynamic-request alone, one dynamic rule, over ntk.\n"
                "  Attach the plan to a live model, or write a static factor for the lengths you serve."
            )
        if kind in known.LONGROPE_ONLY:
            raise CannotExpress(f"no config can say dynamic for {kind}: its config class accepts nothing but longrope.")
        return {"rope_type": "dynamic", "factor": 1.0, **base}
    original = {"original_max_position_embeddings": rope.original_length}
    if stretch.method == "none" or (stretch.factor == 1 and stretch.method in ("linear", "ntk", "ntk_by_parts")):
        return {"rope_type": "default", **base}
    if stretch.method == "ntk":
        return {"rope_type": "default", "rope_theta": stretched_theta(rope, stretch.factor)}
    if stretch.method == "rope_theta":
        return {"rope_type": "default", "rope_theta": float(options["rope_theta"])}  # type: ignore[arg-type]
    if kind in known.LONGROPE_ONLY:
        m = stretch.scaled().attention_factor  # Phi-3.5-MoE's class wants it under these names
        own = {"short_mscale": m, "long_mscale": m} if kind == "phimoe" else {}
        return {**_as_longrope(stretch), **base, **original, **own}
    if stretch.method == "linear":
        return {"rope_type": "linear", "factor": float(stretch.factor), **base}
    if stretch.method == "proportional":
        share = float(options.get("proportion", 1.0))  # type: ignore[arg-type]
        return {"rope_type": "proportional", "factor": float(stretch.factor), "partial_rotary_factor": share, **base}
    if stretch.method in ("yarn", "ntk_by_parts", "llama3"):
        named = _as_named(stretch, options, nested)
        if named:
            return {**named, **base, **original}
    return {**_as_longrope(stretch), **base, **original}


def spell_as_lists(stretch: Stretch, *, nested: bool = False, kind: str = "") -> dict[str, Any]:
    """longrope keys for any static stretch, with m under both of the names that engines read it by."""
    if not stretch.is_one_table:
        raise CannotExpress(f"longrope's lists are static and for every distance, and {stretch.name} is not.")
    m = stretch.scaled().attention_factor
    base = {"rope_theta": float(stretch.rope.rope_theta), "original_max_position_embeddings": stretch.rope.original_length}
    return {**_as_longrope(stretch), **base, "short_mscale": m, "long_mscale": m}


def _as_named(stretch: Stretch, options: Mapping[str, Option], nested: bool) -> dict[str, Any] | None:
    """yarn or llama3 keys, where transformers computes exactly this stretch from them."""
    if options.get("beta_growth"):
        return None
    m = stretch.scaled().attention_factor
    default_fast = 4.0 if stretch.method == "llama3" else 32.0
    fast, slow = float(options.get("beta_fast", default_fast)), float(options.get("beta_slow", 1.0))  # type: ignore[arg-type]
    if stretch.method == "llama3" or options.get("ramp") == "turns":
        if m != 1 or options.get("softmax_mscale") or fast == slow:  # transformers divides by fast - slow
            return None
        return {"rope_type": "llama3", "factor": float(stretch.factor), "low_freq_factor": slow, "high_freq_factor": fast}
    truncate = options.get("truncate", True)
    if nested and not truncate:
        return None
    temperature: dict[str, Any] = {"attention_factor": m}
    if softmax := options.get("softmax_mscale"):  # as published where m is 1: every engine reads these two, not all read m
        temperature = {"mscale": softmax} if m == 1 else temperature
        temperature["mscale_all_dim"] = softmax
    spelled = {"rope_type": "yarn", "factor": float(stretch.factor), **temperature}
    return {**spelled, "beta_fast": fast, "beta_slow": slow, "truncate": truncate}


def _as_longrope(stretch: Stretch) -> dict[str, Any]:
    """The universal carrier: every pair's own factor, and m. Short and long lists are the same unless the plan's are."""
    scaled, rope = stretch.scaled(), stretch.rope
    if not all(scaled.inv_freq):
        raise CannotExpress(f"{stretch.name} stops some pairs altogether, which longrope's factors cannot say.")
    if dict(stretch.options).get("softmax_mscale"):
        raise CannotExpress(
            f"{stretch.name} with softmax_mscale scales the softmax too, which longrope's lists cannot say.\n"
            "  yarn's own keys can, without beta_growth and with ramp index."
        )
    long = [theta / new for theta, new in zip(rope.inv_freq, scaled.inv_freq, strict=True)]
    short, options = long, dict(stretch.options)
    if stretch.method == "longrope":
        given, own = options.get("short_factor"), options.get("long_factor")
        short = list(given) if isinstance(given, tuple) else [1.0] * len(long)
        if isinstance(own, tuple) and stretch.factor > 1 and "scales" not in options:
            long = list(own)  # as they were searched, and not as a quotient of theirs
    return {
        "rope_type": "longrope",
        "factor": float(stretch.factor),
        "attention_factor": scaled.attention_factor,
        "long_factor": long,
        "short_factor": short,
    }
