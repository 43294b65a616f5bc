"""Small random models of published shapes, and their GGUFs: written by the gguf package with its own table of names, and with
the rows and norms as llama.cpp's convert_hf_to_gguf.py lays them out.

`random_model` is transformers' own; nothing here is of the code under test.
"""

import math
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

from support.gguf_files import add_keys

SIZES = {
    "vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
PHI_LONG = [1.0 + i / 4 for i in range(24)]
PHI_SHORT = [round(1.0 + i / 100, 2) for i in range(24)]


def _rope(theta, **scaling):
    return {"rope_type": "default", "rope_theta": theta, **scaling}


LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope", "long_factor": PHI_LONG, "short_factor": PHI_SHORT, "original_max_position_embeddings": 256,
    "partial_rotary_factor": 0.75,
}  # fmt: skip
GEMMA_ROPES = {
    "full_attention": _rope(1e6, rope_type="linear", factor=8.0),
    "sliding_attention": _rope(1e4),
}
# name -> (architecture of the GGUF, model type, what differs from SIZES)
SHAPES = {
    "llama": ("llama", "llama", {"rope_parameters": _rope(1e4), "tie_word_embeddings": False}),
    "llama 3.1": ("llama", "llama", {"rope_parameters": _rope(5e5, **LLAMA3), "tie_word_embeddings": True}),
    "llama with biases": ("llama", "llama", {"rope_parameters": _rope(1e4), "attention_bias": True, "mlp_bias": True}),
    "mistral": ("llama", "mistral", {"rope_parameters": _rope(1e6), "head_dim": 32, "sliding_window": None}),
    "qwen2": ("qwen2", "qwen2", {"rope_parameters": _rope(1e6), "tie_word_embeddings": True}),
    "qwen2 with yarn": ("qwen2", "qwen2", {"rope_parameters": _rope(1e6, **YARN)}),
    "qwen3": ("qwen3", "qwen3", {"rope_parameters": _rope(1e6), "head_dim": 96}),
    "gemma3": (
        "gemma3", "gemma3_text",
        {
            "rope_parameters": GEMMA_ROPES, "num_hidden_layers": 7, "head_dim": 32, "sliding_window": 24,
            "query_pre_attn_scalar": 32,
        },
    ),
    "phi3": ("phi3", "phi3", {"rope_parameters": _rope(1e4), "original_max_position_embeddings": 256}),
    "phi3 with longrope": (
        "phi3", "phi3",
        {
            "rope_parameters": _rope(1e4, **LONGROPE), "original_max_position_embeddings": 256,
            "max_position_embeddings": 1024,
        },
    ),
}  # fmt: skip


def random_model(name, seed=0):
    """A live model in float32, every number of it drawn: norms and biases too."""
    _, kind, more = SHAPES[name]
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **more})
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1 and key.endswith("norm.weight"):
                weight.copy_(torch.randn_like(weight) * 0.2 + (0.0 if kind.startswith("gemma") else 1.0))
            elif weight.ndim == 1:
                weight.normal_(std=0.3)
            else:
                weight.normal_(std=1.5 / math.sqrt(weight.shape[-1]))
    return model


def write_shape(path: Path, name, model, kind="F32", **keys) -> Path:
    """kind: what matrices are quantised as, by its name in the gguf package; the rest is float32.  keys: more keys."""
    arch = SHAPES[name][0]
    writer = gguf.GGUFWriter(path, arch)
    _add_header(writer, arch, model.config)
    add_keys(writer, keys)
    if not any(key.startswith("tokenizer.") for key in keys):
        writer.add_tokenizer_model("no_vocab")
    number = next(number for number, found in gguf.MODEL_ARCH_NAMES.items() if found == arch)
    names = gguf.get_tensor_name_map(number, model.config.num_hidden_layers)
    for key, tensor in _tensors(model, arch):
        numbers = tensor.numpy()
        wanted = gguf.GGMLQuantizationType[kind if numbers.ndim == 2 else "F32"]
        found = names.get_name(key, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(found, gguf.quants.quantize(numbers, wanted), raw_dtype=wanted)
    for key, factors in _factors(model.config).items():
        writer.add_tensor(key, np.asarray(factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_header(writer, arch, config):
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if head * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head)
        writer.add_value_length(head)
    ropes = config.rope_parameters
    rope = ropes.get("full_attention", ropes)
    writer.add_rope_freq_base(rope["rope_theta"])
    if arch in ("llama", "phi3"):
        writer.add_rope_dimension_count(int(head * (rope.get("partial_rotary_factor") or 1)))
    if arch == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    if arch == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        length = config.original_max_position_embeddings
        scale = config.max_position_embeddings / length
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(length)))


def _tensors(model, arch):
    config = model.config
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if arch == "llama" and (".q_proj." in key or ".k_proj." in key):
            heads = config.num_attention_heads if ".q_proj." in key else config.num_key_value_heads
            tensor = tensor.reshape(heads, 2, len(tensor) // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
        if arch == "gemma3" and key.endswith("norm.weight"):
            tensor = tensor + 1
        yield key, tensor.contiguous()


def _factors(config):
    """As convert_hf_to_gguf.py computes them, LlamaModel and Phi3MiniModel."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "longrope":
        return {"rope_factors_long.weight": rope["long_factor"], "rope_factors_short.weight": rope["short_factor"]}
    if rope.get("rope_type") != "llama3":
        return {}
    width = config.hidden_size // config.num_attention_heads
    length, slow, fast = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
    found = []
    for i in range(0, width, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / width)
        if wavelength < length / fast:
            found.append(1.0)
        elif wavelength > length / slow:
            found.append(rope["factor"])
        else:
            smooth = (length / wavelength - slow) / (fast - slow)
            found.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return {"rope_freqs.weight": found}
