"""The keys that a GGUF has of a tokenizer, made of a tokenizer.json as llama.cpp's convert_hf_to_gguf.py makes them."""

import json
from pathlib import Path

from ropewalk.engines.transformers.checkpoint import bundled_model

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def of_bytes(path: Path | None = None, pre: str = "smollm", **more) -> dict:
    """A tokenizer that merges bytes; the bundled model's where none is named."""
    said = json.loads(((path or bundled_model()) / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"]: token["special"] for token in said["added_tokens"]}
    words = said["model"]["vocab"] | {token["content"]: token["id"] for token in said["added_tokens"]}
    tokens = sorted(words, key=words.get)
    types = [NORMAL if i not in special else CONTROL if special[i] else USER_DEFINED for i in range(len(tokens))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in said["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges, **_named(more),
    }  # fmt: skip


def of_pieces(pieces: list[tuple[str, float, int]], **more) -> dict:
    """pieces: (text, score, type), as SentencePiece has them."""
    tokens, scores, types = map(list, zip(*pieces, strict=True))
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": types, **_named(more),
    }  # fmt: skip


def _named(keys: dict) -> dict:
    return {key if key.startswith("tokenizer.") else f"tokenizer.ggml.{key}": value for key, value in keys.items()}
