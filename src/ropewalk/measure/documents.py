"""Documents to read: which texts are long enough, which of them are chosen, and their tokens.

Tokens are not kept on disk: the bundled tokenizer makes 600,000 a second on one core (2026-11-24), so ten documents of 128k
take two seconds of a run that reads them for minutes or hours.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.measure.rows import Problem
from ropewalk.measure.texts import Text, Texts, joined_files

GUESS = 8  # characters per token that are tokenised first; a text is tokenised whole only where this is not enough
MARGIN = 64  # tokens near a cut in the text may not be those of the whole text


@dataclass(frozen=True, slots=True)
class Document:
    """ids: BOS first, where the tokenizer has one.  sha: of the whole text; empty where nobody asked."""

    name: str
    ids: tuple[int, ...]
    sha: str = ""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and out of what.

    documents: fewer than asked for only where no more are long enough.  found: texts seen.  duplicates: texts that came again.
    problems: what could not be read.
    """

    documents: list[Document]
    found: int
    duplicates: int
    problems: list[Problem]


def encoder(tokenizer: Any) -> Any:
    """Text to ids without special tokens, and without transformers' warning about long texts."""

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


BYTES = 4  # that a token of code has, and rather more than fewer


class Joined(Texts):
    """Held-out library files in a row, so that each text has about so many tokens at least."""

    def __init__(self, tokens: int):
        super().__init__(())
        self.size = tokens * BYTES

    def __iter__(self) -> Iterator[Text]:
        return (Text(*joined) for joined in joined_files(self.size))


def choose(texts: Texts, tokenizer: Any, *, tokens: int, count: int, seed: int = 0, whole: bool = False) -> Choice:
    """`count` texts of at least `tokens` tokens, BOS included, in name order; the others are not cut to fit, but left out.

    A text's turn depends on its words and the seed alone: adding a file changes the choice by that file at most, and the
    order of the sources changes nothing.
    whole: keep every token of a document; otherwise its first `tokens`.
    """
    ranked, found, duplicates = _ranked(texts, tokens, seed)
    chosen: list[Document] = []
    for sha, text in ranked:
        ids = _ids(tokenizer, text.text, tokens, whole)
        if len(ids) >= tokens:
            chosen.append(Document(text.name, ids if whole else ids[:tokens], sha))
        if len(chosen) == count:
            break
    documents = sorted(chosen, key=lambda document: document.name)
    return Choice(documents, found, duplicates, list(texts.problems))


def _ranked(texts: Texts, tokens: int, seed: int) -> tuple[list[tuple[str, Text]], int, int]:
    """(sha, text) of the different texts that may be long enough, in the order of a seeded hash; texts found; duplicates."""
    ranked: list[tuple[str, Text]] = []
    seen: set[str] = set()
    found = duplicates = 0
    for text in texts:
        found += 1
        data = text.text.encode("utf-8", "surrogatepass")
        sha = hashlib.sha256(data).hexdigest()[:16]
        duplicates += sha in seen
        if sha not in seen and len(data) >= tokens - 2:  # a token is at least a byte; BOS and a first space are none
            ranked.append((sha, text))
        seen.add(sha)
    ranked.sort(key=lambda item: hashlib.sha256(f"{seed}/{item[0]}".encode()).digest())
    return ranked, found, duplicates


def _ids(tokenizer: Any, text: str, tokens: int, whole: bool) -> tuple[int, ...]:
    encode = encoder(tokenizer)
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    cut = tokens * GUESS
    if not whole and len(text) > cut:
        ids = encode(text[:cut])
        if len(ids) >= tokens + MARGIN:
            return (*start, *ids)
    return (*start, *encode(text))


def too_few(choice: Choice, *, tokens: int, count: int, needed: int | None = None) -> str:
    """What to say where a choice is smaller than asked for: what is there, what is missing, the way out."""
    unread = f", {len(choice.problems)} places could not be read" if choice.problems else ""
    again = f", {choice.duplicates} came twice" if choice.duplicates else ""
    lines = [
        f"{choice.found} documents were found{unread}{again}; {len(choice.documents)} have the {tokens:,} tokens that are "
        f"read, {count} were asked for."
    ]
    lines += [f"  {problem.place}: {problem.reason}" for problem in choice.problems[:3]]
    if needed is not None:
        lines.append(f"  To see the difference asked about, about {needed} are needed.")
    lines.append("  Give more or longer texts as data (--data), ask for fewer documents, or for shorter lengths (--lengths).")
    return "\n".join(lines)


def check_documents(choice: Choice, *, tokens: int, count: int, least: int = 2) -> None:
    """Raises BadConfig where there are fewer than `least` documents: an interval over documents needs two."""
    if len(choice.documents) < min(least, count):
        raise BadConfig(too_few(choice, tokens=tokens, count=count))


def describe(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """For run.json: which documents were read."""
    return [{"name": d.name, "sha": d.sha, "tokens": len(d.ids)} for d in documents]
