"""What the explorer knows of models: presets from their published configs, and the tables for reading a pasted one."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import TEXT_PARTS
from ropewalk.engines.transformers.class_defaults import ClassDefaults, classes, text_fields, wrappers
from ropewalk.engines.transformers.has_rope import V4_KEYS
from ropewalk.engines.transformers.layers import head_dim
from ropewalk.engines.transformers.own_code import OWN_CODE
from ropewalk.engines.transformers.rope_dicts import rope_parts
from ropewalk.engines.transformers.scaling import ROPE_KEYS
from ropewalk.engines.transformers.write import CARRIED_KEYS, carried, read
from ropewalk.scaling.method import methods
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ModelSpec, is_local
from ropewalk.scaling.stretch import Stretch

# Keys that reading a config looks at; the page keeps no others of a pasted one.
READ_KEYS = (
    "model_type head_dim global_head_dim hidden_size n_embd num_attention_heads n_head max_position_embeddings n_positions "
    "original_max_position_embeddings rope_parameters rotary_dim rotary_pct partial_rotary_factor qk_rope_head_dim "
    "kv_lora_rank sliding_window attention_chunk_size alibi dual_chunk_attention_config "
    "position_embedding_type use_mem_rope per_layer_config layer_types"
).split()


def describe(config: Mapping[str, Any], spec: ModelSpec | None = None) -> dict[str, Any]:
    """What the page needs of a model. `readConfig` in js/config.js makes the same of a pasted config."""
    spec = spec or read(config)
    fields = text_fields(config)
    parts = rope_parts(fields, spec.model_type)
    shipped = dict(spec.scaling)
    return {
        "kind": spec.model_type,
        "nested": len(spec.ropes) > 1,
        "max_length": spec.max_length,
        "ropes": [
            {
                "layer_type": name,
                **_rope(rope),
                "head_dim": fields.whole("qk_rope_head_dim") or head_dim(fields, name),
                "latent": fields.any(known.LATENT),
                "local": is_local(name),
                "carried": carried(parts[name].config),
                "shipped": _stretch(shipped.get(name, Stretch(rope))),
            }
            for name, rope in spec.ropes
        ],
    }


def _rope(rope: Rope) -> dict[str, Any]:
    return {"rotary_dim": rope.rotary_dim, "rope_theta": rope.rope_theta, "original_length": rope.original_length}


def _stretch(stretch: Stretch) -> dict[str, Any]:
    options = dict(stretch.options)
    dynamic = stretch.dynamic.semantics if stretch.dynamic else False
    return {"method": stretch.method, "dynamic": dynamic, "factor": stretch.factor, "options": options}


def preset_files() -> list[dict[str, Any]]:
    """Published configs, abridged to what the rotary embedding needs, each with its source."""
    found: list[dict[str, Any]] = json.loads((files(__package__) / "presets.json").read_text(encoding="utf-8"))
    return found


def presets() -> list[dict[str, Any]]:
    """The models the page offers; `try` is the stretch it opens on where the model ships with none."""
    return [
        {key: preset[key] for key in ("id", "name", "command", "source", "try") if key in preset} | describe(preset["config"])
        for preset in preset_files()
    ]


def known_tables() -> dict[str, Any]:
    """What configs leave out, for the reader in the page."""
    return {
        "classes": {kind: _class(row) for kind, row in classes().items()},
        "wrappers": wrappers(),
        "text_parts": TEXT_PARTS,
        "other_windows": known.WINDOWS,
        "own_code": sorted(OWN_CODE),
        "fixed_theta": {kind: known.DEFAULT_THETA[kind] for kind in sorted(known.FIXED_IN_CODE)},
        "head_scale": known.HEAD_SCALE,
        "scaled_everywhere": sorted(known.SCALED_EVERYWHERE),
        "per_layer_type": sorted(known.PER_LAYER_TYPE),
        "rotate_locally": known.ROTATE_LOCALLY,
        "without_rope": known.WITHOUT_ROPE,
        "rotates_if": known.ROTATES_IF,
        "v4_keys": V4_KEYS,
        "rope_keys": sorted(ROPE_KEYS),
        "latent": known.LATENT,
        "read_keys": sorted(
            {*READ_KEYS, *V4_KEYS, *known.WINDOWS, *(own for row in classes().values() for own in row.alias.values())}
        ),
        "carried": CARRIED_KEYS,
    }


def _class(row: ClassDefaults) -> dict[str, Any]:
    """What of a config class bears on its rotation."""
    keys = {
        "fields": {key: value for key, value in row.fields.items() if key in READ_KEYS},
        "alias": {key: own for key, own in row.alias.items() if key in READ_KEYS},
        "theta": row.theta,
        "partial": row.partial,
        "rope": row.rope,
        "base": row.base or None,
        "unread": row.unread,
        "widths": row.widths,
        "states_theta": row.states_theta,
    }
    return {key: value for key, value in keys.items() if value}


def method_table() -> dict[str, Any]:
    """The registry as the page sees it: names, options, sources and the rule in one line."""
    return {
        name: {
            "defaults": dict(method.defaults),
            "required": sorted(method.required),
            "summary": method.summary,
            "source": method.source,
        }
        for name, method in methods().items()
    }
