"""What earlier releases of vLLM make of a config, dated in the sources of 29 of them, 0.6.6 to 0.33.0."""

from collections.abc import Mapping

from ropewalk.engines.engine import Quirk, Says, Verb
from ropewalk.engines.keys import CONFIG, LENGTH, Keys
from ropewalk.engines.longrope import is_longrope, long_lists_always
from ropewalk.engines.quirks import (
    always_plain,
    by_class_of_4,
    drops,
    is_mla,
    new_spelling,
    new_words,
    only_v5,
    stops,
    without_alpha,
    without_sections,
)
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.class_defaults import class_of

TRANSFORMERS_5 = "0.19.1"  # may be installed, and pip takes it; its setter replaces the dict with the base in it
LISTS_ONCE = "0.11.1"  # max_model_len chooses one of longrope's lists for good
HANDED_ON = "0.12"  # every model file hands rope_parameters on; before, these call get_rope without them:
ALWAYS_PLAIN = frozenset(
    "arctic dbrx falcon gemma gemma2 gpt_neox gptj grok-1 minimax minimax_m1 minimax_text_01 mixtral molmo olmo persimmon phi "
    "stablelm starcoder2 zamba2".split()
)
# Config classes of vLLM's own, 0.12 to 0.19, which know no rope_theta beside the dict.
OWN_CLASSES = frozenset(
    "afmoe flex_olmo lfm2_moe nemotron olmo3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next".split()
)
ALSO_PLAIN = {"0.11": frozenset({"olmo2"}), "0.10": frozenset({"granitemoe", "granitemoeshared"})}  # in those before
PATCHED = "vllm 0.12.0, transformers_utils/config.py"
OLD_TRANSFORMERS = f">= {HANDED_ON}, < {TRANSFORMERS_5}"  # 4, with which rope_parameters are made of the old keys


def _old_words_first(keys: Keys) -> Says | None:
    """transformers 4's rope_scaling is put in the place of rope_parameters."""
    own = keys.beside.own
    if not keys.beside.new_words or own is None or not isinstance(own.model.get("rope_scaling"), Mapping):
        return None
    return Says("rope_parameters of the override: rope_scaling of the config takes their place", own)


def _class_base(keys: Keys) -> Says | None:
    """transformers 4 knows no rope_theta inside rope_parameters: its class's own is written over it (run for 0.12 to 0.19)."""
    own = keys.beside.own or keys
    base = by_class_of_4(own).rope.rope_theta
    known_class = class_of(own.kind) and own.kind not in OWN_CLASSES
    if not only_v5(own) or own.nested or not known_class or base == keys.rope.rope_theta:
        return None
    return Says(f"rope_theta inside rope_parameters: the class's own {base:g} is taken", keys.with_theta(base))


def _nested_words(keys: Keys) -> Says | None:
    if not only_v5(keys) or not keys.nested or keys.kind not in {*known.OLD_LOCAL_BASE, "gemma3n_text"}:
        return None
    return Says("one dict per layer type in rope_parameters alone (ValueError)", runs=False)


def _long_batch(keys: Keys) -> Says | None:
    said = long_lists_always(keys) if (keys.beside.asked or keys.longest) > keys.rope.original_length else None
    return said and Says("longrope: one input beyond the original length takes its whole batch to the long lists")


def _sections_yarn(keys: Keys) -> Says | None:
    """MRotaryEmbedding hands itself to yarn's function, which looks for a `truncate` that it does not have."""
    if keys.rope_type != "yarn" or "mrope_section" not in keys.said:
        return None
    return Says("mrope_section beside yarn (AttributeError when the model is built)", runs=False)


def long_lists(keys: Keys) -> Says | None:
    """From LISTS_ONCE on max_model_len above L chooses the long lists for good; M = L, or a smaller one, the short ones."""
    longest = keys.beside.asked or served(keys)
    return long_lists_always(keys) if longest > keys.rope.original_length else None


def served(keys: Keys) -> int:
    """max_model_len where nobody says it: L of longrope, where it stands at the top of the config."""
    stated = keys.model.get(LENGTH)
    return min(int(stated), keys.longest) if stated and is_longrope(keys) and keys.text == CONFIG else keys.longest


def short_window(keys: Keys) -> Says | None:
    if keys.beside.asked or served(keys) >= keys.longest:
        return None
    return Says(f"at original_max_position_embeddings, unless --max-model-len says {keys.longest:,}", window=served(keys))


EARLIER = (
    Quirk(Verb.IGNORES, new_spelling, "vllm 0.11.2, transformers_utils/config.py:393", f"< {HANDED_ON}",
          "Write rope_scaling and rope_theta too."),
    Quirk(Verb.IGNORES, new_words, "vllm 0.11.2, transformers_utils/config.py:393", f"< {HANDED_ON}",
          "Say rope_scaling in the override."),
    Quirk(Verb.IGNORES, _old_words_first, f"{PATCHED}:305", OLD_TRANSFORMERS, "Say rope_scaling in the override."),
    Quirk(Verb.IGNORES, _class_base, f"{PATCHED}:307", OLD_TRANSFORMERS, "Write rope_theta beside rope_parameters too."),
    Quirk(Verb.CRASHES, _nested_words, f"{PATCHED}:307", OLD_TRANSFORMERS, "Write the old keys beside rope_parameters."),
    *(
        Quirk(Verb.IGNORES, always_plain(kinds), "vllm 0.11.2, models: get_rope without rope_scaling", f"< {version}",
              f"Use {version}, or stretch by the base alone: ntk.")
        for version, kinds in ((HANDED_ON, ALWAYS_PLAIN), *ALSO_PLAIN.items())
    ),
    Quirk(Verb.IGNORES, lambda keys: None if is_mla(keys) else drops("truncate")(keys),
          "vllm 0.11.2, rotary_embedding/common.py:114", f"< {HANDED_ON}", f"Use {HANDED_ON}, or write longrope factors."),
    Quirk(Verb.CRASHES, _sections_yarn, "vllm 0.16.0, rotary_embedding/mrope.py", f">= {HANDED_ON}, < 0.17", "Use 0.17."),
    Quirk(Verb.IGNORES, without_alpha, "vllm 0.8.5, rotary_embedding.py", "< 0.9", "Use 0.9."),
    Quirk(Verb.CRASHES, stops("proportional", because="ValueError"), "vllm 0.18.0, rotary_embedding/__init__.py", "< 0.19",
          "Use 0.19."),
    Quirk(Verb.CRASHES, stops("ntk", because="ValueError"), "vllm 0.8.5, rotary_embedding.py", "< 0.9",
          "Write the larger rope_theta instead."),
    Quirk(Verb.IGNORES, without_sections, "vllm 0.10.2, rotary_embedding/__init__.py", "< 0.11", "Use 0.11."),
    Quirk(Verb.DRIFTS, _long_batch, "vllm 0.11.0, phi3_long_rope_scaled_rope.py", f"< {LISTS_ONCE}"),
)  # fmt: skip
