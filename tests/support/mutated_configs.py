"""Configs that nobody published: a class's own, with keys of the rotation set, left out, nulled and spelt twice, at random."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

from support import config_oracle

LATENT = ("qk_rope_head_dim", "kv_lora_rank")
KEPT = ("model_type", "head_dim", *LATENT)
LENGTHS = (2048, 4096, 32_768, None)
# What may stand in a rope dict, and how often it does.
IN_DICT: dict[str, tuple[tuple[Any, ...], float]] = {
    "factor": ((2.0, 4, 8.0, 1.0, 40), 0.9),
    "rope_theta": ((1e4, 500_000, 1e6, None), 0.5),
    "original_max_position_embeddings": (LENGTHS, 0.6),
    "partial_rotary_factor": ((0.5, 0.25, 1.0), 0.15),
    "truncate": ((True, False, None), 0.1),
}
OF_YARN = {
    "beta_fast": ((32, 16.0, 0, None), 0.4),
    "beta_slow": ((1, 2.0, 0, None), 0.4),
    "mscale": ((1.0, 0.707, 0, None), 0.4),
    "mscale_all_dim": ((1.0, 0.707, 0, None), 0.4),
    "attention_factor": ((1.0, 1.2, None), 0.4),
}
OF_LLAMA3 = {"low_freq_factor": ((1.0, 2, None), 0.9), "high_freq_factor": ((4.0, 8, None), 0.9)}
BESIDE: dict[str, tuple[tuple[Any, ...], float]] = {
    "rope_theta": ((1e4, 1e6, None), 0.3),
    "partial_rotary_factor": ((0.5, 0.25, 1.0, None), 0.15),
    "rotary_pct": ((0.25, 0.5), 0.03),
    "rotary_dim": ((32, 64), 0.03),
    "qk_rope_head_dim": ((32, 64), 0.05),
    "kv_lora_rank": ((512,), 0.05),
    "original_max_position_embeddings": (LENGTHS, 0.12),
    "max_position_embeddings": ((4096, 32_768, 131_072), 0.2),
    "rope_local_base_freq": ((1e4, 2e4), 0.06),
}


def mutated(rng: random.Random, kinds: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """(model_type, config). Sizes of heads stay as the class has them: where these contradict each other nothing is built."""
    kind = rng.choice(kinds)
    config: dict[str, Any] = json.loads(json.dumps(config_oracle.complete(kind), default=str)) | {"model_type": kind}
    own = config.get("rope_parameters") or {}
    layers = [name for name, part in own.items() if isinstance(part, dict)]
    style = rng.choice(["new", "old", "old", "both", "plain"])
    if style in ("new", "both") and layers and rng.random() < 0.8:
        config["rope_parameters"] = {name: _dict(rng) if rng.random() < 0.6 else own[name] for name in layers}
    elif style in ("new", "both"):
        config["rope_parameters"] = _dict(rng)
    else:
        config.pop("rope_parameters", None)
    if style in ("old", "both"):
        same = style == "both" and rng.random() < 0.5
        config["rope_scaling"] = copy.deepcopy(config["rope_parameters"]) if same else _dict(rng)
    _put(rng, config, {key: values for key, values in BESIDE.items() if key not in LATENT or key not in config})
    return kind, {key: value for key, value in config.items() if key in KEPT or rng.random() > 0.03}


def _dict(rng: random.Random) -> dict[str, Any]:
    rope_type = rng.choice(["default", "default", "linear", "linear", "yarn", "yarn", "llama3"])
    part = {rng.choice(["rope_type", "type"]): rope_type}
    return _put(rng, part, IN_DICT | (OF_YARN if rope_type == "yarn" else {}) | (OF_LLAMA3 if rope_type == "llama3" else {}))


def _put(rng: random.Random, into: dict[str, Any], keys: dict[str, tuple[tuple[Any, ...], float]]) -> dict[str, Any]:
    for key, (values, share) in keys.items():
        if rng.random() < share:
            into[key] = rng.choice(values)
    return into
