"""What version 4 of transformers makes of a config, and of latent attention 5 before 5.15.

The rotary modules of ten releases, 4.45.2 to 4.57.3, were built and read off; modeling_rope_utils.py was read in 15.
"""

from collections.abc import Mapping

from ropewalk.engines.engine import Quirk, Says, Verb
from ropewalk.engines.keys import LENGTH, Keys, mscale
from ropewalk.engines.keys import temperature as temperature_of
from ropewalk.engines.longrope import is_longrope, long_lists_always, longrope_formula
from ropewalk.engines.quirks import (
    Effect,
    always_plain,
    drops,
    new_spelling,
    temperature,
    whole_heads,
)
from ropewalk.engines.transformers.known import LONGROPE_ONLY, SOFTMAX_MSCALE

REPOSITORY = "https://github.com/huggingface/transformers"
READS_LENGTH, TRUNCATE, FACTOR_FIX = "4.51", "4.55", "4.56"
# longrope's lists: the long one at every length, then the short one, then by the length of what is read, here from 4.51 on.
SHORT_LISTS, BY_LENGTH = "4.48", "4.51"
ONE_MODULE = "4.48"  # rotary modules take the config; before, those of these kinds took a base and nothing else:
WITHOUT = frozenset("gemma gemma2 glm jetmoe mistral mixtral".split())
ALWAYS_PLAIN = frozenset("dbrx idefics nemotron recurrent_gemma".split())  # in all of version 4
# Config classes that do not put rope_type where `type` stands.
ROPE_TYPE_ALONE = frozenset(
    "cohere cohere2 gemma3_text granite granitemoe granitemoeshared olmo3 qwen3_next qwen3_vl_moe_text qwen3_vl_text".split()
)
TWO_FIELDS, THREE_FIELDS = frozenset({"olmo", "olmo2"}), frozenset({"phi3", "phi4_multimodal"})
SOFTMAX, SOFTMAX_ALONE = "5.15", frozenset({"deepseek_v2", "minicpm3", "mistral4"})
NEEDS_DICT = frozenset({"qwen3_vl_text", "qwen3_vl_moe_text"})
OLD_ROPE_UTILS, NEWEST = "transformers 4.50.0, modeling_rope_utils.py", "transformers 4.57.3"
BEFORE_LISTS = "transformers 4.47.1, modeling_rope_utils.py"
AT_THE_TOP = f"Write {LENGTH} at the top of the config too."


def _old(keys: Keys) -> Mapping[str, object]:
    old = keys.model.get("rope_scaling")
    return old if isinstance(old, Mapping) else {}


def type_alone(keys: Keys) -> Says | None:
    if keys.kind not in ROPE_TYPE_ALONE or "type" not in _old(keys) or "rope_type" in _old(keys):
        return None
    return Says("rope_scaling without the word `rope_type` (KeyError)", runs=False)


def two_fields(keys: Keys) -> Says | None:
    """OLMo's config classes count the fields of rope_scaling."""
    old = _old(keys)
    if keys.kind not in TWO_FIELDS or not old or (set(old) == {"type", "factor"} and old["type"] in ("linear", "dynamic")):
        return None
    return Says(f"rope_scaling of {keys.kind} that is not type, linear or dynamic, and factor (ValueError)", runs=False)


def llama3_alone(keys: Keys) -> Says | None:
    """Llama 4's module takes every dict for llama3."""
    if keys.kind != "llama4_text" or not _old(keys) or keys.rope_type == "llama3":
        return None
    return Says(f'rope_type "{keys.rope_type}" of llama4_text, which it takes for llama3 (KeyError)', runs=False)


def needs_dict(keys: Keys) -> Says | None:
    if keys.kind not in NEEDS_DICT or _old(keys):
        return None
    return Says(f"{keys.kind} without rope_scaling (AttributeError)", runs=False)


def needs_alpha(keys: Keys) -> Says | None:
    if not keys.kind.startswith("hunyuan_v1") or keys.rope_type != "dynamic" or keys.said.get("alpha"):
        return None
    return Says("dynamic of HunYuan without alpha (KeyError)", runs=False)


def own_length(keys: Keys) -> Says | None:
    """yarn's ramp was placed for max_position_embeddings, and the original length was checked and not used."""
    if keys.rope_type != "yarn" or not keys.states_length or keys.longest == keys.rope.original_length:
        return None
    what = f"original_max_position_embeddings of yarn: its ramp is placed for {keys.longest:,} tokens"
    return Says(what, keys.but(factor=keys.factor).with_length(keys.longest))


def stated_or_own(keys: Keys) -> float:
    stated = keys.said.get("attention_factor")
    return mscale(keys.factor) if stated is None else float(stated)


def ratio_wins(keys: Keys) -> Says | None:
    ratio = keys.longest / keys.rope.original_length
    if keys.rope_type != "yarn" or not keys.states_length:
        return None
    what = f"factor: {keys.factor:g}, and takes max / original = {ratio:g}"
    return Says(what, keys.but(factor=ratio) if ratio >= 1 else None)


def three_fields(keys: Keys) -> Says | None:
    """Version 4's config classes of Phi-3 and Phi-4 multimodal count the fields of rope_scaling."""
    old = _old(keys)
    if keys.kind not in THREE_FIELDS or not is_longrope(keys) or not old or (len(old) == 3 and "type" in old):
        return None
    return Says("rope_scaling of any other keys than type, short_factor and long_factor (ValueError)", runs=False)


def reads_the_top(keys: Keys) -> bool:
    """Phi's config classes have a default for it, or find it inside."""
    return is_longrope(keys) and keys.kind not in LONGROPE_ONLY


def whole_lists(keys: Keys) -> Says | None:
    """Phi-3's config class asked for a factor for every pair of a head, whatever share turns (Phi-4-mini: three quarters)."""
    share = keys.model.get("partial_rotary_factor", 1.0)
    if keys.kind != "phi3" or not is_longrope(keys) or share == 1:
        return None
    return Says(f"longrope lists of a share of {share} (ValueError)", runs=False)


def whole_bamba(keys: Keys) -> Says | None:
    """Its table without a scaling forgot the share."""
    return whole_heads({"bamba"})(keys) if keys.rope_type == "default" else None


def unstated_length(*instead: str) -> Effect:
    """Version 4 takes longrope's factor from two lengths at the top of the config, or else from `instead`."""

    def effect(keys: Keys) -> Says | None:
        if not reads_the_top(keys) or keys.model.get(LENGTH) or any(name in keys.said for name in instead):
            return None
        return Says(f"longrope without factor, and without {LENGTH} at the top of the config (TypeError)", runs=False)

    return effect


def length_inside(lists: str) -> Effect:
    """Version 4 looks for longrope's original length at the top of the config alone: all of M is short to it."""

    def effect(keys: Keys) -> Says | None:
        if not reads_the_top(keys) or keys.model.get(LENGTH) or not keys.said.get(lists):
            return None
        what = f"{LENGTH} inside rope_scaling: {keys.longest:,} is taken, and {lists} is read up to there"
        return Says(what, keys.but(long_factor=keys.said[lists]).with_length(keys.longest))

    return effect


def short_lists(keys: Keys) -> Says | None:
    """Its classes asked for no other table than the first, which is that of short_factor; Phi's own did."""
    if not reads_the_top(keys) or not keys.said.get("short_factor"):
        return None
    return Says("long_factor", keys.but(long_factor=keys.said["short_factor"]))


def long_lists(keys: Keys) -> Says | None:
    return None if keys.kind in LONGROPE_ONLY or keys.longest <= keys.rope.original_length else long_lists_always(keys)


def ratio_of_the_top(keys: Keys) -> Says | None:
    read = ("attention_factor", "long_mscale") if keys.kind == "phimoe" else ("attention_factor",)
    return longrope_formula(*read)(keys) if keys.model.get(LENGTH) else None


def no_softmax(keys: Keys) -> Says | None:
    """Classes of latent attention that left their softmax alone; DeepSeek-V3's multiplies it."""
    if keys.kind not in SOFTMAX_ALONE or not keys.said.get(SOFTMAX_MSCALE) or keys.factor <= 1:
        return None
    times = mscale(keys.factor, float(keys.said[SOFTMAX_MSCALE])) ** 2
    what = f"mscale_all_dim of the softmax, which was trained with {times:.4g} times the scale"
    return Says(what, keys.but(**{"attention_factor": temperature_of(keys), "mscale": None, SOFTMAX_MSCALE: None}))


EARLIER = (
    Quirk(Verb.IGNORES, new_spelling, "transformers 4.57, configuration_utils.py", "< 5",
          "Write rope_scaling and rope_theta beside rope_parameters."),
    Quirk(Verb.CRASHES, needs_dict, f"{NEWEST}, qwen3_vl/modeling_qwen3_vl.py", "< 5", "Write rope_scaling."),
    Quirk(Verb.CRASHES, type_alone, f"{NEWEST}, validate_rope", "< 5", "Write rope_type."),
    Quirk(Verb.CRASHES, two_fields, f"{NEWEST}, olmo2/configuration_olmo2.py", "< 5", "Use transformers 5."),
    Quirk(Verb.CRASHES, three_fields, f"{NEWEST}, phi3/configuration_phi3.py", "< 5", "Use transformers 5."),
    Quirk(Verb.CRASHES, whole_lists, "transformers 4.48.0, phi3/configuration_phi3.py:207", "< 4.49", "Use 4.49."),
    Quirk(Verb.CRASHES, llama3_alone, f"{NEWEST}, llama4/modeling_llama4.py:174", "< 5", "Use transformers 5."),
    Quirk(Verb.CRASHES, needs_alpha, f"{NEWEST}, hunyuan_v1_dense/modeling_hunyuan_v1_dense.py", "< 5", "Write alpha."),
    Quirk(Verb.IGNORES, always_plain(ALWAYS_PLAIN), f"{NEWEST}, nemotron/modeling_nemotron.py", "< 5", "Use transformers 5."),
    Quirk(Verb.IGNORES, always_plain(WITHOUT), "transformers 4.47.1, mistral/modeling_mistral.py", f"< {ONE_MODULE}",
          f"Use {ONE_MODULE}."),
    Quirk(Verb.IGNORES, temperature(stated_or_own, "attention_factor"), f"{OLD_ROPE_UTILS}:196", f"< {READS_LENGTH}",
          "Write attention_factor, the absolute value."),
    Quirk(Verb.REPLACES, whole_bamba, "transformers 5.14.0, bamba/modeling_bamba.py", f">= 5, < {SOFTMAX}", f"Use {SOFTMAX}."),
    Quirk(Verb.IGNORES, no_softmax, "transformers 5.14.0, deepseek_v2/modeling_deepseek_v2.py", f"< {SOFTMAX}",
          f"Use {SOFTMAX}."),
    Quirk(Verb.IGNORES, drops("truncate"), f"{OLD_ROPE_UTILS}:212", f"< {TRUNCATE}",
          f"Use {TRUNCATE}, or write longrope factors."),
    Quirk(Verb.IGNORES, own_length, f"{OLD_ROPE_UTILS}:192", f"< {READS_LENGTH}",
          f"Use {READS_LENGTH}, or write longrope factors."),
    Quirk(Verb.REPLACES, ratio_wins, f"{REPOSITORY}/issues/38224", f">= {READS_LENGTH}, < {FACTOR_FIX}",
          "Make max_position_embeddings factor x original."),
    Quirk(Verb.CRASHES, unstated_length("factor", "attention_factor"), f"{OLD_ROPE_UTILS}, _compute_longrope_parameters",
          "< 5", AT_THE_TOP),
    Quirk(Verb.CRASHES, unstated_length("factor"), BEFORE_LISTS, f"< {SHORT_LISTS}", AT_THE_TOP),
    Quirk(Verb.IGNORES, length_inside("short_factor"), f"{NEWEST}, modeling_rope_utils.py:49", f">= {SHORT_LISTS}, < 5",
          AT_THE_TOP),
    Quirk(Verb.IGNORES, length_inside("long_factor"), BEFORE_LISTS, f"< {SHORT_LISTS}", AT_THE_TOP),
    Quirk(Verb.IGNORES, short_lists, "transformers 4.50.3, llama/modeling_llama.py", f">= {SHORT_LISTS}, < {BY_LENGTH}",
          f"Use {BY_LENGTH}."),
    Quirk(Verb.IGNORES, long_lists, BEFORE_LISTS, f"< {SHORT_LISTS}"),
    Quirk(Verb.IGNORES, ratio_of_the_top, f"{NEWEST}, modeling_rope_utils.py", "< 5", "Write attention_factor."),
)  # fmt: skip
