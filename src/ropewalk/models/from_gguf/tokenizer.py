"""The tokenizer of a GGUF as the files that transformers reads: the tokens are those that llama.cpp gives.

Read at llama.cpp 0c1e57098, src/llama-vocab.cpp. It does not normalise a text (NFC, for one, which some tokenizer.json do).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.engines.transformers.fields import Fields
from ropewalk.errors import BadConfig
from ropewalk.models.from_gguf.opened import OpenedGGUF
from ropewalk.models.from_gguf.pretokenizers import CUTS, Cuts

BYTES, PIECES = "gpt2", "llama"  # kinds of tokenizers: merges of bytes, and of SentencePiece's pieces
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
BLANK = "▁"
# What llama.cpp takes for the end of a text by its spelling alone, whatever its type.
ENDS = (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] "
    "<|end_of_text|> <end_of_utterance> <eos> <｜end▁of▁sentence｜>"
).split()
STRIPPED = ("phi-3", "phi3")  # in general.name: blanks after a special token are no part of the text
NOT_STRIPPED = ("<unk>", "<s>", "<|endoftext|>")
WITHOUT = "  Give another as tokenizer (--tokenizer), or take the model's safetensors."
OWN = "tokenizer.ggml."


class Vocabulary:
    """What a header says of its tokens, each value checked when it is taken."""

    def __init__(self, opened: OpenedGGUF):
        self.opened, self.fields = opened, Fields(opened.found)
        self.kind = self.fields.text(f"{OWN}model") or "no_vocab"
        if self.kind in ("no_vocab", "none") or opened.value(f"{OWN}tokens") is None:
            raise BadConfig(f"{opened.path} has no tokenizer.\n{WITHOUT}")
        if self.kind not in (BYTES, PIECES):
            raise BadConfig(f"{opened.path} has a tokenizer of kind {self.kind!r}; {BYTES} and {PIECES} are read.\n{WITHOUT}")
        self.tokens = self._tokens()
        self.types = self._numbers("token_type", int)
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self.ids) < len(self.tokens):
            raise BadConfig(f"{opened.path} has tokens that are spelt alike: its tokenizer cannot tell them apart.\n{WITHOUT}")

    def _tokens(self) -> list[str]:
        found = self.opened.value(f"{OWN}tokens")
        if not isinstance(found, list) or not all(isinstance(token, str) for token in found):
            raise BadConfig(f"{OWN}tokens is no list of words.\n{WITHOUT}")
        tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(found)]
        if wrong := next(
            (number for number, token in enumerate(tokens) if not token.isprintable() and not _is_text(token)), None
        ):
            raise BadConfig(f"token {wrong} of {self.opened.path} is no text in UTF-8.\n{WITHOUT}")
        return tokens

    def _numbers(self, key: str, kind: type) -> list[Any]:
        found = self.opened.value(f"{OWN}{key}")
        if found is None:
            return [0] * len(self.tokens)
        if (
            not isinstance(found, list)
            or len(found) < len(self.tokens)
            or not all(isinstance(item, int | float) for item in found)
        ):
            raise BadConfig(f"{OWN}{key} is no list of a number for each of the {len(self.tokens):,} tokens.\n{WITHOUT}")
        return [kind(item) for item in found]

    def scores(self) -> list[float]:
        return self._numbers("scores", float)

    def merges(self) -> list[list[str]]:
        found = self.opened.value(f"{OWN}merges")
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise BadConfig(f"{OWN}merges is missing, or no list of words.\n{WITHOUT}")
        pairs = [(word[: (at := word.find(" ", 1))], word[at + 1 :]) for word in found if " " in word[1:]]
        return [[a, b] for a, b in pairs if a in self.ids and b in self.ids and a + b in self.ids]

    def token(self, name: str, default: int | None = None) -> str | None:
        found = self.fields.whole(f"{OWN}{name}")
        if found is None or found >= len(self.tokens):
            found = default if default is not None and default < len(self.tokens) else None
        return None if found is None else self.tokens[found]

    def yes(self, key: str, default: bool) -> bool:
        return self.fields.yes(f"{OWN}{key}", default)


def _is_text(token: str) -> bool:
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return True


def tokenizer_files(opened: OpenedGGUF) -> dict[str, Any]:
    """tokenizer.json, tokenizer_config.json and, where there is one, the chat template. BadConfig where none is read."""
    words = Vocabulary(opened)
    pieces = words.kind == PIECES
    name = words.fields.text(f"{OWN}pre") or ""
    if not pieces and name not in CUTS:
        raise BadConfig(
            f"{opened.path} cuts texts as {name!r}, which is not known here.\n"
            f"  Known: {', '.join(sorted(filter(None, CUTS)))}.\n{WITHOUT}"
        )
    cuts = Cuts(()) if pieces else CUTS[name]
    first, last = (words.token(f"{what}_token_id", default if pieces else None) for what, default in (("bos", 1), ("eos", 2)))
    whole = _pieces(words) if pieces else _bytes(words, cuts)
    begins, ends = words.yes("add_bos_token", pieces or cuts.begins), words.yes("add_eos_token", False)
    post = _around(words, first if begins else None, last if ends else None)
    model = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(words), **whole, "post_processor": post,
    }  # fmt: skip
    found: dict[str, Any] = {"tokenizer.json": model, "tokenizer_config.json": _settings(words, first, last, pieces)}
    template = words.opened.value("tokenizer.chat_template")
    return {**found, "chat_template.jinja": template} if isinstance(template, str) else found


def _settings(words: Vocabulary, first: str | None, last: str | None, pieces: bool) -> dict[str, Any]:
    unknown = words.token("unknown_token_id", 0 if pieces else None)
    named = {"bos_token": first, "eos_token": last, "unk_token": unknown, "pad_token": words.token("padding_token_id")}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "model_max_length": 10**30,
        **{name: token for name, token in named.items() if token is not None},
    }  # fmt: skip


def _added(words: Vocabulary) -> list[dict[str, Any]]:
    """What is a token wherever it is spelt, before anything is cut."""
    strips = any(part in (words.fields.text("general.name") or "").lower() for part in STRIPPED)
    found = []
    for number, (token, kind) in enumerate(zip(words.tokens, words.types, strict=False)):
        kind = CONTROL if token in ENDS else kind
        if kind in (UNKNOWN, CONTROL, USER_DEFINED):
            found.append(
                {
                    "id": number, "content": token, "single_word": False, "lstrip": False,
                    "rstrip": strips and token not in NOT_STRIPPED, "normalized": False, "special": kind != USER_DEFINED,
                }
            )  # fmt: skip
    return found


def _bytes(words: Vocabulary, cuts: Cuts) -> dict[str, Any]:
    splits = [
        {"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated", "invert": False} for one in cuts.expressions
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, level]}, "decoder": level,
        "model": _merging(words, words.merges(), whole=cuts.whole),
    }  # fmt: skip


def _pieces(words: Vocabulary) -> dict[str, Any]:
    """A blank before each stretch of text between special tokens, where the header does not say otherwise."""
    prefix = words.yes("add_space_prefix", True)
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
    steps = [{"type": "Prepend", "prepend": BLANK}, blanks] if prefix else [blanks]
    back: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": BLANK}, "content": " "}, {"type": "ByteFallback"}]
    back += [{"type": "Fuse"}, *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else [])]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": _merging(words, merges_by_score(words.tokens, words.scores()), fallback=True),
    }  # fmt: skip


def merges_by_score(tokens: Sequence[str], scores: Sequence[float]) -> list[list[str]]:
    """Every two tokens that make a third, the one of the highest score first: what llama.cpp looks for as it goes."""
    ids = {token: number for number, token in enumerate(tokens)}
    found = []
    for number, token in enumerate(tokens):
        for at in range(1, len(token)):
            if token[:at] in ids and token[at:] in ids:
                found.append((-scores[number], number, ids[token[:at]], ids[token[at:]], token[:at], token[at:]))
    return [[a, b] for *_, a, b in sorted(found)]


def _merging(
    words: Vocabulary, merges: list[list[str]], *, whole: bool = False, fallback: bool = False
) -> dict[str, Any]:  # fmt: skip
    unknown = words.token("unknown_token_id", 0) if fallback else None
    return {
        "type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": fallback, "byte_fallback": fallback, "ignore_merges": whole, "vocab": words.ids, "merges": merges,
    }  # fmt: skip


def _around(words: Vocabulary, first: str | None, last: str | None) -> Mapping[str, Any] | None:
    if first is None and last is None:
        return None
    before = [{"SpecialToken": {"id": first, "type_id": 0}}] if first is not None else []
    after = [{"SpecialToken": {"id": last, "type_id": 0}}] if last is not None else []
    text, other = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing", "single": [*before, text, *after], "pair": [*before, text, *after, other, *after],
        "special_tokens": {
            token: {"id": token, "ids": [words.ids[token]], "tokens": [token]} for token in {first, last} if token is not None
        },
    }  # fmt: skip


def ending_tokens(opened: OpenedGGUF) -> list[int]:
    """The ids at which llama.cpp takes a text for finished: those that the header names, and those spelt like one."""
    fields = Fields(opened.found)
    named = [fields.whole(f"{OWN}{name}_token_id") for name in ("eos", "eot", "eom")]
    tokens = opened.value(f"{OWN}tokens")
    spelt = [number for number, token in enumerate(tokens) if token in ENDS] if isinstance(tokens, list) else []
    return list(dict.fromkeys([number for number in named if number is not None] + spelt))
