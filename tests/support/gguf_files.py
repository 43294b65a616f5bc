"""GGUF files by the `gguf` package of llama.cpp's people: a second writer and a second reader, neither of them Ropewalk's."""

from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "model.layers": "blk",
}  # fmt: skip


def bundled(
    path: Path, arch: str = "llama", factors: np.ndarray | None = None, words: dict | None = None, **keys: float | int | str
) -> Path:
    """The bundled model, matrices in Q8_0, as convert_hf_to_gguf.py lays out a Llama; `keys` without the architecture.

    words: keys of its tokenizer, of support.gguf_words; without, tokens that mean nothing.
    """
    config = read_config(bundled_model())
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("ropewalk-tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    for name, item in keys.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(item)]
        add(name if name.startswith("split.") else f"{arch}.{name}", item)
    if words is None:
        writer.add_token_list([f"word{i}" for i in range(config["vocab_size"])])
        writer.add_token_scores([-i / 7 for i in range(config["vocab_size"])])
        writer.add_bool("tokenizer.ggml.add_bos_token", True)
    else:
        add_keys(writer, words)
    _add_tensors(writer, config, factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_keys(writer: gguf.GGUFWriter, keys: dict) -> None:
    """By the type of each value."""
    by_type = {
        str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32,
        list: writer.add_array,
    }  # fmt: skip
    for name, value in keys.items():
        by_type[type(value)](name, value)


def _add_tensors(writer: gguf.GGUFWriter, config: dict, factors: np.ndarray | None) -> None:
    for index, (name, tensor) in enumerate(sorted(load_file(bundled_model() / "model.safetensors").items())):
        if index == 3 and factors is not None:  # somewhere in the middle
            writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
        heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}.get(name[-13:-12])
        if "self_attn" in name and heads:
            tensor = _interleaved(tensor, heads)
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        numbers = tensor.to(torch.float32).numpy()
        kind = gguf.GGMLQuantizationType.Q8_0 if numbers.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)


def _interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """LlamaModel.permute of the converter: halves to neighbours."""
    rows, columns = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def contents(path: Path) -> tuple[dict, dict]:
    """(key -> (types, value), tensor -> (shape, type, bytes)), read by gguf.GGUFReader; its own three counts left out."""
    reader = gguf.GGUFReader(path)
    keys = {name: (list(field.types), field.contents()) for name, field in reader.fields.items() if name[:5] != "GGUF."}
    tensors = {t.name: (tuple(t.shape), int(t.tensor_type), np.asarray(t.data).tobytes()) for t in reader.tensors}
    return keys, tensors


def in_parts(path: Path, stem: Path, cuts: tuple[int, ...]) -> list[Path]:
    """The file in several, as llama-gguf-split lays them: keys in the first alone, tensors in all.  cuts: tensors."""
    whole = gguf.GGUFReader(path)
    ends, parts = [*cuts, len(whole.tensors)], []
    for number, (first, last) in enumerate(zip([0, *cuts], ends, strict=True)):
        parts.append(stem.with_name(f"{stem.name}-{number + 1:05d}-of-{len(ends):05d}.gguf"))
        writer = gguf.GGUFWriter(parts[-1], whole.fields["general.architecture"].contents())
        for name, field in whole.fields.items() if number == 0 else ():
            if not name.startswith("GGUF.") and name != "general.architecture":
                inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", len(ends))
        writer.add_int32("split.tensors.count", len(whole.tensors))
        for tensor in whole.tensors[first:last]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return parts
