"""What MLX-LM's model files make of a config: one file a model, each with its own idea of which keys it reads.

Measured: every model was built on no weights, and its rotation read off, in 47 releases, 0.21.0 to 0.32.2, and the newest
again by tests/engines/test_mlx_models.py.
"""

from collections.abc import Collection, Mapping

from ropewalk.engines.engine import Says
from ropewalk.engines.keys import LENGTH, Keys
from ropewalk.engines.longrope import is_longrope, longrope_formula
from ropewalk.engines.quirks import (
    Effect,
    head_channels,
    no_factor,
    only_v5,
    plain,
    stops,
    turning,
    unread,
)
from ropewalk.engines.transformers import known
from ropewalk.engines.transformers.layers import SLIDING

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
    "cohere cohere2 dbrx ernie4_5 ernie4_5_moe gemma gemma2 gemma3n_text glm glm4 glm4_moe gpt_neox granitemoehybrid helium "
    "lfm2 lfm2_moe mimo_v2_flash minimax minimax_m2 mixtral nanochat olmo olmo_hybrid phi phi3small qwen2_moe qwen3_moe "
    "recurrent_gemma solar_open stablelm starcoder2".split()
)
# Files that check rope_scaling: the types that they take, all others being an error, and by which word they know one.
TAKES = {
    "phi3": ("longrope", "su"), "phimoe": ("longrope", "su"), "nemotron": ("linear",), "qwen2_moe": ("linear",),
    "hunyuan_v1_dense": ("dynamic",), "internlm2": ("linear", "dynamic"), "internlm3": ("linear", "dynamic"),
}  # fmt: skip
WORD = {"nemotron": "type", "qwen2_moe": "type", "phi3": "type", "internlm2": "type", "internlm3": "rope_type"}
DEEPSEEK_3 = frozenset({"deepseek_v3", "kimi_k2", "joyai_llm_flash"})  # one file
DOUBLED = frozenset({"internlm2", "internlm3"})
# The rotated share of a head that a file takes where none stands at the top of the config.
SHARES = {"phi3": 1.0, "phi": 0.4, "nemotron": 0.5}
NEEDS_DICT = frozenset({"deepseek_v2", "minicpm3"})  # rope_scaling is opened whether it is there or not
OWN_YARN = frozenset({"deepseek_v2"})  # makes its own yarn of every rope_scaling
OWN_LISTS = frozenset({"phi3", "phimoe", "minicpm3"})  # longrope of their own, from the first
WHOLE_HEADS = frozenset({"glm"})  # rotates every channel, whatever share the config states


def needs_theta(kinds: Collection[str]) -> Effect:
    def effect(keys: Keys) -> Says | None:
        if not only_v5(keys) or keys.kind not in kinds or "rope_theta" in keys.model:
            return None
        return Says("rope_parameters without rope_theta beside it (TypeError)", runs=False)

    return effect


def new_spelling(*, kinds: Collection[str] = (), but_by: Collection[str] = ()) -> Effect:
    """rope_parameters, where files of `kinds`, or all but those of `but_by`, do not read it."""

    def effect(keys: Keys) -> Says | None:
        if not only_v5(keys) or (keys.kind not in kinds if kinds else keys.kind in but_by):
            return None
        local = keys.layer_type == SLIDING and known.DEFAULT_LOCAL_THETA.get(keys.kind)
        if local:  # nothing at the top is its base
            return Says("rope_parameters, and what is in it", plain(keys).with_theta(local))
        bare, share = unread(keys, DEFAULT_THETA.get(keys.kind)), SHARES.get(keys.kind)
        if share and "partial_rotary_factor" not in keys.model:
            bare = turning(bare, int(share * head_channels(bare)))
        return Says("rope_parameters, and what is in it", bare)

    return effect


def null_theta(keys: Keys) -> Says | None:
    """Where its file reads the base: nn.RoPE(base=None) is a ValueError, "Neither base nor freqs" (run at 0.32.2)."""
    if not keys.beside.null_theta or (only_v5(keys) and keys.kind not in READS_V5):
        return None
    return Says("rope_theta: null (ValueError when a text is read)", runs=False)


def needs_factor(keys: Keys) -> Says | None:
    return no_factor(keys) if keys.rope_type == "yarn" else None


def takes(types: Mapping[str, tuple[str, ...]], word: Mapping[str, str]) -> Effect:
    """Files that check rope_scaling, "default" included where a dict says it."""

    def effect(keys: Keys) -> Says | None:
        taken, old = types.get(keys.kind), keys.model.get("rope_scaling")
        if not taken or only_v5(keys) or (keys.rope_type == "default" and not old):
            return None
        needed = word.get(keys.kind)
        named = not needed or (isinstance(old, Mapping) and old.get(needed))
        if named and keys.rope_type in taken and (keys.kind != "hunyuan_v1_dense" or keys.said.get("alpha")):
            return None
        what = f'rope_type "{keys.rope_type}"' if named else f"rope_scaling without the word `{needed}`"
        return Says(f"{what} of {keys.kind}, whose file takes {' and '.join(taken)} alone", runs=False)

    return effect


def whole_factor(keys: Keys) -> Says | None:
    if keys.kind != "nemotron" or keys.rope_type != "linear" or not isinstance(keys.said.get("factor"), int):
        return None
    return Says(f"factor: {keys.said['factor']} of nemotron without a decimal point (AssertionError)", runs=False)


def needs_lists_of_pairs(keys: Keys) -> Says | None:
    """Phi-3's file knew no share: lists of Phi-4-mini's 48 pairs against 64."""
    if keys.kind != "phi3" or not is_longrope(keys) or head_channels(keys) <= keys.rope.rotary_dim:
        return None
    return Says("longrope lists of a share of a head (ValueError)", runs=False)


def needs_length(keys: Keys) -> Says | None:
    """longrope's length is opened inside the dict; Phi's and MiniCPM3's files look elsewhere, or have a default."""
    if keys.rope_type != "longrope" or keys.kind in OWN_LISTS or LENGTH in keys.said:
        return None
    return Says(f"longrope without {LENGTH} inside the dict (KeyError)", runs=False)


def length_inside(keys: Keys) -> Says | None:
    """What stands at the top of the config is not read, and each class has a default."""
    length = {"yarn": 4096, "llama3": 8192}.get(keys.rope_type)
    if length is None or LENGTH in keys.said:
        return None
    known_better = length != keys.rope.original_length
    if keys.states_length:
        what = f"{LENGTH} outside the dict: it takes {length:,}"
        return Says(what, keys.with_length(length)) if known_better else None
    return Says(f"the missing {LENGTH}: it takes {length:,}", keys.with_length(length) if known_better else None)


def own_spelling(keys: Keys) -> Says | None:
    """OLMo 1's file is of AI2's own configs."""
    if keys.kind != "olmo" or "d_model" in keys.model:
        return None
    return Says("a config of olmo in transformers' spelling (TypeError)", runs=False)


def global_base(keys: Keys) -> Says | None:
    """Gemma 3's file read rope_global_base_freq, 1e6."""
    if keys.kind != "gemma3_text" or keys.layer_type == SLIDING or keys.rope.rope_theta == 1e6:
        return None
    return Says("rope_theta of gemma3_text: it takes 1e6", keys.with_theta(1e6))


def linear_alone(kinds: Collection[str]) -> Effect:
    """Files that look for linear, by `type`, and for nothing else."""

    def effect(keys: Keys) -> Says | None:
        if keys.kind not in kinds or keys.rope_type in ("default", "linear"):
            return None
        return Says(f'rope_type "{keys.rope_type}" of {keys.kind}', plain(keys))

    return effect


def needs_window(keys: Keys) -> Says | None:
    """gpt-oss's file hands no max_position_embeddings on, of which longrope takes a ratio."""
    if keys.kind != "gpt_oss" or keys.rope_type != "longrope":
        return None
    return Says('rope_type "longrope" of gpt_oss (TypeError)', runs=False)


def no_dict(keys: Keys) -> Says | None:
    """Where a config has no rope dict, transformers takes its class's (gpt-oss's yarn)."""
    if keys.rope_type == "default" or any(keys.model.get(name) for name in ("rope_parameters", "rope_scaling")):
        return None
    return Says(f"the missing rope_parameters, which transformers fills in with {keys.rope_type}", plain(keys))


def needs_dict(kinds: Collection[str]) -> Effect:
    def effect(keys: Keys) -> Says | None:
        if keys.kind not in kinds or keys.model.get("rope_scaling"):
            return None
        return Says(f"{keys.kind} without rope_scaling (it stops with an error)", runs=False)

    return effect


def old_spelling_stops(keys: Keys) -> Says | None:
    if keys.kind not in {"ministral3", "glm_moe_dsa"} or "v5" in keys.spellings:
        return None
    return Says("a config without rope_parameters (TypeError)", runs=False)


def old_spelling(keys: Keys) -> Says | None:
    if keys.kind != "mistral4" or "v5" in keys.spellings or keys.rope_type == "default":
        return None
    return Says("rope_scaling", plain(keys))


def one_base(keys: Keys) -> Says | None:
    """OLMo 3's file has one base; transformers gives the sliding layers of an old config the class's."""
    stated = keys.model.get("rope_theta")
    if keys.kind != "olmo3" or keys.layer_type != SLIDING or not stated or keys.nested:
        return None
    return Says("the sliding layers' own base", keys.with_theta(float(stated)))


def formula(keys: Keys) -> Says | None:
    read = ("long_mscale",) if keys.kind == "phimoe" else ()  # whose file hands it on
    return longrope_formula(*read)(keys)


def lists_alone(keys: Keys) -> Says | None:
    """MiniCPM3's file hands rope_scaling to longrope, whose lists are ones where none are given."""
    if keys.kind != "minicpm3" or is_longrope(keys) or not keys.model.get("rope_scaling"):
        return None
    ones = [1.0] * (keys.rope.rotary_dim // 2)
    lists = {"rope_type": "longrope", "long_factor": ones, "short_factor": ones, "attention_factor": None, "factor": None}
    own = keys if keys.states_length else keys.with_length(4096)
    return Says(f'rope_type "{keys.rope_type}" of {keys.kind}: longrope without lists', own.but(**lists))


def needs_own_factor(kinds: Collection[str]) -> Effect:
    """Files that open `factor` of every rope_scaling."""

    def effect(keys: Keys) -> Says | None:
        if keys.kind not in kinds or not keys.model.get("rope_scaling") or "factor" in keys.said:
            return None
        return Says(f"rope_scaling of {keys.kind} without factor (KeyError)", runs=False)

    return effect


def own_yarn(kinds: Collection[str]) -> Effect:
    """DeepSeek's yarn of every rope_scaling."""

    def effect(keys: Keys) -> Says | None:
        if keys.kind not in kinds or keys.rope_type in ("default", "yarn"):
            return None
        return Says(f'rope_type "{keys.rope_type}" of {keys.kind}: it becomes yarn', keys.but(rope_type="yarn"))

    return effect


def chunks(keys: Keys) -> Says | None:
    if keys.rope_type != "dynamic" or keys.said.get("alpha"):  # HunYuan's model file has its own rotation
        return None
    return Says('rope_type "dynamic": the chunks of one prompt get different bases')


def short_then_long(keys: Keys) -> Says | None:
    """SuScaledRoPE of 0.29 and 0.30.0 looked at each call's end."""
    if not is_longrope(keys) or keys.said.get("long_factor") == keys.said.get("short_factor"):
        return None
    return Says("longrope: keys that calls within the original length cached with short_factor are read with long_factor")


def unknown(*types: str, but_by: Collection[str] = ()) -> Effect:
    """A type that rope_utils.py did not know; files of `but_by` have their own rotation."""
    stop = stops(*types, because="ValueError")

    def effect(keys: Keys) -> Says | None:
        return None if keys.kind in but_by or keys.said.get("alpha") else stop(keys)

    return effect


def yarn_of_1(but_by: Collection[str]) -> Effect:
    """initialize_rope read `factor` and did not hand it on: YarnRoPE's default is 1."""

    def effect(keys: Keys) -> Says | None:
        if keys.rope_type != "yarn" or keys.kind in but_by:
            return None
        return Says("yarn: its factor is read and not handed on", plain(keys))

    return effect


def doubled(keys: Keys) -> Says | None:
    """InternLM's files: nn's `scale`, by which positions are multiplied, is 2 unless linear says 1 / factor."""
    if keys.kind not in DOUBLED:
        return None
    if keys.rope_type == "linear":
        return Says(f"the base of {keys.kind}: it grows at each call beyond max_position_embeddings")
    return Says(f"positions of {keys.kind}: each is multiplied by 2, and the base grows beyond max_position_embeddings")
