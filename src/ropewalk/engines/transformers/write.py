"""config.json of Hugging Face transformers, v4 (`rope_scaling`, `rope_theta`) and v5 (`rope_parameters`, flat or nested).

Read at transformers 5.23.0 (modeling_rope_utils.py) and 4.57. `read` gives a ModelSpec, `write` a config.
"""

import copy
from collections.abc import Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import text_of, text_path
from ropewalk.engines.transformers.class_defaults import class_of, opened, text_fields
from ropewalk.engines.transformers.has_rope import V4_KEYS
from ropewalk.engines.transformers.ignored import OUTSIDE
from ropewalk.engines.transformers.layers import FULL, SLIDING, head_dim
from ropewalk.engines.transformers.own_code import OWN_CODE
from ropewalk.engines.transformers.own_code_write import deepseek_words, write_own
from ropewalk.engines.transformers.read import read
from ropewalk.engines.transformers.rope_dicts import is_nested, rope_parts
from ropewalk.engines.transformers.scaling import ROPE_KEYS
from ropewalk.engines.transformers.spell import spell, spell_as_lists
from ropewalk.errors import BadConfig, CannotExpress, UnknownName
from ropewalk.scaling.method import same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import Stretch

__all__ = ["prove", "read", "write"]

# Keys of the old dict that a new stretch must carry on: they say what is rotated, not how far.
CARRIED_KEYS = (
    "partial_rotary_factor",
    "mrope_section",
    "mrope_interleaved",
    "xdrope_section",
    "llama_4_scaling_beta",
    "interleaved",
)
# Carried where the stretch is the one that was read: engines read m from them.
TEMPERATURE_KEYS = ("mscale", "mscale_all_dim")
EXACT = 1e-9  # relative: JSON holds float64, so what is read back is off by its arithmetic alone


def write(plan: ScalingPlan, config: Mapping[str, Any], *, as_lists: bool = False) -> dict[str, Any]:
    """A copy of `config` that makes stock transformers compute the plan's frequencies.

    Flat configs get both spellings, v5 and v4, with the same values; nested ones v5 alone, since v4 cannot say them, but for
    Gemma 3, whose v4 spelling can.
    as_lists: write longrope factors even where there is a name for the method.
    """
    said = spell_as_lists if as_lists else spell
    new = copy.deepcopy(dict(opened(config)))
    target = text_of(new)
    kind = str(target.get("model_type", ""))
    if kind in known.FIXED_IN_CODE:
        raise CannotExpress(f"{kind} computes its rotation from constants in its code; no config can change it.")
    spec = _as_it_is(config, plan)
    before = copy.deepcopy(target)
    for layer_type, _ in plan.stretches:
        if layer_type not in dict(spec.ropes):
            raise UnknownName("rotary layer type of this config", layer_type, dict(spec.ropes))
    if spec.model_type in OWN_CODE:
        write_own(plan, target, spec.model_type)
        return _finished(plan, new, before)
    current = dict(spec.scaling)
    fields = text_fields(new)
    nested = len(spec.ropes) > 1 or is_nested(fields)
    old = {name: part.config for name, part in rope_parts(fields, spec.model_type).items()}
    is_latent = fields.any(known.LATENT)
    _check_softmax(plan, is_latent)
    dicts = {}
    for layer_type, rope in spec.ropes:
        stretch = plan.stretch(layer_type) or current.get(layer_type) or Stretch(rope)
        keys = CARRIED_KEYS + (TEMPERATURE_KEYS if stretch == current.get(layer_type) else ())
        dicts[layer_type] = {**carried(old[layer_type], keys), **said(stretch, nested=nested, kind=kind)}
        if is_latent and dicts[layer_type]["rope_type"] == "yarn" and stretch.factor > 1:
            dicts[layer_type] |= deepseek_words(stretch)  # DeepSeek's own code, and vLLM's, read no attention_factor
    named_base = "rotary_emb_base" in target  # transformers 4 reads GPT-NeoX's base under this name alone
    for key in V4_KEYS:
        target.pop(key, None)
    if nested:
        others = {name: part for name, part in fields.part("rope_parameters").config.items() if name not in ROPE_KEYS}
        target["rope_parameters"] = {**copy.deepcopy(others), **dicts}
        if kind in known.OLD_LOCAL_BASE and set(dicts) == {FULL, SLIDING}:
            target |= _old_words(dicts, known.OLD_LOCAL_BASE[kind])
    else:
        (flat,) = dicts.values()
        target["rope_parameters"] = flat
        target["rope_theta"] = flat["rope_theta"]
        if named_base:
            target["rotary_emb_base"] = flat["rope_theta"]
        scaling = {key: value for key, value in flat.items() if key != "rope_theta"}
        if {"auto_map"} & {*new, *target} or kind in known.LONGROPE_ONLY:  # its own code, or MLX-LM's, looks for the old word
            scaling = {"type": scaling["rope_type"], **scaling}
        target["rope_scaling"] = None if set(scaling) <= {"type", "rope_type", "partial_rotary_factor"} else scaling
        if "partial_rotary_factor" in flat and flat["rope_type"] != "proportional":
            target["partial_rotary_factor"] = flat["partial_rotary_factor"]  # where transformers 4 looks for it
    # transformers 4 reads longrope's original length here alone, and vLLM serves no more unless told: only where it counts.
    two_lists = not nested and flat.get("long_factor") != flat.get("short_factor")
    if two_lists or "original_max_position_embeddings" in target:
        target["original_max_position_embeddings"] = _any_original(plan)
    # transformers' `dynamic` takes max_position_embeddings for the original length.
    longest = _any_original(plan) if plan.is_dynamic else _window(plan, spec)
    target["max_position_embeddings"] = longest
    for name in known.OTHER_WINDOWS:
        if isinstance(stated := target.get(name), int) and stated < longest:
            target[name] = longest
    row = class_of(spec.model_type)
    if row and row.states_head and target.get("head_dim") is None:
        target["head_dim"] = head_dim(fields)
    _check_others(plan, spec, new)
    return _finished(plan, new, before)


def _finished(plan: ScalingPlan, new: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Proved, and with no word left outside the language model's part that says something else.

    before: that part as it was. A copy of one of its keys follows it; what was never read goes.
    """
    around, text = new, text_of(new)
    for key in text_path(new):
        for name in OUTSIDE:
            if around.get(name) is None:
                continue
            if around[name] == before.get(name) and text.get(name) is not None:
                around[name] = copy.deepcopy(text[name])
            else:
                del around[name]
        around = around[key]
    prove(plan, new)
    return new


def _old_words(dicts: Mapping[str, Mapping[str, Any]], local_base: str) -> dict[str, Any]:
    """Two layer types in the spelling of transformers 4, which has a scaling for one of them alone."""
    if dicts[SLIDING]["rope_type"] != "default":
        return {}
    scaling = {key: value for key, value in dicts[FULL].items() if key != "rope_theta"}
    return {
        "rope_theta": dicts[FULL]["rope_theta"],
        local_base: dicts[SLIDING]["rope_theta"],
        "rope_scaling": None if set(scaling) <= {"rope_type"} else scaling,
    }


def _as_it_is(config: Mapping[str, Any], plan: ScalingPlan) -> ModelSpec:
    """Layer types that the plan leaves alone have their own original lengths; the plan's is for a config without a window."""
    try:
        return read(config)
    except BadConfig:
        return read(config, original_length=_any_original(plan))


def prove(plan: ScalingPlan, config: Mapping[str, Any]) -> None:
    """Read a config as transformers would and compare every frequency with the plan; CannotExpress where it says another.

    Other keys of the config (partial rotation, another head size) may twist what is written.
    """
    again = read(config)
    for layer_type, stretch in plan.stretches:
        said = _current(again, layer_type)
        length = max(int(stretch.rope.original_length * stretch.factor), 1)  # a dynamic rule in a config has no upper end
        wanted, found = stretch.scaled(length), said.scaled(length)
        if not same(wanted, found, EXACT):
            raise CannotExpress(
                f"this config cannot say {stretch.name} for {layer_type}: written into it, the plan reads back as other "
                f"frequencies.\n  The plan rotates {stretch.rope.rotary_dim} channels per head and the config "
                f"{said.rope.rotary_dim}. Was the plan made for another model?"
            )


def _current(spec: ModelSpec, layer_type: str) -> Stretch:
    return dict(spec.scaling).get(layer_type) or Stretch(spec.rope(layer_type))


def _check_others(plan: ScalingPlan, spec: ModelSpec, config: Mapping[str, Any]) -> None:
    """Layer types that the plan leaves alone rotate as before."""
    again = read(config)
    for layer_type, _ in spec.ropes:
        before = _current(spec, layer_type)
        length = max(int(before.rope.original_length * before.factor), 1)
        if not plan.stretch(layer_type) and not same(before.scaled(length), _current(again, layer_type).scaled(length), EXACT):
            raise CannotExpress(
                f"this config cannot say {plan.name}: written into it, {layer_type} would rotate otherwise too, which the "
                "plan leaves alone."
            )


def _check_softmax(plan: ScalingPlan, is_latent: bool) -> None:
    """Latent attention multiplies its softmax scale by what mscale_all_dim says; other attention does not."""
    if not is_latent and any(stretch.softmax_factor != 1 for _, stretch in plan.stretches):
        raise CannotExpress(
            "the plan has softmax_mscale, which scales the softmax of latent attention (MLA), and this config has none.\n"
            "  Leave softmax_mscale out: yarn's attention factor sharpens what rotates."
        )


def _window(plan: ScalingPlan, spec: ModelSpec) -> int:
    """The target; a longer window stays where it is not the old stretch that reached it."""
    replaced = [stretch for name, stretch in spec.scaling if name in dict(plan.stretches) and stretch.factor > 1]
    return plan.target_length if replaced else max(spec.max_length, plan.target_length)


def _any_original(plan: ScalingPlan) -> int:
    return max(stretch.rope.original_length for _, stretch in plan.stretches)


def carried(old: Mapping[str, Any], keys: tuple[str, ...] = CARRIED_KEYS) -> dict[str, Any]:
    """What of the rope dict that was read goes on into the one that is written."""
    if old.get("llama_4_scaling_beta") is not None:
        # Ministral 3 sharpens queries by position / this length, whatever the rope_type; its forward pass needs it.
        keys = (*keys, "original_max_position_embeddings")
    return {key: old[key] for key in keys if old.get(key) is not None}
