"""Reading config.json of transformers: what is written about the rotation where transformers does not look."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import text_of, text_path
from ropewalk.engines.transformers.class_defaults import class_of
from ropewalk.engines.transformers.fields import Fields
from ropewalk.engines.transformers.own_code import OWN_CODE, unread_keys
from ropewalk.engines.transformers.scaling import rope_type_of
from ropewalk.scaling.spec import Ignored

OUTSIDE = ("rope_parameters", "rope_scaling", "rope_theta", "max_position_embeddings", "original_max_position_embeddings")
UTILS = "transformers 5.23.0, modeling_rope_utils.py"


def ignored_keys(config: Mapping[str, Any], fields: Fields, dicts: Mapping[str, Fields], rope: Fields) -> Iterator[Ignored]:
    """config: all of it.  fields: its text model's.  dicts: as read, by layer type.  rope: as written."""
    yield from _outside(config)
    yield from _no_key(config, fields)
    if found := unread_keys(text_of(config), kind := fields.text("model_type") or ""):
        yield Ignored(
            f"{' and '.join(found)}: {kind}'s own code reads none of it",
            f"Its base is set by {OWN_CODE[kind].base[0] or 'nothing: it is fixed in its code'}.",
            OWN_CODE[kind].source,
        )
    yield from _old_type(fields, dicts, rope)
    for part in dicts.values():
        yield from _no_type(part)


def _outside(config: Mapping[str, Any]) -> Iterator[Ignored]:
    """Keys beside the language model's part instead of in it; the same values there are a copy, and harm nothing."""
    path, inner = text_path(config), text_of(config)
    around: Any = config
    for key in path:
        found = [name for name in OUTSIDE if around.get(name) is not None and not _same(around[name], inner.get(name))]
        if found:
            yield Ignored(
                f"{' and '.join(found)} outside {'.'.join(path)}, where this config keeps its language model",
                f"Move {'it' if len(found) == 1 else 'them'} into {'.'.join(path)}.",
                "transformers 5.23.0, configuration_utils.py, get_text_config",
            )
        around = around[key]


def _no_key(config: Mapping[str, Any], fields: Fields) -> Iterator[Ignored]:
    """What no class of transformers has a key for, or this one has not."""
    text, kind = text_of(config), fields.text("model_type") or ""
    row = class_of(kind)
    if row and "rope_scaling" in row.unread and text.get("rope_scaling"):
        where = f"transformers 5.23.0, {kind}/configuration_{kind}.py"
        yield Ignored(f"rope_scaling of {kind}", "Write rope_parameters, with rope_theta inside it.", where)
    condensed = fields.number("rope_condense_ratio")
    if row and condensed and condensed != 1:
        yield Ignored(
            f"rope_condense_ratio: {condensed:g}, by which FastChat's patch divides positions",
            f'Write rope_scaling: {{"rope_type": "linear", "factor": {condensed:g}}}.',
            "FastChat, model/llama_condense_monkey_patch.py",
        )


def _same(ours: Any, theirs: Any) -> bool:
    return json.dumps(ours, sort_keys=True, default=str) == json.dumps(theirs, sort_keys=True, default=str)


def _old_type(fields: Fields, dicts: Mapping[str, Fields], rope: Fields) -> Iterator[Ignored]:
    kind = fields.text("model_type") or ""
    plain = rope.config and not any(part.config for part in dicts.values())
    if kind in known.PER_LAYER_TYPE and plain and "type" in rope and "rope_type" not in rope:
        yield Ignored(
            f"{rope.where('type')}: {rope.text('type')}, since {kind} reads rope_type alone, and rotates plainly",
            f"Write {rope.where('rope_type')}.",
            f"{kind}'s convert_rope_params_to_dict in transformers 5.23.0",
        )


def _no_type(part: Fields) -> Iterator[Ignored]:
    """A factor, and no word of what it scales by."""
    factor = part.number("factor")
    if factor is None or factor == 1 or rope_type_of(part) != "default":
        return
    stated = part.text("rope_type") or part.text("type")
    why = f'beside rope_type "{stated}"' if stated else "without rope_type"
    yield Ignored(
        f"{part.where('factor')}: {factor:g} {why}, and rotates plainly",
        f"Write {part.where('rope_type')}: linear, dynamic, yarn or llama3, whichever the model was trained with.",
        UTILS,
    )
