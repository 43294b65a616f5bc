"""SGLang: config.json, --json-model-override-args. Read at 0.5.23, its yarn class alone was run."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ropewalk.engines.config_files import rotation_keys, written
from ropewalk.engines.engine import Engine, Quirk, Says, Verb, Written, register
from ropewalk.engines.keys import RAMPED, Keys, deepseek_ratio, mscale, multiplied_factor
from ropewalk.engines.longrope import is_longrope, longrope_formula, old_name
from ropewalk.engines.quirks import (
    BASE_ALONE,
    NOT_NULL,
    STRETCH_IT,
    WRITE_BANDS,
    WRITE_FACTOR,
    WRITE_WHOLE,
    Effect,
    always_plain,
    drops,
    is_mla,
    lost_theta,
    missing_length,
    new_spelling,
    new_words,
    no_bands,
    no_factor,
    null_theta,
    only_v5,
    other_window,
    outside,
    past_the_window,
    plain,
    static_dynamic,
    stops,
    temperature,
    theta_beside,
    unread,
    whole_factor,
    without_alpha,
    without_factor,
    without_sections,
)
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.checkpoint import inside, text_of
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import is_local

PULLS = "https://github.com/sgl-project/sglang/pull"
LONGER = "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"
# Dated in the sources of 23 releases, 0.4.6 to 0.5.23.
LAGUNA_FIX = "0.5.18"
MSCALE, TRUNCATE = "0.5.16", "0.5.7"  # yarn's class reads these from here on
TRANSFORMERS_5 = "0.5.10"  # is what it asks for; 0.5.9 asks for 4.57
# The model files that look into rope_parameters before: none until 0.5.7, then two, and some in 0.5.9.
READ_BASE = {"0.5.7": frozenset({"glm4"}), "0.5.9": frozenset({"glm4", "lfm2", "lfm2_moe"})}
READ_ALL = {
    "0.5.7": frozenset({"ministral3"}),
    "0.5.9": frozenset(
        "deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 ministral3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text".split()
    ),
}
FACTORY = "sglang 0.5.23, srt/layers/rotary_embedding/factory.py"


def _multiplied(keys: Keys) -> float:
    """(m(s, mscale) / m(s, mscale_all_dim) where both are there, else m(s)) x attn_factor."""
    both = "mscale" in keys.said and "mscale_all_dim" in keys.said
    return (deepseek_ratio(keys) if both else mscale(keys.factor)) * float(keys.said.get("attn_factor", 1.0))


def _laguna(keys: Keys) -> Says | None:
    """attention_factor handed on as the multiplier: m times m(s)."""
    if keys.kind != "laguna" or keys.rope_type != "yarn" or "attention_factor" not in keys.said:
        return None
    m = float(keys.said["attention_factor"]) * mscale(keys.factor)
    return Says("attention_factor of Laguna, multiplied by 0.1 ln s + 1 once more", keys.but(attention_factor=m))


def _temperature(made: Callable[[Keys], float], *read: str) -> Effect:
    found = temperature(made, *read)
    return lambda keys: None if keys.kind == "laguna" or is_mla(keys) else found(keys)


def _mla_type(keys: Keys) -> Says | None:
    if not is_mla(keys) or keys.rope_type in ("default", "yarn"):
        return None
    return Says(f'rope_type "{keys.rope_type}" of a DeepSeek model: it becomes yarn', keys.but(rope_type="yarn"))


def _mrope_mscale(keys: Keys) -> Says | None:
    if keys.rope_type != "yarn" or "mrope_section" not in keys.said or "mscale" not in keys.said:
        return None
    return Says("mscale beside mrope_section (TypeError)", runs=False)


def _full_gemma(keys: Keys) -> bool:
    return keys.kind == "gemma3_text" and not is_local(keys.layer_type)


def _gemma_plain(keys: Keys) -> Says | None:
    if not _full_gemma(keys) or keys.rope_type == "default":
        return None
    return Says("every scaling of gemma3_text", plain(keys))


def _gemma_factor(keys: Keys) -> Says | None:
    if not _full_gemma(keys) or "factor" in keys.said:
        return None
    return Says("gemma3_text without factor (KeyError)", runs=False)


def _gemma_linear(keys: Keys) -> Says | None:
    if not _full_gemma(keys) or keys.rope_type == "linear":
        return None
    return Says(
        f'rope_type "{keys.rope_type}" of gemma3_text: it becomes linear',
        plain(keys).but(rope_type="linear", factor=keys.factor),
    )


def _switch(keys: Keys) -> Says | None:
    longest = keys.beside.asked or keys.longest  # at the original length no position is beyond it
    if not is_longrope(keys) or keys.said.get("long_factor") == keys.said.get("short_factor"):
        return None
    if longest <= keys.rope.original_length:
        return None
    return Says(
        f"longrope: position {keys.rope.original_length:,} is rotated as position 0, and one long request switches its batch"
    )


def _multiplied_window(keys: Keys) -> Says | None:
    """M f unless the original length is stated in the dict, or llama3."""
    stated = "original_max_position_embeddings" in keys.said
    if keys.rope_type not in ("yarn", "linear") or stated or keys.longest < keys.target or "gemma3" in keys.kind:
        return None
    if keys.rope_type == "linear" and not keys.states_length:
        return None  # whether the window is stretched already cannot be known
    window = round(keys.longest * keys.factor)
    return Says(
        f"max_position_embeddings {keys.longest:,}, stretched already: it is multiplied by factor again", window=window
    )


def _short_window(keys: Keys) -> Says | None:
    stated = "original_max_position_embeddings" in keys.said
    if keys.rope_type != "yarn" or not stated or keys.longest >= keys.target or keys.beside.asked:
        return None
    return Says(f"at max_position_embeddings, below the {keys.target:,} that factor says", window=keys.longest)


def _window(keys: Keys, version: tuple[int, ...]) -> int:
    stated = "original_max_position_embeddings" in keys.said or keys.rope_type in ("llama3", "default")
    return keys.longest if stated else round(keys.longest * keys.factor)


def _unless_read(version: str) -> Effect:
    """new_spelling, but for the files of that version that look."""

    def effect(keys: Keys) -> Says | None:
        if not only_v5(keys) or keys.kind in READ_ALL[version]:
            return None
        if keys.kind in READ_BASE[version]:
            return Says("the scaling in rope_parameters, where it reads the base", plain(keys))
        if keys.kind == "qwen3_next" and version == "0.5.9":
            return Says(
                "the base in rope_parameters, where it reads the scaling", keys.with_theta(unread(keys).rope.rope_theta)
            )
        return new_spelling(keys)

    return effect


def _new_words(keys: Keys) -> Says | None:
    return None if keys.kind in READ_ALL["0.5.9"] else new_words(keys)


def _no_length(keys: Keys) -> Says | None:
    if keys.rope_type not in RAMPED or keys.states_length:
        return None
    return Says(f"{keys.rope_type} without original_max_position_embeddings (KeyError)", runs=False)


def _asked(keys: Keys) -> Says | None:
    asked, derived = keys.beside.asked, _window(keys, ())
    if not asked or asked <= derived or LONGER in keys.beside.environment:
        return None
    return Says(f"--context-length {asked:,}, above the {derived:,} that it derives", runs=False)


def _beyond(keys: Keys) -> Says | None:
    return past_the_window(keys) if keys.beside.reached is not None or LONGER in keys.beside.environment else None


def _first(stated: Mapping[str, int]) -> str:
    return next((name for name in known.OTHER_WINDOWS[:4] if name in stated), "")


OVERRIDES = "sglang 0.5.23, srt/utils/hf_transformers/config.py:411"
# Its model files that call get_rope without rope_scaling (0.4.6 to 0.5.23), and so turn every model as trained.
ALWAYS_PLAIN = frozenset(
    "dbrx gemma gemma2 gptj granitemoe grok-1 mixtral olmo persimmon phi spark2_5 stablelm starcoder2 zaya".split()
)
QUIRKS = (
    Quirk(Verb.IGNORES, outside, OVERRIDES,
          way_out='Move them into text_config: --json-model-override-args \'{"text_config": {...}}\'.'),
    Quirk(Verb.IGNORES, theta_beside, OVERRIDES, "",
          """Put it inside: --json-model-override-args '{"rope_parameters": {"rope_theta": ...}}', with rope_type."""),
    Quirk(Verb.IGNORES, lost_theta, f"{OVERRIDES}: text_config is updated key by key",
          way_out="Repeat rope_theta inside the override, under rope_parameters."),
    Quirk(Verb.CRASHES, null_theta, "sglang 0.5.23, utils/hf_transformers/common.py, get_rope_config", way_out=NOT_NULL),
    Quirk(Verb.CRASHES, _asked, "https://github.com/sgl-project/sglang/issues/2108",
          way_out="Raise max_position_embeddings, and stretch the model to it."),
    *(
        Quirk(Verb.IGNORES, effect, f"sglang {seen}, models: getattr(config, 'rope_scaling', None)", versions,
              "Write rope_scaling and rope_theta too.")
        for seen, effect, versions in (
            ("0.5.6", new_spelling, "< 0.5.7"), ("0.5.8", _unless_read("0.5.7"), ">= 0.5.7, < 0.5.9"),
            ("0.5.9", _unless_read("0.5.9"), f">= 0.5.9, < {TRANSFORMERS_5}"),
        )
    ),
    Quirk(Verb.IGNORES, new_words, "sglang 0.5.8, models: getattr(config, 'rope_scaling', None)", "< 0.5.9",
          "Say rope_scaling in the override."),
    Quirk(Verb.IGNORES, _new_words, "sglang 0.5.9, models: getattr(config, 'rope_scaling', None)",
          f">= 0.5.9, < {TRANSFORMERS_5}", "Say rope_scaling in the override."),
    Quirk(Verb.IGNORES, always_plain(ALWAYS_PLAIN), "sglang 0.5.23, models: get_rope without rope_scaling",
          way_out=BASE_ALONE),
    Quirk(Verb.IGNORES, always_plain({"olmo2"}), "sglang 0.5.3, models/olmo2.py", "< 0.5.4", f"Use 0.5.4. {BASE_ALONE}"),
    Quirk(Verb.CRASHES, no_factor, FACTORY, way_out=WRITE_FACTOR),
    Quirk(Verb.CRASHES, stops("proportional", because="ValueError"), "sglang 0.5.10, rotary_embedding/factory.py", "< 0.5.11",
          "Use 0.5.11."),
    Quirk(Verb.IGNORES, without_alpha, "sglang 0.4.6, rotary_embedding.py", "< 0.4.9", "Use 0.4.9."),
    Quirk(Verb.CRASHES, whole_factor, "sglang 0.5.23, rotary_embedding/rope_variant.py", way_out=WRITE_WHOLE),
    Quirk(Verb.CRASHES, no_bands, FACTORY, way_out=WRITE_BANDS),
    Quirk(Verb.CRASHES, _no_length, "sglang 0.5.9, rotary_embedding.py", f"< {TRANSFORMERS_5}",
          "Write original_max_position_embeddings."),
    Quirk(Verb.REPLACES, missing_length(lambda keys: keys.longest, *RAMPED), FACTORY, f">= {TRANSFORMERS_5}",
          "Write original_max_position_embeddings."),
    Quirk(Verb.IGNORES, without_sections, "sglang 0.5.8, rotary_embedding.py", "< 0.5.9", "Use 0.5.9."),
    Quirk(Verb.CRASHES, _mrope_mscale, "sglang 0.5.23, rotary_embedding/mrope.py:439", f">= {MSCALE}"),
    Quirk(Verb.REPLACES, _laguna, f"{PULLS}/33558", f"< {LAGUNA_FIX}", f"Use {LAGUNA_FIX}."),
    Quirk(Verb.IGNORES, _temperature(multiplied_factor, "attn_factor"), "sglang 0.5.15, rotary_embedding/factory.py",
          f"< {MSCALE}", "Add attn_factor = m / (0.1 ln s + 1)."),
    Quirk(Verb.IGNORES, lambda keys: None if is_mla(keys) else drops("truncate")(keys), "sglang 0.5.6, rotary_embedding.py",
          f"< {TRUNCATE}", f"Use {TRUNCATE}."),
    Quirk(Verb.IGNORES, _temperature(_multiplied, "attn_factor", "mscale", "mscale_all_dim"), f"{FACTORY}:319", f">= {MSCALE}",
          way_out="Add mscale and mscale_all_dim: 1 with m = (0.1 mscale ln s + 1) / (0.1 ln s + 1)."),
    Quirk(Verb.REPLACES, _mla_type, "sglang 0.5.23, models/deepseek_v2.py:2064"),
    Quirk(Verb.IGNORES, lambda keys: drops("truncate")(keys) if is_mla(keys) else None, FACTORY),
    Quirk(Verb.REPLACES, static_dynamic(lambda f: f * f - f + 1), "sglang 0.5.23, rotary_embedding/rope_variant.py:880",
          way_out="Use a static factor."),
    Quirk(Verb.CRASHES, stops("ntk", because="ValueError"), FACTORY),
    Quirk(Verb.IGNORES, _gemma_plain, "sglang 0.5.11, gemma3_causal.py:576", ">= 0.5.10, < 0.5.12", "Use 0.5.14."),
    Quirk(Verb.CRASHES, _gemma_factor, "sglang 0.5.13, gemma3_causal.py:582", ">= 0.5.12, < 0.5.14", "Use 0.5.14."),
    Quirk(Verb.REPLACES, _gemma_linear, "sglang 0.5.13, gemma3_causal.py:582", ">= 0.5.12, < 0.5.14", "Use 0.5.14."),
    Quirk(Verb.CRASHES, old_name("ValueError"), FACTORY, way_out="Write longrope."),
    Quirk(Verb.REPLACES, _switch, "sglang 0.5.23, rotary_embedding/rope_variant.py:141"),
    Quirk(Verb.IGNORES, longrope_formula("long_mscale"), FACTORY, way_out="Add short_mscale and long_mscale."),
    Quirk(Verb.IGNORES, without_factor, FACTORY),
    Quirk(Verb.REPLACES, _multiplied_window, "sglang 0.5.23, utils/hf_transformers/common.py:677",
          way_out="Give --context-length."),
    Quirk(Verb.CLAMPS, _short_window, "https://github.com/sgl-project/sglang/issues/2943",
          way_out="Raise max_position_embeddings, or give --context-length with "
          "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1."),
    Quirk(Verb.CLAMPS, other_window(_first), "sglang 0.5.23, utils/hf_transformers/common.py:677, CONTEXT_LENGTH_KEYS",
          way_out="Raise that key too, or take it out."),
    Quirk(Verb.PASSES, _beyond, "sglang 0.5.23, configs/model_config.py:1302", way_out=STRETCH_IT),
)  # fmt: skip


def commands(plan: ScalingPlan, config: Mapping[str, Any], folder: str = "DIR") -> tuple[str, ...]:
    text = text_of(config)
    keys = ("rope_parameters", "rope_scaling", "rope_theta", *(name for name in rotation_keys(config) if "rope" not in name))
    override = {key: text[key] for key in keys if text.get(key) is not None}
    override = inside(config, override)
    serve = f"python -m sglang.launch_server --context-length {plan.target_length} --model-path"
    return (f"{serve} {folder}", f"{serve} ORIGINAL --json-model-override-args '{json.dumps(override)}'")


def write(plan: ScalingPlan, config: Mapping[str, Any], version: str = "") -> Written:
    return written(ENGINE, plan, config, version)


ENGINE = register(
    Engine("sglang", "SGLang", "0.5.23", "config.json", QUIRKS, write, commands=commands, oldest="0.4.6", window=_window)
)
