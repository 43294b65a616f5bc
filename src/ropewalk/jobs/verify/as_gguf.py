"""A checkpoint as a GGUF in float32, for llama.cpp to score and then thrown away: no tokenizer, nothing quantised.

What is verified are the keys, which are the dialect's; the tensors are laid out as convert_hf_to_gguf.py of llama.cpp does it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ropewalk.checkpoints.weights import weight_files
from ropewalk.engines.gguf_file import FREQS
from ropewalk.engines.transformers.checkpoint import text_of
from ropewalk.errors import CannotExpress, extra_parts

# Layouts that are known here, by the graph's name.
LAID_OUT = ("llama", "qwen2", "qwen3", "gemma3")
GEMMA_PATTERN = 6  # llama.cpp's graph: every sixth layer sees all


def write_gguf(folder: Path, config: Mapping[str, Any], keys: Mapping[str, Any], out: Path) -> Path:
    """keys: of the rotary embedding, with general.architecture, as llama.cpp's dialect writes them.

    CannotExpress for architectures whose tensors are not laid out here; MissingPart without the package gguf.
    """
    gguf = package()
    arch, text = str(keys["general.architecture"]), text_of(config)
    if arch not in LAID_OUT:
        raise CannotExpress(
            f"the tensors of {arch} are not laid out for llama.cpp here, only those of {', '.join(LAID_OUT)}.\n"
            "  Convert it with llama.cpp's convert_hf_to_gguf.py, put the keys in, and verify the GGUF."
        )
    _check_pattern(arch, text)
    writer = gguf.GGUFWriter(out, arch)
    _add_sizes(writer, arch, text)
    _add_keys(writer, keys)
    names = gguf.get_tensor_name_map(_number(gguf, arch), int(text["num_hidden_layers"]))
    for name, tensor in _tensors(folder):
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None:
            raise CannotExpress(f"the package gguf knows no tensor of {arch} for {name}.")
        writer.add_tensor(ours, _laid_out(arch, name, tensor, text).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def package() -> Any:
    """What writes a GGUF for llama.cpp to read."""
    with extra_parts():
        import gguf
    return gguf


def _number(gguf: Any, arch: str) -> Any:
    return next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)


def _check_pattern(arch: str, text: Mapping[str, Any]) -> None:
    kinds = text.get("layer_types") or []
    wanted = ["sliding_attention" if (i + 1) % GEMMA_PATTERN else "full_attention" for i in range(len(kinds))]
    if arch == "gemma3" and list(kinds) != wanted:
        raise CannotExpress(
            f"llama.cpp's graph of gemma3 sees all in every {GEMMA_PATTERN}th layer; this model does elsewhere."
        )
    if arch != "gemma3" and set(kinds) - {"full_attention"}:
        raise CannotExpress(f"llama.cpp's graph of {arch} has no sliding windows, and this model has.")


def _add_sizes(writer: Any, arch: str, text: Mapping[str, Any]) -> None:
    heads = int(text["num_attention_heads"])
    head_dim = int(text.get("head_dim") or text["hidden_size"] // heads)
    writer.add_embedding_length(int(text["hidden_size"]))
    writer.add_block_count(int(text["num_hidden_layers"]))
    writer.add_feed_forward_length(int(text["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(text.get("num_key_value_heads") or heads))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(float(text["rms_norm_eps"]))
    writer.add_vocab_size(int(text["vocab_size"]))
    writer.add_tokenizer_model("no_vocab")
    if arch == "gemma3":
        writer.add_sliding_window(int(text["sliding_window"]))


def _add_keys(writer: Any, keys: Mapping[str, Any]) -> None:
    import numpy

    for name, value in keys.items():
        if name == FREQS:
            writer.add_tensor(FREQS, numpy.asarray(value, dtype=numpy.float32))
        elif name != "general.architecture":
            add = writer.add_string if isinstance(value, str) else writer.add_uint32 if isinstance(value, int) else None
            (add or writer.add_float32)(name, value)


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name).to(torch.float32)


def _laid_out(arch: str, name: str, tensor: torch.Tensor, text: Mapping[str, Any]) -> torch.Tensor:
    """Llama: channels that rotate together become neighbours. Gemma: norms are stored as 1 + w."""
    if arch == "gemma3" and name.endswith("norm.weight"):
        return tensor + 1
    if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
        heads = int(text["num_attention_heads"])
        return _interleaved(tensor, heads if ".q_proj." in name else int(text.get("num_key_value_heads") or heads))
    return tensor


def _interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """LlamaModel.permute of the converter: the two halves of each head, alternating."""
    return tensor.reshape(heads, 2, len(tensor) // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape).contiguous()
