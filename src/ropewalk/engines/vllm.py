"""vLLM: config.json, --hf-overrides. Read at 0.33.0, run at 0.32.0 (CPU)."""

import json
from collections.abc import Mapping
from typing import Any

from ropewalk.engines.config_files import rotation_keys, written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register, within
from ropewalk.engines.keys import RAMPED, Keys, absolute_factor, deepseek_ratio, multiplied_factor
from ropewalk.engines.longrope import is_longrope, longrope_formula
from ropewalk.engines.quirks import (
    NOT_NULL,
    STRETCH_IT,
    WRITE_BANDS,
    WRITE_FACTOR,
    WRITE_WHOLE,
    drops,
    is_mla,
    lost_share,
    lost_theta,
    no_bands,
    no_factor,
    nomic,
    null_theta,
    other_window,
    outside,
    past_the_window,
    static_dynamic,
    temperature,
    theta_beside,
    whole_factor,
    without_factor,
)
from ropewalk.engines.transformers.checkpoint import inside
from ropewalk.engines.vllm_earlier import EARLIER, LISTS_ONCE, TRANSFORMERS_5, long_lists, served, short_window
from ropewalk.scaling.plan import ScalingPlan

ISSUES, PULLS = "https://github.com/vllm-project/vllm/issues", "https://github.com/vllm-project/vllm/pull"
# All dated in the sources of 29 releases, 0.6.6 to 0.33.0.
ALIGNED = "0.30"  # yarn's m and window are as transformers has them
DYNAMIC_FIX = "0.22"  # `dynamic` turned from static to nothing
LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
SCALED_TYPES = ("linear", "dynamic", "ntk", "proportional")  # max_position_embeddings is multiplied by the factor


def _yarn_of_others(effect: Any) -> Any:
    """DeepSeek's attention turns every scaled type into its own yarn, which reads DeepSeek's keys."""
    return lambda keys: None if is_mla(keys) else effect(keys)


def _mla_type(keys: Keys) -> Says | None:
    """Every scaled type becomes its own yarn, which reads betas and the two mscales alone (run at 0.32.0).

    attention_factor 1 gives that yarn another name, and spares the softmax; cos and sin are the same.
    """
    if not is_mla(keys) or keys.rope_type == "default":
        return None
    unread = [key for key in ("attention_factor", "attn_factor") if key in keys.said]
    if keys.rope_type == "yarn" and not unread:
        return None
    what = " and ".join(unread) if keys.rope_type == "yarn" else f'rope_type "{keys.rope_type}"'
    own = keys.but(rope_type="yarn", attention_factor=None, attn_factor=None)
    if keys.said.get("attention_factor") == 1:
        own = own.but(mscale=None, mscale_all_dim=None, attention_factor=deepseek_ratio(keys))
    return Says(f"{what} of a DeepSeek model: it becomes yarn", own)


def _mla_truncate(keys: Keys) -> Says | None:
    return drops("truncate")(keys) if is_mla(keys) else None


def _other_ntk(keys: Keys) -> Says | None:
    """Base b s and every frequency divided by s^(2/d): pair i is slowed by s^(2 (i + 1) / d)."""
    if keys.rope_type != "ntk":
        return None
    d, s = keys.rope.rotary_dim, keys.factor
    lists = [s ** (2 * (i + 1) / d) for i in range(d // 2)]
    return Says('rope_type "ntk", another formula', keys.but(rope_type="longrope", long_factor=lists, short_factor=lists,
                                                              attention_factor=1.0))  # fmt: skip


def _no_length(keys: Keys) -> Says | None:
    needed = keys.rope_type in RAMPED or (is_mla(keys) and keys.rope_type != "default")
    if not needed or keys.states_length:
        return None
    return Says(f"{keys.rope_type} without original_max_position_embeddings", runs=False)


def _twice(keys: Keys) -> Says | None:
    if keys.rope_type != "linear" or "gemma3" in keys.kind or not keys.states_length or keys.longest < keys.target:
        return None
    window = round(keys.longest * keys.factor)
    return Says(
        f"max_position_embeddings {keys.longest:,}, stretched already: it is multiplied by factor again", window=window
    )


def _nomic(keys: Keys) -> Says | None:
    said = nomic(keys)
    return said and Says(f"{said.what}: one table, of the served length, for inputs of every length")


def _short_window(keys: Keys) -> Says | None:
    if keys.rope_type != "yarn" or keys.longest >= keys.target or keys.beside.asked:
        return None
    return Says(f"at max_position_embeddings, below the {keys.target:,} that factor says", window=keys.longest)


def _old_flag(keys: Keys) -> Says | None:
    return Says(f"{keys.beside.old_flag}, which is gone", runs=False) if keys.beside.old_flag else None


def _asked(keys: Keys) -> Says | None:
    """--max-model-len above the window that is derived from the config is a ValueError."""
    asked, derived = keys.beside.asked, _window(keys, (0,))
    if not asked or asked <= derived or LONGER in keys.beside.environment:
        return None
    return Says(f"--max-model-len {asked:,}, above the {derived:,} that it derives (ValueError)", runs=False)


def _asked_before(keys: Keys) -> Says | None:
    """Before 0.30 yarn's window was L s."""
    return None if keys.rope_type == "yarn" and (keys.beside.asked or 0) <= keys.target else _asked(keys)


def _params_first(keys: Keys) -> Says | None:
    """Mistral's own format wins where params.json and consolidated*.safetensors are there (config_format auto)."""
    read = keys.beside.params
    if read is None:
        return None
    return Says(f"config.json beside params.json, which it takes instead ({read.longest:,} tokens)", read)


def _beyond(keys: Keys) -> Says | None:
    """A window that it derives, or is allowed to; _asked has said where it stops instead. Its table ends there, or before."""
    return past_the_window(keys) if keys.beside.reached is not None or LONGER in keys.beside.environment else None


def _larger_ramp(keys: Keys) -> Says | None:
    """MRotaryEmbedding places yarn's ramp for 4 L, the size of its table; the classes of Qwen3 and later ask for L."""
    sections = "mrope_section" in keys.said and not keys.kind.startswith(("qwen3", "qwen4"))
    if keys.rope_type != "yarn" or not sections:
        return None
    length = POSITIONS * keys.rope.original_length
    return Says(f"the ramp, placed for {length:,} tokens (M-RoPE)", keys.but(factor=keys.factor).with_length(length))


def _own_length_or_least(stated: Mapping[str, int]) -> str:
    return "model_max_length" if "model_max_length" in stated else min(stated, key=stated.__getitem__)


def _window(keys: Keys, version: tuple[int, ...]) -> int:
    if is_longrope(keys) and not keys.beside.asked and within(version, f">= {LISTS_ONCE}"):
        return served(keys)
    return round(keys.longest * keys.factor) if keys.rope_type in SCALED_TYPES else keys.longest


POSITIONS = 4  # of MRotaryEmbedding: positions_factor
GET_ROPE = "vllm 0.33.0, model_executor/layers/rotary_embedding/__init__.py"
QUIRKS = (
    Quirk(Verb.IGNORES, _params_first, "vllm 0.32.0, transformers_utils/config.py:826",
          way_out="Give --config-format hf --load-format safetensors, or take params.json and consolidated* away."),
    Quirk(Verb.IGNORES, outside, "vllm 0.32.0, config/model.py, _apply_dict_overrides",
          way_out='Move them into text_config: --hf-overrides \'{"text_config": {...}}\'.'),
    Quirk(Verb.CRASHES, _old_flag, "https://github.com/vllm-project/recipes/issues/856", ">= 0.11.1",
          "Use --hf-overrides with rope_parameters, rope_theta inside it, and max_position_embeddings."),
    Quirk(Verb.CRASHES, null_theta, GET_ROPE, way_out=NOT_NULL),
    Quirk(Verb.CRASHES, _asked, "vllm 0.32.0, config/model.py, _get_and_verify_max_len", f">= {ALIGNED}",
          "Put max_position_embeddings beside rope_parameters in --hf-overrides."),
    Quirk(Verb.CRASHES, _asked_before, f"{ISSUES}/8793", f"< {ALIGNED}"),
    Quirk(Verb.IGNORES, theta_beside, "vllm 0.32.0, config/model.py, _apply_dict_overrides", f">= {TRANSFORMERS_5}",
          """Put it inside: --hf-overrides '{"rope_parameters": {"rope_theta": ...}}', with rope_type."""),
    Quirk(Verb.IGNORES, lost_theta, f"{ISSUES}/37886", f">= {TRANSFORMERS_5}",
          way_out="Repeat rope_theta inside the override, under rope_parameters."),
    Quirk(Verb.IGNORES, lost_share, GET_ROPE, f">= {TRANSFORMERS_5}",
          "Repeat partial_rotary_factor inside the override, under rope_parameters."),
    *EARLIER,
    Quirk(Verb.CRASHES, no_factor, GET_ROPE, way_out=WRITE_FACTOR),
    Quirk(Verb.CRASHES, no_bands, GET_ROPE, way_out=WRITE_BANDS),
    Quirk(Verb.CRASHES, _no_length, GET_ROPE, way_out="Write original_max_position_embeddings: it has no default here."),
    Quirk(
        Verb.IGNORES, _yarn_of_others(temperature(multiplied_factor, "attn_factor")), f"{PULLS}/56446", f"< {ALIGNED}",
        "Add attn_factor = m / (0.1 ln s + 1), or use 0.30.",
    ),
    Quirk(
        Verb.IGNORES, _yarn_of_others(temperature(absolute_factor, "attention_factor", "mscale", "mscale_all_dim")),
        "https://github.com/deepseek-ai/DeepSeek-R1/issues/684", f">= {ALIGNED}",
        "Write attention_factor, the absolute value.",
    ),
    Quirk(Verb.REPLACES, _mla_type, "vllm 0.33.0, models/deepseek_v2.py:542"),
    Quirk(Verb.IGNORES, _mla_truncate, "vllm 0.33.0, deepseek_yarn"),
    Quirk(Verb.REPLACES, static_dynamic(lambda f: f * f - f + 1), f"{ISSUES}/41236", f"< {DYNAMIC_FIX}",
          "Use a static factor."),
    Quirk(
        Verb.IGNORES, static_dynamic(lambda f: 1.0), f"{PULLS}/55910", f">= {DYNAMIC_FIX}",
        "Use a static factor: beyond the original window its table ends and logits are NaN.",
    ),
    Quirk(Verb.IGNORES, nomic, "vllm 0.9, model_executor/models/config.py, NomicBertModelConfig", f"< {DYNAMIC_FIX}"),
    Quirk(Verb.REPLACES, _nomic, f"{PULLS}/41277", f">= {DYNAMIC_FIX}"),
    Quirk(Verb.CRASHES, whole_factor, "vllm 0.32.0, linear_scaling_rope.py:70", way_out=WRITE_WHOLE),
    Quirk(
        Verb.IGNORES, longrope_formula("long_mscale"), "vllm 0.32.0, phi3_long_rope_scaled_rope.py",
        way_out="Add short_mscale and long_mscale.",
    ),
    Quirk(Verb.IGNORES, long_lists, "vllm 0.33.0, phi3_long_rope_scaled_rope.py:51", f">= {LISTS_ONCE}"),
    Quirk(Verb.CLAMPS, short_window, "vllm 0.33.0, config/model.py:2643", f">= {LISTS_ONCE}",
          "Give --max-model-len; short inputs are then read with the long factors."),
    Quirk(Verb.REPLACES, _other_ntk, f"{GET_ROPE}; ntk_scaling_rope.py:31", ">= 0.9", "Write the larger rope_theta instead."),
    Quirk(Verb.IGNORES, without_factor, "vllm 0.33.0, gemma4_rope.py"),
    Quirk(
        Verb.REPLACES, _twice, "https://github.com/NVIDIA-NeMo/Safe-Synthesizer/pull/623",
        way_out="Give --max-model-len.",
    ),
    Quirk(
        Verb.CLAMPS, _short_window, f"{PULLS}/56446", f">= {ALIGNED}",
        "Raise max_position_embeddings, in the config or beside rope_parameters in --hf-overrides.",
    ),
    Quirk(Verb.CLAMPS, other_window(_own_length_or_least),
          "vllm 0.32.0, transformers_utils/model_arch_config_convertor.py:396", way_out="Raise that key too, or take it out."),
    Quirk(Verb.PASSES, _beyond, f"vllm 0.32.0, config/model.py: {LONGER} leads to NaN beyond its table", way_out=STRETCH_IT),
    Quirk(Verb.REPLACES, _larger_ramp, "vllm 0.32.0, rotary_embedding/mrope.py:351", ">= 0.11",
          "For vLLM alone: multiply beta_fast and beta_slow by 4."),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    override = inside(config, rotation_keys(config))
    return (
        f"vllm serve {folder} --max-model-len {plan.target_length}",
        f"vllm serve ORIGINAL --max-model-len {plan.target_length} --hf-overrides '{json.dumps(override)}'",
    )


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(
    Engine("vllm", "vLLM", "0.33", "config.json", QUIRKS, write, commands=commands, oldest="0.6.6", window=_window)
)
