"""From texts to the tokens and document ends of an index, batch by batch; what is passed over is counted with its reason."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy

from ropewalk.errors import BadConfig
from ropewalk.measure.records import tokenizer_hash
from ropewalk.measure.rows import Problem
from ropewalk.measure.texts import Text, Texts, is_held_out_file


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


BATCH = 2**20  # characters that are tokenised at a time
KEPT = 20  # problems that are named; the others are counted


@dataclass
class Passed:
    """What was passed over: how many places for each kind of reason, and the first of them by name."""

    count: Counter[str] = field(default_factory=Counter)
    first: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        self.count[problem.reason.partition(" (")[0].partition(":")[0]] += 1
        if len(self.first) < KEPT:
            self.first.append(problem)


def batches(texts: Texts, passed: Passed) -> Iterator[list[Text]]:
    """The texts that can be trained on, about BATCH characters at a time; a longer one comes with those before it."""
    batch, size = [], 0
    for text in texts:
        _drain(texts, passed)
        if reason := _unfit(text):
            passed.add(Problem(text.name, reason))
            continue
        batch.append(text)
        size += len(text.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    _drain(texts, passed)
    if batch:
        yield batch


def _drain(texts: Texts, passed: Passed) -> None:
    for problem in texts.problems:
        passed.add(problem)
    texts.problems.clear()


def _unfit(text: Text) -> str | None:
    if not text.text.strip():
        return "empty"
    try:
        text.text.encode()
    except UnicodeEncodeError as error:
        return f"not UTF-8: half a surrogate pair (character {error.start})"
    if text.name.endswith(".py") and is_held_out_file(Path(text.name)):
        return "held out: models are measured on this file of the standard library"
    return None


class Writer:
    """Appends documents to tokens.bin and to the raw ends, and hashes both on the way."""

    def __init__(self, tokens: BinaryIO, ends: BinaryIO, encoder: Encoder):
        self.files, self.encoder, self.passed = (tokens, ends), encoder, Passed()
        self.hashes = (hashlib.sha256(), hashlib.sha256())
        self.texts_hash = hashlib.sha256()
        self.documents = self.tokens = 0

    def add(self, batch: list[Text], limit: int) -> None:
        for text, ids in zip(batch, self.encoder([text.text for text in batch]), strict=True):
            if ids is None:
                self.passed.add(Problem(text.name, "a special token is spelt in it that this tokenizer cannot read as text"))
                continue
            self._write(text, ids)
            if self.tokens >= limit:
                return

    def _write(self, text: Text, ids: numpy.ndarray) -> None:
        self.documents += 1
        self.tokens += len(ids)
        data = text.text.encode()
        self.texts_hash.update(len(data).to_bytes(8, "little") + data)
        for file, digest, array in zip(self.files, self.hashes, (ids, numpy.array([self.tokens], dtype="<i8")), strict=True):
            file.write(array.tobytes())
            digest.update(array.tobytes())

    def facts(self, tokenizer: Any, texts: Texts) -> dict[str, Any]:
        name = tokenizer_hash(tokenizer)
        dtype = self.encoder.dtype.name
        parts = [dtype, name, *(digest.hexdigest() for digest in self.hashes)]
        return {
            "fingerprint": hashlib.sha256("/".join(parts).encode()).hexdigest()[:24],
            "dtype": dtype,
            "tokenizer": name,
            "bos": self.encoder.start.tolist(),
            "eos": self.encoder.end.tolist(),
            "sources": list(texts.sources),
            "text_field": texts.text_field,
            "texts_sha256": self.texts_hash.hexdigest(),
            "documents": self.documents,
            "tokens": self.tokens,
            "special_tokens_spelt_as_text": dict(self.encoder.spelt),
            "passed_over": {
                "count": self.passed.count.total(),
                "reasons": dict(self.passed.count),
                "first": [problem._asdict() for problem in self.passed.first],
            },
        }
