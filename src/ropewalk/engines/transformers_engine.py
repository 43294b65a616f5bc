"""transformers as an engine: where versions 4 and 5 compute something else than what their own keys say.

Run at 5.23.0; version 4 is in engines/transformers_earlier.py, and reading and writing the keys in engines/transformers/.
"""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import CONFIG, RAMPED, Keys, absolute_factor
from ropewalk.engines.longrope import is_longrope, old_name, phimoe_mscale
from ropewalk.engines.quirks import (
    INSIDE,
    NOT_NULL,
    WRITE_BANDS,
    WRITE_FACTOR,
    drops,
    missing_length,
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
from ropewalk.engines.transformers_earlier import EARLIER, READS_LENGTH, REPOSITORY, SHORT_LISTS
from ropewalk.scaling.methods.ntk import stretched_theta
from ropewalk.scaling.plan import ScalingPlan

ROPE_UTILS = "transformers 5.23.0, modeling_rope_utils.py"


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
    if not is_longrope(keys) or keys.kind in LONGROPE_ONLY or not differ:
        return None
    return Says("longrope: keys cached with short_factor are read with long_factor")


def _short_only(keys: Keys) -> Says | None:
    if keys.kind != "phimoe" or not is_longrope(keys):
        return None
    return Says("long_factor", keys.but(long_factor=keys.said.get("short_factor")))


def _unread_mscale(keys: Keys) -> Says | None:
    return None if keys.kind == "phimoe" else drops("short_mscale", "long_mscale", rope_type="longrope")(keys)


def _inner_base(keys: Keys) -> Says | None:
    """DBRX's base as published is in its attn_config; a rope dict or rope_theta beside it is read."""
    inner = keys.model.get("attn_config")
    beside = any(keys.model.get(name) for name in ("rope_theta", "rope_parameters"))
    if keys.kind != "dbrx" or not isinstance(inner, Mapping) or not inner.get("rope_theta") or beside:
        return None
    return Says("attn_config.rope_theta", keys.with_theta(known.DEFAULT_THETA["dbrx"]))


def _one_type(keys: Keys) -> Says | None:
    if keys.kind != "ernie4_5_vl_moe_text" or keys.rope_type == "default":
        return None
    return Says(f'rope_type "{keys.rope_type}" of Ernie 4.5 VL, which takes none (ValueError)', runs=False)


QUIRKS = (
    Quirk(Verb.IGNORES, _inner_base, "transformers 5.23.0, dbrx/modeling_dbrx.py:72", ">= 5",
          "Write it as rope_theta at the top of the config too."),
    Quirk(Verb.IGNORES, outside, "transformers 5.23.0: a model is built from its text_config", way_out=INSIDE),
    Quirk(Verb.CRASHES, null_theta, "transformers 5.23.0, configuration_utils.py:724", ">= 5", NOT_NULL),
    Quirk(Verb.IGNORES, nomic, "transformers 5.23.0, nomic_bert/configuration_nomic_bert.py", ">= 5",
          'Write rope_parameters: {"rope_type": "dynamic", "factor": ...}, and max_position_embeddings as trained.'),
    Quirk(Verb.REPLACES, _no_theta, "https://github.com/unslothai/unsloth/pull/7028", ">= 5", "Write rope_theta."),
    Quirk(Verb.CRASHES, no_factor, f"{ROPE_UTILS}, validate_rope", way_out=WRITE_FACTOR),
    Quirk(Verb.CRASHES, no_bands, f"{ROPE_UTILS}, validate_rope", way_out=WRITE_BANDS),
    Quirk(Verb.IGNORES, _flat, f"{REPOSITORY}/pull/45945", ">= 5", 'Put the dict under "full_attention".'),
    Quirk(Verb.IGNORES, _nested_truncate, f"{ROPE_UTILS}:475", ">= 5", "Write longrope factors instead."),
    Quirk(Verb.IGNORES, _dual_chunk, "transformers 5.23.0, models/qwen2: no such attention",
          way_out="Stretch it with yarn from the original length, or serve it with an engine that has dual chunk attention."),
    Quirk(Verb.CRASHES, _own_code, "modeling_*.py beside the weights, _init_rope",
          way_out="Write a type that it takes, or serve it with an engine that has its own code."),
    Quirk(Verb.CRASHES, phimoe_mscale("TypeError"), "transformers 4.57.3, phimoe/configuration_phimoe.py",
          way_out="Write both: m."),
    *EARLIER,
    Quirk(Verb.CRASHES, _one_type, "transformers 5.23.0, ernie4_5_vl_moe/modeling_ernie4_5_vl_moe.py", ">= 5",
          "Stretch by the base alone: ntk."),
    Quirk(Verb.CRASHES, _longrope_only, f"{ROPE_UTILS}; phi3/configuration_phi3.py"),
    Quirk(Verb.CRASHES, old_name("KeyError when the model is built"), ROPE_UTILS, way_out="Write longrope."),
    Quirk(Verb.CRASHES, stops("ntk", because="KeyError when the model is built"), ROPE_UTILS,
          way_out="Write a larger rope_theta."),
    Quirk(Verb.REPLACES, missing_length(lambda keys: keys.longest, *RAMPED), f"{ROPE_UTILS}:836",
          way_out="Write original_max_position_embeddings."),
    Quirk(Verb.IGNORES, temperature(absolute_factor, "attention_factor", "mscale", "mscale_all_dim"), f"{ROPE_UTILS}:436",
          f">= {READS_LENGTH}", "Write attention_factor, the absolute value."),
    Quirk(Verb.DRIFTS, _stateful, f"{REPOSITORY}/issues/25104", way_out="Use a static factor, or attach a dynamic plan."),
    Quirk(Verb.REPLACES, _own_dynamic, f"{ROPE_UTILS}:341", way_out="Write factor 1."),
    Quirk(Verb.IGNORES, _unread_mscale, f"{ROPE_UTILS}, _compute_longrope_parameters", way_out="Write attention_factor."),
    Quirk(Verb.DRIFTS, _mixed_cache, f"{REPOSITORY}/issues/25104", f">= {SHORT_LISTS}"),
    Quirk(Verb.IGNORES, _short_only, "transformers 5.23.0, phimoe/modeling_phimoe.py", ">= 5"),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f'python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained({folder!r})"',)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(
    Engine("transformers", "transformers", "5.23", "config.json", QUIRKS, write, commands=commands, oldest="4.45")
)
