"""MLX-LM: config.json. Run at 0.32.2 on a CPU, read at d78bf58."""

from collections.abc import Mapping
from typing import Any

from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import Keys, deepseek_ratio
from ropewalk.engines.quirks import (
    INSIDE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_FACTOR,
    drops,
    long_lists_always,
    longrope_formula,
    missing_length,
    no_factor,
    only_v5,
    outside,
    past_the_window,
    plain,
    stops,
    temperature,
    unread,
)
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.layers import SLIDING
from ropewalk.scaling.plan import ScalingPlan

AT = "mlx-lm 0.32.2"
ROPE_UTILS = "mlx-lm d78bf58, models/rope_utils.py"
REPOSITORY = "https://github.com/ml-explore/mlx-lm"
# The default base of mlx-lm's own argument class where it is not that of transformers (measured: qwen2).
DEFAULT_THETA = {"qwen2": 1_000_000.0}
# The 17 of 137 model files that mention rope_parameters (0.32.2), by model_type.
READS_V5 = frozenset(
    "exaone_moe gemma4_text glm_moe_dsa granitemoehybrid laguna lfm2 lfm2_moe mellum minimax_m3_vl ministral3 mistral4 "
    "muse_glimmer muse_spark olmo_hybrid qwen3 qwen3_5 qwen3_5_text spark2_5".split()
)
# Argument classes of others that have no default for rope_theta.
NEEDS_THETA = frozenset({"qwen3_moe", "qwen3_next", "olmo3"})
# Its file hands the base to nn.RoPE, and nothing else (measured).
ALWAYS_PLAIN = frozenset({"qwen3_moe"})


def _no_theta(keys: Keys) -> Says | None:
    if not only_v5(keys) or keys.kind not in NEEDS_THETA or "rope_theta" in keys.model:
        return None
    return Says("rope_parameters without rope_theta beside it (TypeError)", runs=False)


def _null_theta(keys: Keys) -> Says | None:
    """Where its file reads the base: nn.RoPE(base=None) is a ValueError, "Neither base nor freqs" (run at 0.32.2)."""
    if not keys.beside.null_theta or (only_v5(keys) and keys.kind not in READS_V5):
        return None
    return Says("rope_theta: null (ValueError when a text is read)", runs=False)


def _new_spelling(keys: Keys) -> Says | None:
    if not only_v5(keys) or keys.kind in READS_V5:
        return None
    local = keys.layer_type == SLIDING and known.DEFAULT_LOCAL_THETA.get(keys.kind)
    if local:  # nothing at the top is its base
        return Says("rope_parameters, and what is in it", plain(keys).with_theta(local))
    return Says("rope_parameters, and what is in it", unread(keys, DEFAULT_THETA.get(keys.kind)))


def _no_factor(keys: Keys) -> Says | None:
    return no_factor(keys) if keys.rope_type == "yarn" else None


def _always_plain(keys: Keys) -> Says | None:
    if keys.kind not in ALWAYS_PLAIN or keys.rope_type == "default":
        return None
    return Says(f"every scaling of {keys.kind}", plain(keys))


def _chunks(keys: Keys) -> Says | None:
    if keys.rope_type != "dynamic" or keys.said.get("alpha"):  # HunYuan's model file has its own rotation
        return None
    return Says('rope_type "dynamic": the chunks of one prompt get different bases')


QUIRKS = (
    Quirk(Verb.IGNORES, outside, f"{AT}, models", way_out=INSIDE),
    Quirk(Verb.CRASHES, _null_theta, f"{AT}, models", way_out=NOT_NULL),
    Quirk(Verb.CRASHES, _no_theta, f"{AT}, models", way_out="Write rope_theta beside it."),
    Quirk(Verb.IGNORES, _always_plain, f"{AT}, models/qwen3_moe.py:60", way_out="Stretch by the base alone: ntk."),
    Quirk(Verb.IGNORES, _new_spelling, f"{REPOSITORY}/pull/953", way_out="Write rope_scaling and rope_theta beside it."),
    Quirk(Verb.CRASHES, _no_factor, f"{AT}, models", way_out=WRITE_FACTOR),
    Quirk(Verb.REPLACES, missing_length(lambda keys: 4096, "yarn"), f"{ROPE_UTILS}, initialize_rope",
          way_out="Write original_max_position_embeddings."),
    Quirk(Verb.IGNORES, temperature(deepseek_ratio, "mscale", "mscale_all_dim"), f"{REPOSITORY}/pull/1507",
          way_out="Add mscale and mscale_all_dim: 1 with m = (0.1 mscale ln s + 1) / (0.1 ln s + 1)."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{ROPE_UTILS}:152"),
    Quirk(Verb.DRIFTS, _chunks, f"{ROPE_UTILS}:259", way_out="Use a static factor."),
    Quirk(Verb.CRASHES, stops("ntk", because="ValueError"), ROPE_UTILS),
    Quirk(Verb.IGNORES, long_lists_always, f"{ROPE_UTILS}:50"),
    Quirk(Verb.IGNORES, longrope_formula, f"{ROPE_UTILS}:50"),
    Quirk(Verb.PASSES, past_the_window, f"{AT}, tuner/trainer.py", way_out=STRETCH_IT),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f"mlx_lm.generate --model {folder} --prompt PROMPT",)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(Engine("mlx_lm", "MLX-LM", "0.32.2", "config.json", QUIRKS, write, commands=commands))
