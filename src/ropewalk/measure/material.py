"""What samples are made of: a tokenizer, the text that things are hidden in, and files of questions."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig, BadLength, BadOption
from ropewalk.measure.texts import library_files, read_text

Split = Callable[[str], list[str]]
WORDS = "Ropewalk-asks-here"  # where a chat template puts what a user says


def split_sentences(text: str) -> list[str]:
    """Sentences end at a full stop, question mark or exclamation mark before white space."""
    return re.split(r"(?<=[.?!])\s+", text)


@dataclass(frozen=True)
class Material:
    """Everything a task may need; each part is read or computed on first use.

    tokenizer: a fast transformers tokenizer.
    text: the haystack; None takes the standard library: its docstrings where prose is wanted, its held-out source where
        code is.
    questions: a SQuAD file (qa_1) and a HotpotQA file (qa_2), by task name.
    split: text to sentences.
    spare_words: what common words are drawn from when the word list is too short (compat mode only).
    """

    tokenizer: Any
    text: str | None = None
    questions: dict[str, Path] = field(default_factory=dict)
    split: Split = split_sentences
    spare_words: tuple[str, ...] = ()

    def encode(self, text: str) -> list[int]:
        """Text to ids, without special tokens and without transformers' warning about long texts."""
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Any) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @property
    def start(self) -> tuple[int, ...]:
        """BOS, for a tokenizer that puts one before a text of its own accord or names one at all."""
        bos = self.tokenizer.bos_token_id
        return () if bos is None else (bos,)

    @cached_property
    def chat(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(what stands before a user's words, what stands between them and the reply), by the model's chat template."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise BadOption("this model has no chat template: leave out chat (--chat), and it is asked as a base model is.")
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": WORDS}], add_generation_prompt=True, tokenize=False, enable_thinking=False
            )
        except Exception as error:  # the template is the model's own code, and refuses in its own words
            raise BadOption(f"the model's chat template does not take a question: {error}") from None
        before, *after = text.split(WORDS)
        if len(after) != 1:
            raise BadOption(
                f"the model's chat template writes the user's words {len(after)} times; a prompt is made for once.\n"
                "  Leave out chat (--chat)."
            )
        return tuple(self.encode(before)), tuple(self.encode(after[0]))

    @cached_property
    def newlines(self) -> frozenset[int]:
        """Tokens that begin a line."""
        return frozenset(i for i in range(len(self.tokenizer)) if self.tokenizer.decode([i]).startswith("\n"))

    @cached_property
    def plain_tokens(self) -> tuple[int, ...]:
        """Tokens of ordinary text, for probes made of random tokens: no special ones, none that begins a line."""
        special = set(self.tokenizer.all_special_ids) | self.newlines
        return tuple(i for i in range(len(self.tokenizer)) if i not in special and self.tokenizer.decode([i]).strip())

    @cached_property
    def prose(self) -> str:
        return self.text if self.text is not None else library_prose()

    @cached_property
    def prose_ids(self) -> tuple[int, ...]:
        return tuple(self.encode(self.prose))

    @cached_property
    def code_ids(self) -> tuple[int, ...]:
        return tuple(self.encode(self.text if self.text is not None else library_code()))

    def slice_of(self, ids: tuple[int, ...], start: int, n: int) -> list[int]:
        """`n` ids from `start` on, going round to the beginning as often as it takes."""
        if not ids and n:
            raise BadLength("the haystack text has no tokens at all; pass a text with something in it.")
        piece: list[int] = []
        while len(piece) < n:
            piece += ids[start : start + n - len(piece)]
            start = 0
        return piece

    def question_file(self, name: str) -> Path:
        if name not in self.questions:
            kind = {"qa_1": "SQuAD (dev-v2.0.json)", "qa_2": "HotpotQA (hotpot_dev_distractor_v1.json)"}.get(name, "question")
            raise BadConfig(f"{name} needs a local file in {kind} format; none was named.\n  Ropewalk ships no question sets.")
        return self.questions[name]


@cache
def library_code() -> str:
    """The held-out source files of the standard library, one after another."""
    return "\n".join(text for path in library_files(held_out=True) if (text := read_text(path)))


@cache
def library_prose() -> str:
    """The standard library's docstrings as running text: paragraphs that read like sentences, each on one line.

    They differ between Python versions. Doctests, tables and signatures are left out.
    """
    found: list[str] = []
    for held_out in (True, False):
        for path in library_files(held_out=held_out):
            if text := read_text(path):
                found += _paragraphs(text)
    return "\n".join(dict.fromkeys(found))


def _paragraphs(source: str) -> list[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = [doc for node in nodes if isinstance(node, holders) and (doc := ast.get_docstring(node))]
    joined = [re.sub(r"\s+", " ", paragraph).strip() for doc in docs for paragraph in doc.split("\n\n")]
    return [p for p in joined if _reads_like_prose(p)]


def _reads_like_prose(paragraph: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    ends = paragraph.endswith((".", "?", "!"))
    return ends and paragraph.count(" ") >= 7 and letters > 0.9 * len(paragraph) and ">>>" not in paragraph
