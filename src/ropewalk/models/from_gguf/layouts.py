"""Which architectures of GGUFs are read, what their tensors are called in transformers, and how their rows lie there.

Read at llama.cpp 0c1e57098: conversion/*.py writes what is undone here, and src/models/*.cpp computes from it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ropewalk.engines.gguf_file import FREQS, LONG, SHORT, Tensor
from ropewalk.errors import BadConfig

OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
ATTENTION = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_down": "mlp.down_proj",
}  # fmt: skip
GATED = {**ATTENTION, "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj"}
NORMED = {**GATED, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
FOUR_NORMS = {
    **GATED, "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip
FUSED = {
    **{ours: theirs for ours, theirs in ATTENTION.items() if ours not in ("attn_q", "attn_k", "attn_v")},
    "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj",
}  # fmt: skip
READ_APART = frozenset({FREQS, LONG, SHORT})  # said in the config
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Layout:
    """kind: the model_type.  name: of the class.  blocks: what the tensors of a layer are called.  said: more of the config.

    interleaved: are the channels that rotate together neighbours in q and k? They are halves in transformers.
    shifted: are norms stored as 1 + w?
    biases: parts of a layer that may have one, and the keys of the config that say so; a key is true of all its parts.
    """

    kind: str
    name: str
    blocks: Mapping[str, str]
    said: Mapping[str, Any] = field(default_factory=dict)
    interleaved: bool = False
    shifted: bool = False
    biases: Mapping[str, str] = field(default_factory=dict)


LLAMA_BIASES = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), "attention_bias") | dict.fromkeys(
    ("ffn_gate", "ffn_up", "ffn_down"), "mlp_bias"
)
GELU = {"hidden_activation": "gelu_pytorch_tanh"}
LAYOUTS = {
    "llama": Layout("llama", "LlamaForCausalLM", GATED, {"hidden_act": "silu"}, interleaved=True, biases=LLAMA_BIASES),
    "qwen2": Layout(
        "qwen2", "Qwen2ForCausalLM", GATED, {"hidden_act": "silu", "use_sliding_window": False},
        biases=dict.fromkeys(("attn_q", "attn_k", "attn_v"), ""),
    ),
    "qwen3": Layout(
        "qwen3", "Qwen3ForCausalLM", NORMED, {"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False}
    ),
    "gemma3": Layout(
        "gemma3_text", "Gemma3ForCausalLM", {**NORMED, **FOUR_NORMS}, {**GELU, "attention_bias": False}, shifted=True
    ),
    "phi3": Layout("phi3", "Phi3ForCausalLM", FUSED, {"hidden_act": "silu"}),
}  # fmt: skip


def layout_of(arch: str) -> Layout:
    """BadConfig, with those that are read, for an architecture that is not."""
    if arch not in LAYOUTS:
        raise BadConfig(
            f"its architecture is {arch}, whose weights are not read here; those of {', '.join(sorted(LAYOUTS))} are.\n"
            "  `ropewalk doctor`, `plan` and `export` read the header of many more. To run it, take the model's safetensors."
        )
    return LAYOUTS[arch]


def named(layout: Layout, tensor: Tensor, layers: int) -> str | None:
    """What transformers calls it; None for what the config says. BadConfig for what neither has a place for."""
    if tensor.name in READ_APART:
        return None
    if tensor.name in OUTSIDE:
        return OUTSIDE[tensor.name]
    match = BLOCK.fullmatch(tensor.name)
    if match and int(match[1]) < layers and match[2] in layout.blocks and (match[3] == "weight" or match[2] in layout.biases):
        return f"model.layers.{int(match[1])}.{layout.blocks[match[2]]}.{match[3]}"
    raise BadConfig(
        f"it has the tensor {tensor.name}, and {layout.kind} has no place for it: what that part computes would be lost.\n"
        "  Is it a model with experts, adapters or a head of its own? Take its safetensors."
    )


def check_shape(tensor: Tensor, config: Mapping[str, Any]) -> None:
    """BadConfig where it is larger or smaller than the header says that the model is."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, value = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    fused = config["model_type"] == "phi3"
    rows = {
        "attn_q": query, "attn_k": value, "attn_v": value, "attn_qkv": query + 2 * value, "attn_output": hidden,
        "ffn_gate": inner, "ffn_up": 2 * inner if fused else inner, "ffn_down": hidden, "attn_q_norm": head,
        "attn_k_norm": head, "token_embd": config["vocab_size"], "output": config["vocab_size"],
    }  # fmt: skip
    part, kind = tensor.name.split(".")[-2:]
    width = {"attn_output": query, "ffn_down": inner}.get(part, hidden)
    matrix = kind == "weight" and not part.endswith("norm")
    wanted = (width, rows[part]) if matrix else (rows.get(part, hidden),)
    if tensor.shape != wanted:
        raise BadConfig(
            f"{tensor.name} has shape {list(tensor.shape)}, and by the header it must be {list(wanted)}:\n"
            "  the file contradicts itself. Is it the model that its name says?"
        )


def biases_of(layout: Layout, tensors: Mapping[str, Tensor], layers: int) -> dict[str, bool]:
    """The keys of the config that say which parts have a bias. BadConfig where only some of the parts of one key have."""
    found: dict[str, bool] = {}
    for key in sorted(filter(None, set(layout.biases.values()))):
        parts = [part for part, of in layout.biases.items() if of == key]
        there = [f"blk.{layer}.{part}.bias" in tensors for layer in range(layers) for part in parts]
        if any(there) and not all(there):
            raise BadConfig(f"only some of {', '.join(parts)} have a bias, and {layout.kind} has {key} for all or none.")
        found[key] = any(there)
    return found


def rows_of(layout: Layout, name: str, rows: int, heads: Callable[[str], int]) -> list[int] | None:
    """The order in which transformers has the rows of the tensor `name`, where it is another.  heads: of "q" or "k"."""
    match = BLOCK.fullmatch(name)
    if not layout.interleaved or not match or match[2] not in ("attn_q", "attn_k"):
        return None
    number = heads(match[2][-1])
    if not number or rows % (2 * number):
        raise BadConfig(f"{name} has {rows} rows, which are not {number} heads.")
    width = rows // number
    return [head * width + 2 * pair + half for head in range(number) for half in (0, 1) for pair in range(width // 2)]


def shift_of(layout: Layout, name: str) -> float:
    """What is taken from each number."""
    return 1.0 if layout.shifted and name.endswith("norm.weight") else 0.0
