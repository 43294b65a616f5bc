"""What the explorer knows of models: presets from their published configs, and the tables for reading a pasted one."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ropewalk.scaling.dialects import known
from ropewalk.scaling.dialects.class_defaults import text_fields
from ropewalk.scaling.dialects.fields import Fields
from ropewalk.scaling.dialects.transformers import CARRIED_KEYS, read
from ropewalk.scaling.dialects.transformers_layers import head_dim
from ropewalk.scaling.dialects.transformers_read import V4_KEYS, rope_parts
from ropewalk.scaling.dialects.transformers_scaling import ROPE_KEYS
from ropewalk.scaling.method import methods
from ropewalk.scaling.plan import Stretch
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.spec import ModelSpec, is_local

# Keys that reading a config looks at; the page keeps no others of a pasted one.
READ_KEYS = (
    "model_type head_dim global_head_dim hidden_size n_embd num_attention_heads n_head max_position_embeddings n_positions "
    "original_max_position_embeddings rope_parameters rotary_dim rotary_pct partial_rotary_factor qk_rope_head_dim "
    "sliding_window attention_chunk_size alibi"
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
                "softmax_mscale": _scales_softmax(fields, parts[name]),
                "local": is_local(name),
                "carried": {key: parts[name].config[key] for key in CARRIED_KEYS if key in parts[name]},
                "shipped": _stretch(shipped.get(name, Stretch(rope))),
            }
            for name, rope in spec.ropes
        ],
    }


def _scales_softmax(fields: Fields, part: Fields) -> bool:
    """Does the config's own yarn reach the softmax of channels that do not rotate (MLA)? Then `write` refuses other plans."""
    kind = part.config.get("rope_type", part.config.get("type"))
    return "qk_rope_head_dim" in fields and bool(part.config.get("mscale_all_dim")) and kind == "yarn"


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
        "theta": known.DEFAULT_THETA,
        "partial": known.DEFAULT_PARTIAL,
        "local_theta": known.DEFAULT_LOCAL_THETA,
        "per_layer_type": sorted(known.PER_LAYER_TYPE),
        "rotate_locally": known.ROTATE_LOCALLY,
        "length": known.DEFAULT_LENGTH,
        "without_rope": known.WITHOUT_ROPE,
        "v4_keys": V4_KEYS,
        "rope_keys": sorted(ROPE_KEYS),
        "read_keys": sorted({*READ_KEYS, *V4_KEYS}),
        "carried": CARRIED_KEYS,
    }


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
