"""transformers as an engine: where versions 4 and 5 compute something else than what their own keys say.

Run at 5.23.0 and read at 4.57; reading and writing the keys themselves: engines/transformers/write.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import CONFIG, LENGTH, RAMPED, Keys, absolute_factor, mscale
from ropewalk.engines.quirks import (
    INSIDE,
    NOT_NULL,
    WRITE_BANDS,
    WRITE_FACTOR,
    drops,
    long_lists_always,
    longrope_formula,
    missing_length,
    new_spelling,
    no_bands,
    no_factor,
    nomic,
    null_theta,
    outside,
    plain,
    stops,
    temperature,
    unread,
    unrolled,
)
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of
from ropewalk.engines.transformers.has_rope import V4_KEYS
from ropewalk.engines.transformers.known import LONGROPE_ONLY
from ropewalk.engines.transformers.own_code import refused_type
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import ScalingPlan

REPOSITORY = "https://github.com/huggingface/transformers"
# Dated in modeling_rope_utils.py of 15 releases, 4.43 to 4.57; six were run. Not looked at: which classes scaled before 4.56.
READS_LENGTH, TRUNCATE, FACTOR_FIX = "4.51", "4.55", "4.56"
# longrope's lists: the long one at every length, then the short one, then by the length of what is read, here from 4.51 on.
SHORT_LISTS, BY_LENGTH = "4.48", "4.51"
THREE_FIELDS = frozenset({"phi3", "phi4_multimodal"})
ROPE_UTILS, OLD_ROPE_UTILS = (f"transformers {version}, modeling_rope_utils.py" for version in ("5.23.0", "4.50.0"))


def _no_theta(keys: Keys) -> Says | None:
    part = keys.model.get("rope_parameters")
    stated = "rope_theta" in keys.said or any(
        name in keys.model for name in V4_KEYS if name.endswith(("theta", "base", "freq"))
    )
    if keys.text != CONFIG or not isinstance(part, dict) or keys.rope_type == "default" or keys.nested or stated:
        return None
    return Says(f"rope_parameters without rope_theta: the class's own {keys.rope.rope_theta:g} is taken")


def _flat(keys: Keys) -> Says | None:
    if not unrolled(keys):
        return None
    row = class_of(keys.kind)
    if row and row.states_theta:
        return Says(f"flat rope_parameters: {keys.kind} has one dict per layer type (KeyError)", runs=False)
    return Says(f"flat rope_parameters: {keys.kind} has one dict per layer type", unread(keys))


def _own_length(keys: Keys) -> Says | None:
    """yarn's ramp was placed for max_position_embeddings, and the original length was checked and not used."""
    if keys.rope_type != "yarn" or not keys.states_length or keys.longest == keys.rope.original_length:
        return None
    what = f"original_max_position_embeddings of yarn: its ramp is placed for {keys.longest:,} tokens"
    return Says(what, keys.but(factor=keys.factor).with_length(keys.longest))


def _stated_or_own(keys: Keys) -> float:
    stated = keys.said.get("attention_factor")
    return mscale(keys.factor) if stated is None else float(stated)


def _nested_truncate(keys: Keys) -> Says | None:
    of_one_type = keys.nested or keys.kind in known.PER_LAYER_TYPE  # a flat rope_scaling is put into such a dict
    if not of_one_type or keys.rope_type != "yarn" or keys.said.get("truncate") is not False:
        return None
    return Says("truncate: false inside a layer type's dict", keys.but(truncate=None))


def _longrope_only(keys: Keys) -> Says | None:
    if keys.kind not in LONGROPE_ONLY or keys.rope_type in ("default", "longrope", "su"):
        return None
    return Says(f'rope_type "{keys.rope_type}" of {keys.kind}: its config class accepts nothing but longrope', runs=False)


def _dual_chunk(keys: Keys) -> Says | None:
    if not isinstance(keys.model.get("dual_chunk_attention_config"), Mapping):
        return None
    L = keys.rope.original_length
    return Says(f"dual_chunk_attention_config: tokens beyond {L:,} are read without it, as no training did")


def _own_code(keys: Keys) -> Says | None:
    wrong = refused_type(keys.kind, keys.rope_type)
    return Says(wrong, runs=False) if wrong else None


def _own_dynamic(keys: Keys) -> Says | None:
    """s = f l / L - (f - 1) at the target length."""
    if keys.rope_type != "dynamic" or keys.said.get("alpha") or keys.factor == 1:
        return None
    length = max(keys.target, 2 * keys.rope.original_length)
    ratio = length / keys.rope.original_length
    s = keys.factor * ratio - (keys.factor - 1)
    what = f"dynamic's factor {keys.factor:g} (s is {s:g} at {length:,} tokens, where l / L is {ratio:g})"
    return Says(what, plain(keys).with_theta(stretched_theta(keys.rope, s)))


def _stateful(keys: Keys) -> Says | None:
    return Says('rope_type "dynamic"') if keys.rope_type == "dynamic" and not keys.said.get("alpha") else None


def _mixed_cache(keys: Keys) -> Says | None:
    differ = keys.said.get("long_factor") != keys.said.get("short_factor")
    if keys.rope_type not in ("longrope", "su") or keys.kind in LONGROPE_ONLY or not differ:
        return None
    return Says("longrope: keys cached with short_factor are read with long_factor")


def _short_only(keys: Keys) -> Says | None:
    if keys.kind != "phimoe" or keys.rope_type not in ("longrope", "su"):
        return None
    return Says("long_factor", keys.but(long_factor=keys.said.get("short_factor")))


def _is_longrope(keys: Keys) -> bool:
    return keys.rope_type in ("longrope", "su")


def _three_fields(keys: Keys) -> Says | None:
    """Version 4's config classes of Phi-3 and Phi-4 multimodal count the fields of rope_scaling."""
    old = keys.model.get("rope_scaling")
    if keys.kind not in THREE_FIELDS or not _is_longrope(keys) or not isinstance(old, Mapping):
        return None
    if len(old) == 3 and "type" in old:
        return None
    return Says("rope_scaling of any other keys than type, short_factor and long_factor (ValueError)", runs=False)


def _needs_mscale(keys: Keys) -> Says | None:
    missing = [name for name in ("short_mscale", "long_mscale") if name not in keys.said]
    if keys.kind != "phimoe" or not _is_longrope(keys) or not missing:
        return None
    return Says(f"longrope of phimoe without {' and '.join(missing)} (TypeError)", runs=False)


def _su(keys: Keys) -> Says | None:
    if keys.rope_type != "su" or keys.kind in LONGROPE_ONLY:
        return None
    return Says('rope_type "su" (KeyError when the model is built)', runs=False)


def _unstated_length(*instead: str) -> Callable[[Keys], Says | None]:
    """Version 4 takes longrope's factor from two lengths at the top of the config, or else from `instead`."""

    def effect(keys: Keys) -> Says | None:
        if not _is_longrope(keys) or keys.model.get(LENGTH) or any(name in keys.said for name in instead):
            return None
        return Says(f"longrope without factor, and without {LENGTH} at the top of the config (TypeError)", runs=False)

    return effect


def _length_inside(lists: str) -> Callable[[Keys], Says | None]:
    """Version 4 looks for longrope's original length at the top of the config alone: all of M is short to it."""

    def effect(keys: Keys) -> Says | None:
        if not _is_longrope(keys) or keys.model.get(LENGTH) or not keys.said.get(lists):
            return None
        what = f"{LENGTH} inside rope_scaling: {keys.longest:,} is taken, and {lists} is read up to there"
        return Says(what, keys.but(long_factor=keys.said[lists]).with_length(keys.longest))

    return effect


def _short_lists(keys: Keys) -> Says | None:
    """Its classes asked for no other table than the first, which is that of short_factor; Phi's own did."""
    if not _is_longrope(keys) or keys.kind in LONGROPE_ONLY or not keys.said.get("short_factor"):
        return None
    return Says("long_factor", keys.but(long_factor=keys.said["short_factor"]))


def _long_lists(keys: Keys) -> Says | None:
    return None if keys.kind in LONGROPE_ONLY or keys.longest <= keys.rope.original_length else long_lists_always(keys)


def _unread_mscale(keys: Keys) -> Says | None:
    return None if keys.kind == "phimoe" else drops("short_mscale", "long_mscale", rope_type="longrope")(keys)


def _ratio_wins(keys: Keys) -> Says | None:
    ratio = keys.longest / keys.rope.original_length
    if keys.rope_type != "yarn" or not keys.states_length:
        return None
    what = f"factor: {keys.factor:g}, and takes max / original = {ratio:g}"
    return Says(what, keys.but(factor=ratio) if ratio >= 1 else None)


def _inner_base(keys: Keys) -> Says | None:
    """DBRX's base as published is in its attn_config; a rope dict or rope_theta beside it is read."""
    inner = keys.model.get("attn_config")
    beside = any(keys.model.get(name) for name in ("rope_theta", "rope_parameters"))
    if keys.kind != "dbrx" or not isinstance(inner, Mapping) or not inner.get("rope_theta") or beside:
        return None
    return Says("attn_config.rope_theta", keys.with_theta(known.DEFAULT_THETA["dbrx"]))


AT_THE_TOP = f"Write {LENGTH} at the top of the config too."
QUIRKS = (
    Quirk(Verb.IGNORES, _inner_base, "transformers 5.23.0, dbrx/modeling_dbrx.py:72", ">= 5",
          "Write it as rope_theta at the top of the config too."),
    Quirk(Verb.IGNORES, outside, "transformers 5.23.0: a model is built from its text_config", way_out=INSIDE),
    Quirk(Verb.CRASHES, null_theta, "transformers 5.23.0, configuration_utils.py:724", ">= 5", NOT_NULL),
    Quirk(Verb.IGNORES, nomic, "transformers 5.23.0, nomic_bert/configuration_nomic_bert.py", ">= 5",
          'Write rope_parameters: {"rope_type": "dynamic", "factor": ...}, and max_position_embeddings as trained.'),
    Quirk(Verb.REPLACES, _no_theta, "https://github.com/unslothai/unsloth/pull/7028", ">= 5", "Write rope_theta."),
    Quirk(Verb.IGNORES, new_spelling, "transformers 4.57, configuration_utils.py", "< 5",
          "Write rope_scaling and rope_theta beside rope_parameters."),
    Quirk(Verb.CRASHES, no_factor, f"{ROPE_UTILS}, validate_rope", way_out=WRITE_FACTOR),
    Quirk(Verb.CRASHES, no_bands, f"{ROPE_UTILS}, validate_rope", way_out=WRITE_BANDS),
    Quirk(Verb.IGNORES, _flat, f"{REPOSITORY}/pull/45945", ">= 5", 'Put the dict under "full_attention".'),
    Quirk(Verb.IGNORES, _nested_truncate, f"{ROPE_UTILS}:475", ">= 5", "Write longrope factors instead."),
    Quirk(Verb.IGNORES, _dual_chunk, "transformers 5.23.0, models/qwen2: no such attention",
          way_out="Stretch it with yarn from the original length, or serve it with an engine that has dual chunk attention."),
    Quirk(Verb.CRASHES, _own_code, "modeling_*.py beside the weights, _init_rope",
          way_out="Write a type that it takes, or serve it with an engine that has its own code."),
    Quirk(Verb.CRASHES, _longrope_only, f"{ROPE_UTILS}; phi3/configuration_phi3.py"),
    Quirk(Verb.CRASHES, _three_fields, "transformers 4.57.3, phi3/configuration_phi3.py", "< 5", "Use transformers 5."),
    Quirk(Verb.CRASHES, _needs_mscale, "transformers 4.57.3, phimoe/configuration_phimoe.py", way_out="Write both: m."),
    Quirk(Verb.CRASHES, _su, ROPE_UTILS, way_out="Write longrope."),
    Quirk(Verb.CRASHES, stops("ntk", because="KeyError when the model is built"), ROPE_UTILS,
          way_out="Write a larger rope_theta."),
    Quirk(Verb.REPLACES, missing_length(lambda keys: keys.longest, *RAMPED), f"{ROPE_UTILS}:836",
          way_out="Write original_max_position_embeddings."),
    Quirk(Verb.IGNORES, temperature(_stated_or_own, "attention_factor"), f"{OLD_ROPE_UTILS}:196", f"< {READS_LENGTH}",
          "Write attention_factor, the absolute value."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{OLD_ROPE_UTILS}:212", f"< {TRUNCATE}",
          f"Use {TRUNCATE}, or write longrope factors."),
    Quirk(Verb.IGNORES, _own_length, f"{OLD_ROPE_UTILS}:192", f"< {READS_LENGTH}",
          f"Use {READS_LENGTH}, or write longrope factors."),
    Quirk(Verb.REPLACES, _ratio_wins, f"{REPOSITORY}/issues/38224", f">= {READS_LENGTH}, < {FACTOR_FIX}",
          "Make max_position_embeddings factor x original."),
    Quirk(Verb.IGNORES, temperature(absolute_factor, "attention_factor", "mscale", "mscale_all_dim"), f"{ROPE_UTILS}:436",
          f">= {READS_LENGTH}", "Write attention_factor, the absolute value."),
    Quirk(Verb.DRIFTS, _stateful, f"{REPOSITORY}/issues/25104", way_out="Use a static factor, or attach a dynamic plan."),
    Quirk(Verb.REPLACES, _own_dynamic, f"{ROPE_UTILS}:341", way_out="Write factor 1."),
    Quirk(Verb.IGNORES, _unread_mscale, f"{ROPE_UTILS}, _compute_longrope_parameters", way_out="Write attention_factor."),
    Quirk(Verb.CRASHES, _unstated_length("factor", "attention_factor"), f"{OLD_ROPE_UTILS}, _compute_longrope_parameters",
          "< 5", AT_THE_TOP),
    Quirk(Verb.CRASHES, _unstated_length("factor"), "transformers 4.47.1, modeling_rope_utils.py", f"< {SHORT_LISTS}",
          AT_THE_TOP),
    Quirk(Verb.IGNORES, _length_inside("short_factor"), "transformers 4.57.3, modeling_rope_utils.py:49",
          f">= {SHORT_LISTS}, < 5", AT_THE_TOP),
    Quirk(Verb.IGNORES, _length_inside("long_factor"), "transformers 4.47.1, modeling_rope_utils.py", f"< {SHORT_LISTS}",
          AT_THE_TOP),
    Quirk(Verb.IGNORES, _short_lists, "transformers 4.50.3, llama/modeling_llama.py", f">= {SHORT_LISTS}, < {BY_LENGTH}",
          f"Use {BY_LENGTH}."),
    Quirk(Verb.IGNORES, _long_lists, "transformers 4.47.1, modeling_rope_utils.py", f"< {SHORT_LISTS}"),
    Quirk(Verb.IGNORES, longrope_formula("attention_factor"), "transformers 4.57.3, modeling_rope_utils.py", "< 5",
          "Write attention_factor."),
    Quirk(Verb.DRIFTS, _mixed_cache, f"{REPOSITORY}/issues/25104", f">= {SHORT_LISTS}"),
    Quirk(Verb.IGNORES, _short_only, "transformers 5.23.0, phimoe/modeling_phimoe.py"),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f'python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained({folder!r})"',)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(
    Engine("transformers", "transformers", "5.23", "config.json", QUIRKS, write, commands=commands, oldest="4.56")
)
