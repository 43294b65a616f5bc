"""Documents to read: held-out library files, tokenised."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.corpus import library_files, library_root, read_text


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    ids: tuple[int, ...]


def encoder(tokenizer: Any) -> Any:
    """Text to ids without special tokens, and without transformers' warning about long texts."""
    return lambda text: tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def library_documents(tokenizer: Any, *, tokens: int, count: int, seed: int = 0) -> list[Document]:
    """`count` held-out library files of at least `tokens` - 1 tokens, chosen by seed; BOS first, cut to `tokens`."""
    found = list(long_enough(tokenizer, tokens))
    if len(found) < count:
        raise BadConfig(
            f"only {len(found)} held-out library files have {tokens} tokens, {count} were asked for.\n"
            "  Ask for fewer documents or a shorter target; some distributions ship a reduced standard library."
        )
    chosen = random.Random(seed).sample(found, count)
    return sorted(chosen, key=lambda document: document.name)


def long_enough(tokenizer: Any, tokens: int) -> Iterator[Document]:
    """Every held-out library file of at least `tokens` - 1 tokens, in name order; BOS first, cut to `tokens`."""
    encode, root = encoder(tokenizer), library_root()
    for path in library_files(held_out=True):
        text = read_text(path)
        if text and len(text) >= tokens:  # a token is at least a character here
            ids = encode(text[: tokens * 8])
            if len(ids) >= tokens - 1:
                yield Document(path.relative_to(root).as_posix(), (tokenizer.bos_token_id, *ids[: tokens - 1]))
