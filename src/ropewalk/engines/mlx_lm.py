"""MLX-LM: config.json. Run at 0.32.2 on a CPU, read at d78bf58."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ropewalk.engines.config_files import written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import Keys, deepseek_ratio
from ropewalk.engines.quirks import (
    BASE_ALONE,
    INSIDE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_FACTOR,
    always_plain,
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
# What follows was measured: each of its models was built, and its rotation read off (tests/engines/test_mlx_models.py).
# The default base of its own argument class, where that is not transformers'.
DEFAULT_THETA = {
    "bitnet": 1e4, "cohere": 8e6, "cohere2": 5e4, "falcon_h1": 1e11, "glm4_moe_lite": 1e6, "phimoe": 1e4, "qwen2": 1e6,
    "qwen2_moe": 1e6, "smollm3": 1e4, "starcoder2": 1e5,
}  # fmt: skip
# The 17 of 137 model files that mention rope_parameters (0.32.2), by model_type.
READS_V5 = frozenset(
    "exaone_moe gemma4_text glm_moe_dsa granitemoehybrid laguna lfm2 lfm2_moe mellum minimax_m3_vl ministral3 mistral4 "
    "muse_glimmer muse_spark olmo_hybrid qwen3 qwen3_5 qwen3_5_text spark2_5".split()
)
# Argument classes of others that have no default for rope_theta.
NEEDS_THETA = frozenset(
    "apertus bailing_hybrid dots1 ernie4_5 ernie4_5_moe glm4 glm4_moe granite granitemoe helium longcat_flash "
    "mimo_v2_flash minimax minimax_m2 olmo3 qwen3_moe qwen3_next recurrent_gemma solar_open stablelm".split()
)
# Files that hand the base to nn.RoPE, and nothing else.
ALWAYS_PLAIN = frozenset(
    "cohere cohere2 ernie4_5 ernie4_5_moe gemma gemma2 glm glm4 glm4_moe gpt_neox helium lfm2 mimo_v2_flash "
    "minimax minimax_m2 mixtral olmo_hybrid phi qwen2_moe qwen3_moe solar_open stablelm starcoder2".split()
)
# Files that check rope_scaling: the types that they take, all others being an error.
TAKES = {
    "phi3": ("longrope", "su"), "phimoe": ("longrope", "su"), "nemotron": ("linear",), "qwen2_moe": ("linear",),
    "hunyuan_v1_dense": ("dynamic",), "internlm3": ("linear", "dynamic"),
}  # fmt: skip
NEEDS_TYPE = frozenset({"nemotron", "qwen2_moe", "phi3"})  # of them those that look for `type`, and not for rope_type
NEEDS_DICT = frozenset({"deepseek_v2", "minicpm3"})  # rope_scaling is opened whether it is there or not
READS_V5_ALONE = frozenset({"mistral4", "ministral3"})
WHOLE_HEADS = frozenset({"glm"})  # rotates every channel, whatever share the config states


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


def _takes(keys: Keys) -> Says | None:
    types = TAKES.get(keys.kind)
    if not types or keys.rope_type == "default" or only_v5(keys):
        return None
    old = keys.model.get("rope_scaling")
    named = keys.kind not in NEEDS_TYPE or (isinstance(old, Mapping) and old.get("type"))
    if named and keys.rope_type in types and (keys.kind != "hunyuan_v1_dense" or keys.said.get("alpha")):
        return None
    what = f'rope_type "{keys.rope_type}"' if named else "rope_scaling without the word `type`"
    return Says(f"{what} of {keys.kind}, whose file takes {' and '.join(types)} alone", runs=False)


def _whole_heads(keys: Keys) -> Says | None:
    model, turning = keys.model, keys.rope.rotary_dim
    if keys.kind not in WHOLE_HEADS:
        return None
    head = model.get("head_dim") or model.get("hidden_size", 0) // (model.get("num_attention_heads") or 1)
    if head <= turning:
        return None
    whole = keys.but(replace(keys.rope, rotary_dim=head), partial_rotary_factor=None)
    return Says(f"the rotated share of a head: all {head} channels turn, where {turning} did in training", whole)


def _no_dict(keys: Keys) -> Says | None:
    """Where a config has no rope dict, transformers takes its class's (gpt-oss's yarn)."""
    if keys.rope_type == "default" or any(keys.model.get(name) for name in ("rope_parameters", "rope_scaling")):
        return None
    return Says(f"the missing rope_parameters, which transformers fills in with {keys.rope_type}", plain(keys))


def _needs_dict(keys: Keys) -> Says | None:
    if keys.kind not in NEEDS_DICT or keys.model.get("rope_scaling"):
        return None
    return Says(f"{keys.kind} without rope_scaling (AttributeError)", runs=False)


def _old_spelling(keys: Keys) -> Says | None:
    if keys.kind not in READS_V5_ALONE or "v5" in keys.spellings or keys.rope_type == "default":
        return None
    if keys.kind == "ministral3":
        return Says("rope_scaling without rope_parameters (TypeError)", runs=False)
    return Says("rope_scaling", plain(keys))


def _one_base(keys: Keys) -> Says | None:
    """OLMo 3's file has one base; transformers gives the sliding layers of an old config the class's."""
    stated = keys.model.get("rope_theta")
    if keys.kind != "olmo3" or keys.layer_type != SLIDING or not stated or keys.nested:
        return None
    return Says("the sliding layers' own base", keys.with_theta(float(stated)))


def _formula(keys: Keys) -> Says | None:
    return None if keys.kind == "phimoe" else longrope_formula(keys)  # whose file hands long_mscale on


def _lists_alone(keys: Keys) -> Says | None:
    """MiniCPM3's file hands rope_scaling to longrope, whose lists are ones where none are given."""
    if keys.kind != "minicpm3" or keys.rope_type in ("default", "longrope", "su"):
        return None
    ones = [1.0] * (keys.rope.rotary_dim // 2)
    lists = {"rope_type": "longrope", "long_factor": ones, "short_factor": ones, "attention_factor": None, "factor": None}
    own = keys if keys.states_length else keys.with_length(4096)
    return Says(f'rope_type "{keys.rope_type}" of {keys.kind}: longrope without lists', own.but(**lists))


def _latent_type(keys: Keys) -> Says | None:
    """DeepSeek-V2's file makes its own yarn of every rope_scaling."""
    if keys.kind != "deepseek_v2" or keys.rope_type in ("default", "yarn"):
        return None
    return Says(f'rope_type "{keys.rope_type}" of {keys.kind}: it becomes yarn', keys.but(rope_type="yarn"))


def _chunks(keys: Keys) -> Says | None:
    if keys.rope_type != "dynamic" or keys.said.get("alpha"):  # HunYuan's model file has its own rotation
        return None
    return Says('rope_type "dynamic": the chunks of one prompt get different bases')


QUIRKS = (
    Quirk(Verb.IGNORES, outside, f"{AT}, models", way_out=INSIDE),
    Quirk(Verb.CRASHES, _null_theta, f"{AT}, models", way_out=NOT_NULL),
    Quirk(Verb.CRASHES, _no_theta, f"{AT}, models", way_out="Write rope_theta beside it."),
    Quirk(Verb.IGNORES, _no_dict, f"{AT}, models/gpt_oss.py", way_out="Write rope_scaling."),
    Quirk(Verb.CRASHES, _needs_dict, f"{AT}, models", way_out="Write rope_scaling."),
    Quirk(Verb.IGNORES, _old_spelling, f"{AT}, models/mistral4.py", way_out="Write rope_parameters."),
    Quirk(Verb.CRASHES, _takes, f"{AT}, models", way_out=BASE_ALONE),
    Quirk(Verb.IGNORES, always_plain(ALWAYS_PLAIN), f"{AT}, models", way_out=BASE_ALONE),
    Quirk(Verb.IGNORES, _new_spelling, f"{REPOSITORY}/pull/953", way_out="Write rope_scaling and rope_theta beside it."),
    Quirk(Verb.REPLACES, _one_base, f"{AT}, models/olmo3.py", way_out="Write the base that both were trained with."),
    Quirk(Verb.REPLACES, _lists_alone, f"{AT}, models/minicpm3.py", way_out="Write longrope lists."),
    Quirk(Verb.REPLACES, _latent_type, f"{AT}, models/deepseek_v2.py", way_out="Write yarn."),
    Quirk(Verb.REPLACES, _whole_heads, f"{AT}, models/glm.py:58"),
    Quirk(Verb.CRASHES, _no_factor, f"{AT}, models", way_out=WRITE_FACTOR),
    Quirk(Verb.REPLACES, missing_length(lambda keys: 4096, "yarn"), f"{ROPE_UTILS}, initialize_rope",
          way_out="Write original_max_position_embeddings."),
    Quirk(Verb.IGNORES, temperature(deepseek_ratio, "mscale", "mscale_all_dim"), f"{REPOSITORY}/pull/1507",
          way_out="Add mscale and mscale_all_dim: 1 with m = (0.1 mscale ln s + 1) / (0.1 ln s + 1)."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{ROPE_UTILS}:152"),
    Quirk(Verb.DRIFTS, _chunks, f"{ROPE_UTILS}:259", way_out="Use a static factor."),
    Quirk(Verb.CRASHES, stops("ntk", because="ValueError"), ROPE_UTILS),
    Quirk(Verb.IGNORES, long_lists_always, f"{ROPE_UTILS}:50"),
    Quirk(Verb.IGNORES, _formula, f"{ROPE_UTILS}:50"),
    Quirk(Verb.PASSES, past_the_window, f"{AT}, tuner/trainer.py", way_out=STRETCH_IT),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    return (f"mlx_lm.generate --model {folder} --prompt PROMPT",)


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(Engine("mlx_lm", "MLX-LM", "0.32.2", "config.json", QUIRKS, write, commands=commands, oldest="0.32"))
