"""GGUF files for tests, written with struct alone from ggml-org/ggml, docs/gguf.md."""

import struct

STRING, FLOAT32, UINT32, ARRAY = 8, 6, 4, 9


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: object) -> bytes:
    if isinstance(item, str):
        return struct.pack("<I", STRING) + text(item)
    if isinstance(item, float):
        return struct.pack("<If", FLOAT32, item)
    if isinstance(item, list) and item and isinstance(item[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(item)) + b"".join(text(word) for word in item)
    if isinstance(item, list):
        return struct.pack("<IIQ", ARRAY, FLOAT32, len(item)) + struct.pack(f"<{len(item)}f", *item)
    return struct.pack("<II", UINT32, item)


def gguf(keys: dict, tensors: dict[str, list[float]] | None = None, version: int = 3) -> bytes:
    """A whole file; tensors are one-dimensional float32."""
    tensors = tensors or {}
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    head += b"".join(text(name) + value(item) for name, item in keys.items())
    offset, data = 0, b""
    for name, numbers in tensors.items():
        head += text(name) + struct.pack("<IQIQ", 1, len(numbers), 0, offset)
        block = struct.pack(f"<{len(numbers)}f", *numbers)
        block += bytes(-len(block) % 32)
        data, offset = data + block, offset + len(block)
    return head + bytes(-len(head) % 32) + data


QWEN3 = {
    "general.architecture": "qwen3", "general.name": "x", "qwen3.context_length": 131_072, "qwen3.block_count": 2,
    "qwen3.rope.dimension_count": 128, "qwen3.rope.freq_base": 1e6, "qwen3.rope.scaling.type": "yarn",
    "qwen3.rope.scaling.factor": 4.0, "qwen3.rope.scaling.original_context_length": 32_768,
    "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.scores": [0.0, 1.0],
}  # fmt: skip
