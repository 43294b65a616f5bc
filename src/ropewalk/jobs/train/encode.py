"""Texts to token ids for training: BOS, the text, EOS; a special token that is spelt in a text stays text.

A document about tokenizers, or one that somebody prepared, may say "<|endoftext|>" or "<s>". A tokenizer makes that the
special id unless told otherwise, and training would see a document end that is none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ropewalk.errors import BadConfig


class Encoder:
    """A tokenizer's plain half: no special tokens but BOS and EOS, no truncation, no padding.

    tokenizer: one of transformers that stands on a fast tokenizer, which is copied, not changed.
    spelt: how often each special token was found in texts.
    """

    def __init__(self, tokenizer: Any):
        from tokenizers import Tokenizer

        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise BadConfig(
                f"this tokenizer ({type(tokenizer).__name__}) has no fast form, which training texts are encoded with.\n"
                "  Give a model folder that has a tokenizer.json."
            )
        self.plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.plain.encode_special_tokens = True
        self.plain.no_truncation()
        self.plain.no_padding()
        added = {token.content: i for i, token in self.plain.get_added_tokens_decoder().items() if token.special}
        self.pattern = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or r"(?!)")
        self.special = numpy.array(sorted(set(added.values()) - {tokenizer.unk_token_id}), dtype=numpy.int64)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        largest = max(self.plain.get_vocab(with_added_tokens=True).values(), default=0)
        self.dtype = numpy.dtype("<u2" if largest < 2**16 else "<u4")
        self.start = numpy.array([] if bos is None else [bos], dtype=self.dtype)
        self.end = numpy.array([] if eos is None or eos == bos else [eos], dtype=self.dtype)
        self.spelt: Counter[str] = Counter()

    def __call__(self, texts: Sequence[str]) -> Iterator[numpy.ndarray | None]:
        """The ids of each text, in `dtype`; None where a special token came out of a text in spite of everything."""
        encoded = self.plain.encode_batch_fast(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encoded, strict=True):
            yield self._document(text, encoding.ids)

    def _document(self, text: str, ids: list[int]) -> numpy.ndarray | None:
        body = numpy.array(ids, dtype=self.dtype)
        if numpy.isin(body, self.special).any():
            return None
        self.spelt.update(self.pattern.findall(text))
        return numpy.concatenate([self.start, body, self.end])
