"""Model types that transformers does not have: the code that comes with the checkpoint (auto_map) decides what it reads.

The published ones are read here as their code reads them. Of others it is only known that nothing is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ropewalk.engines.transformers.fields import Fields

Keys = Mapping[str, Any]
WINDOW, ORIGINAL = "max_position_embeddings", "original_max_position_embeddings"
SCALING = ("rope_parameters", "rope_scaling")
TYPED = frozenset({"linear", "dynamic"})


@dataclass(frozen=True, slots=True)
class OwnCode:
    """One model type.

    source: where its code was read.
    usual: the keys it reads, under the names that transformers gives them, each with where it stands: {key: (value, key)}.
    types: rope types that it takes; it raises on others, and reads no rope dict at all where there are none.
    word: the key of the type in its rope_scaling.  base: the key that sets its base, and what one of it stands for.
    says: what else its code does, a sentence for people.
    """

    source: str
    usual: Callable[[Fields], Mapping[str, tuple[Any, str]]]
    types: frozenset[str] = frozenset()
    word: str = "type"
    base: tuple[str, float] = ("rope_theta", 1.0)
    says: Callable[[Fields], str] = lambda fields: ""


def _as_written(fields: Fields) -> Mapping[str, tuple[Any, str]]:
    return {}


def _qwen(fields: Fields) -> Mapping[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {"rope_theta": (fields.number("rotary_emb_base") or 10_000.0, "rotary_emb_base")}
    if channels := fields.whole("kv_channels"):
        found["head_dim"] = channels, "kv_channels"
    if trained := fields.whole("seq_length"):
        found[ORIGINAL] = trained, "seq_length"
        if WINDOW not in fields:
            found[WINDOW] = trained, "seq_length"
    return found


def _qwen_says(fields: Fields) -> str:
    L, does = fields.whole("seq_length"), []
    if fields.yes("use_dynamic_ntk"):
        does.append(f"stretches by dynamic NTK with alpha = 2^ceil(log2(l / {L}) + 1) - 1 beyond {L} tokens (use_dynamic_ntk)")
    if fields.yes("use_logn_attn"):
        does.append(f"scales queries by log_{L}(position) there (use_logn_attn)")
    return " and ".join(does)


def _chatglm(fields: Fields) -> Mapping[str, tuple[Any, str]]:
    heads = fields.whole("num_attention_heads") or 1
    size, where = fields.whole("kv_channels"), "kv_channels"
    if not size:
        size, where = (fields.whole("hidden_size") or 0) // heads, "hidden_size / num_attention_heads"
    ratio = fields.number("rope_ratio") or 1.0
    found: dict[str, tuple[Any, str]] = {
        "head_dim": (size, where),
        "rotary_dim": (size // 2, f"half of {where}"),
        "rope_theta": (10_000.0 * (1.0 if _divides(fields) else ratio), f"10,000 x rope_ratio {ratio:g}"),
    }
    if length := fields.whole("seq_length"):
        found[WINDOW] = length, "seq_length"
    if layers := fields.whole("num_layers"):
        found["num_hidden_layers"] = layers, "num_layers"
    if fields.yes("multi_query_attention") and (groups := fields.whole("multi_query_group_num")):
        found["num_key_value_heads"] = groups, "multi_query_group_num"
    if _divides(fields) and ratio > 1:
        found["rope_theta"] = 10_000.0, "fixed in the code of ChatGLM2"
        found["rope_scaling"] = {"rope_type": "linear", "factor": ratio}, "rope_ratio"
    return found


def _divides(fields: Fields) -> bool:
    """ChatGLM2's code divides positions by rope_ratio; ChatGLM3's and GLM-4's multiply the base by it. One model_type."""
    return "chatglm2" in str(fields.config.get("_name_or_path", "")).lower()


def _chatglm_says(fields: Fields) -> str:
    ratio = fields.number("rope_ratio") or 1.0
    if ratio == 1:
        return ""
    does = "divides positions by rope_ratio" if _divides(fields) else "multiplies the base 10,000 by rope_ratio"
    return f"{does} (the code of ChatGLM2-32k divides positions, that of ChatGLM3 and GLM-4 multiplies the base)"


def _internlm(fields: Fields) -> Mapping[str, tuple[Any, str]]:
    rotary = fields.part("rotary")
    found: dict[str, tuple[Any, str]] = {"rope_theta": (rotary.number("base") or 10_000.0, rotary.where("base"))}
    if rotary.text("type") == "dynamic":
        found["rope_scaling"] = {"rope_type": "dynamic", "factor": rotary.number("scaling_factor") or 1.0}, "rotary.type"
    return found


def _baichuan(fields: Fields) -> Mapping[str, tuple[Any, str]]:
    return {"rope_theta": (10_000.0, "fixed in the code of Baichuan-7B")}


OWN_CODE: Mapping[str, OwnCode] = {
    "qwen": OwnCode("Qwen-7B, modeling_qwen.py, get_ntk_alpha", _qwen, base=("rotary_emb_base", 1.0), says=_qwen_says),
    "chatglm": OwnCode("GLM-4-9B, modeling_chatglm.py, RotaryEmbedding", _chatglm, base=("rope_ratio", 10_000.0),
                       says=_chatglm_says),
    "internlm": OwnCode("InternLM-7B, modeling_internlm.py, _init_rope", _internlm, base=("", 1.0)),
    "internlm2": OwnCode("InternLM2, modeling_internlm2.py, _init_rope", _as_written, TYPED),
    "minicpm": OwnCode("MiniCPM4, modeling_minicpm.py, _init_rope", _as_written, TYPED | {"longrope"}, "rope_type"),
    "kimi_k2": OwnCode("Kimi-K2, modeling_deepseek.py, which is DeepSeek-V3's, _init_rope", _as_written, TYPED | {"yarn"}),
    "baichuan": OwnCode("Baichuan2-7B, modeling_baichuan.py", _baichuan, base=("", 1.0)),
}  # fmt: skip


def as_usual(text: Keys, kind: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(the keys as transformers would have them, where those that are not written so come from) of a type above."""
    own = OWN_CODE[kind]
    found = own.usual(Fields(text, path))
    unread = () if own.types else (*SCALING, "rope_theta", "partial_rotary_factor", "rotary_pct" if kind != "qwen" else "")
    kept = {key: value for key, value in text.items() if key not in unread}
    return kept | {k: v for k, (v, _) in found.items()}, {k: f"{path}{where}" for k, (_, where) in found.items()}


def unread_keys(text: Keys, kind: str) -> list[str]:
    """Keys about the rotation that are written, and that the code of this type does not look at."""
    own = OWN_CODE.get(kind)
    if own is None or own.types:
        return []
    return [key for key in (*SCALING, "rope_theta") if text.get(key) and key != own.base[0]]


def refused_type(kind: str, rope_type: str) -> str:
    """What is wrong with a rope type that the model's own code raises on; empty where it takes it."""
    own = OWN_CODE.get(kind)
    if not own or not own.types or rope_type == "default" or rope_type in own.types:
        return ""
    return f"rope type {rope_type!r}: {kind}'s own code knows {' and '.join(sorted(own.types))}, and raises an error on others"


def own_words(fields: Fields, kind: str, native: bool) -> str:
    """What a person should know of a model whose own code decides. native: whether transformers has this model_type."""
    own = OWN_CODE.get(kind)
    if own is None:
        return "" if native or not kind else (
            f"{kind} is no model of transformers 5.23: its own code decides what it reads of this "
            "config. The numbers are what transformers' usual keys mean; hold them against that code."
        )  # fmt: skip
    reads = (
        f"knows the rope types {', '.join(sorted(own.types))} alone"
        if own.types
        else "reads no rope_parameters or rope_scaling"
    )
    more = f", and {says}" if (says := own.says(fields)) else ""
    return f"{kind} is no model of transformers 5.23: its own code decides, which {reads}{more} ({own.source})."
