"""One answer while it is written: which token is next, its probability, the text so far, and why it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import TopKLogitsWarper, TopPLogitsWarper

from ropewalk.errors import BadConfig, BadOption, NotFinite
from ropewalk.models.limits import check_cache, check_length
from ropewalk.models.served import Served, ends
from ropewalk.scaling.rope import is_number, is_whole

# Tokens of the prompt that decoding starts from: what a token says may depend on those before it (a leading space).
CONTEXT = 8


class Text:
    """The text of an answer. `add` and `end` answer what may be shown from now on.

    A character whose bytes are spread over several tokens appears with the last of them; bytes that are no text appear as
    U+FFFD. The first stop string ends the text before it, and sets `stopped`.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int] = (), stops: Sequence[str] = ()):
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise BadConfig(f"{type(tokenizer).__name__} cannot decode a stream: a tokenizer.json is needed.")
        self._tokenizer, self._stops = tokenizer, [Stop(stop) for stop in dict.fromkeys(stops) if stop]
        self._context = list(prompt)[-CONTEXT:]
        if self._decode(self._context).endswith("\N{REPLACEMENT CHARACTER}"):
            self._context = []  # a prompt of tokens that breaks off inside a character
        self._stream = DecodeStream(ids=self._context, skip_special_tokens=True)
        self._ids: list[int] = []
        self.whole, self._shown, self.stopped = "", 0, False

    def add(self, token: int) -> str:
        self._ids.append(token)
        self._write(self._stream.step(self._tokenizer.backend_tokenizer, token) or "")
        held_back = 0 if self.stopped else max((stop.begun for stop in self._stops), default=0)
        return self._show(len(self.whole) - held_back)

    def end(self) -> str:
        """The rest, with the bytes of an unfinished character as U+FFFD."""
        if not self.stopped:
            before, after = self._decode(self._context), self._decode(self._context + self._ids)
            self._write(after[len(before) + len(self.whole) :])
        return self._show(len(self.whole))

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _write(self, new: str) -> None:
        """Go on, up to the first stop string."""
        found = [at for stop in self._stops if (at := stop.find(new, len(self.whole))) is not None]
        self.whole += new
        if found:
            self.whole, self.stopped = self.whole[: min(found)], True

    def _show(self, end: int) -> str:
        new = self.whole[self._shown : end]
        self._shown = max(self._shown, end)
        return new


class Stop:
    """One stop string, looked for while text comes: every character is looked at once (Knuth, Morris and Pratt).

    begun: how many of its characters the text so far ends with.
    """

    def __init__(self, text: str):
        self._text, self.begun = text, 0
        self._shorter = [0] * (len(text) + 1)  # the next shorter beginning that a beginning ends with
        for size in range(1, len(text)):
            self._shorter[size + 1] = self._after(self._shorter[size], text[size])

    def find(self, new: str, at: int) -> int | None:
        """Where it begins, if `new` completes it.  at: where `new` begins in the whole text."""
        for i, character in enumerate(new):
            self.begun = self._after(self.begun, character)
            if self.begun == len(self._text):
                return at + i + 1 - self.begun
        return None

    def _after(self, begun: int, character: str) -> int:
        while begun and self._text[begun] != character:
            begun = self._shorter[begun]
        return begun + (self._text[begun] == character)


@dataclass(frozen=True)
class Wanted:
    """How an answer is to be written.

    new_tokens: at most.  temperature: 0 takes the most probable token, and then top_p and seed change nothing.
    seed: of this answer's own random numbers; None takes another each time.
    logprobs: how many alternatives to record at each token; None records no probabilities at all.
    prompt_logprobs: record the prompt's own tokens as well.
    top_k: draw from so many tokens at most; 0 from all.
    presence, frequency: taken off a token that was written, once, and for each time.  repetition: what the logit of a token
    that was read or written is divided by, or multiplied with where it is negative (arXiv:1909.05858); 1 changes nothing.
    """

    new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    prompt_logprobs: bool = False
    top_k: int = 0
    presence: float = 0.0
    frequency: float = 0.0
    repetition: float = 1.0

    def __post_init__(self) -> None:
        if not is_whole(self.new_tokens) or self.new_tokens < 1:
            raise BadOption(f"new tokens are {self.new_tokens!r}; they must be a whole number of 1 or more.")
        if not is_number(self.temperature) or not 0 <= self.temperature <= 100:
            raise BadOption(f"temperature is {self.temperature!r}; it must be from 0 (the most probable token) to 100.")
        if not is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise BadOption(f"top_p is {self.top_p!r}; it must be above 0 and at most 1.")
        if self.seed is not None and not is_whole(self.seed):
            raise BadOption(f"seed is {self.seed!r}; it must be a whole number, or None for another text each time.")
        if not is_whole(self.top_k) or self.top_k < 0:
            raise BadOption(f"top_k is {self.top_k!r}; it must be a whole number: 0 (all tokens), or how many.")
        if not is_number(self.repetition) or not self.repetition > 0:
            raise BadOption(f"the repetition penalty is {self.repetition!r}; it must be above 0.")

    @property
    def penalises(self) -> bool:
        return bool(self.presence or self.frequency or self.repetition != 1)


@dataclass(frozen=True)
class Chosen:
    """One token and, if asked for, its log-probability and the most probable ones; offset: of its text in the answer.

    Probabilities are the model's own, before temperature and top_p.
    """

    token: int
    offset: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Answer:
    """finish: None while it is written, then "stop" (the end token or a stop string) or "length"."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int], wanted: Wanted, ends: frozenset[int] = frozenset()):
        self.prompt, self.wanted, self._ends = list(prompt), wanted, ends
        self.chosen: list[Chosen] = []
        self.read: list[Chosen] = [Chosen(self.prompt[0], 0)] if wanted.prompt_logprobs else []
        self._prompt_text = Text(tokenizer)
        self.text = Text(tokenizer, self.prompt, wanted.stops)
        self.written, self.finish = 0, None  # type: int, str | None
        self._generator = torch.Generator()
        if wanted.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(wanted.seed)

    @property
    def length(self) -> int:
        """The most tokens it will have, with its prompt."""
        return len(self.prompt) + self.wanted.new_tokens

    @property
    def tokens(self) -> list[int]:
        """The prompt, and what was written after it."""
        return [*self.prompt, *(one.token for one in self.chosen)]

    def add(self, logits: torch.Tensor) -> str:
        """Choose the next token from logits (vocabulary,); answers the text that may be shown now."""
        logits = logits.detach().float().cpu()
        token = self._choose(logits)
        self.written += 1
        if token in self._ends:
            self.finish = "stop"
            return self.text.end()
        self.chosen.append(self._record(token, len(self.text.whole), logits))
        shown = self.text.add(token)
        if self.text.stopped:
            self.finish = "stop"
        elif self.written == self.wanted.new_tokens:
            self.finish = "length"
            shown += self.text.end()
        return shown

    def note(self, logits: torch.Tensor) -> None:
        """Record the next tokens of the prompt, from the logits (tokens, vocabulary) at those before them."""
        for row in logits[: len(self.prompt) - len(self.read)]:
            self._prompt_text.add(self.read[-1].token)
            token, offset = self.prompt[len(self.read)], len(self._prompt_text.whole)
            self.read.append(self._record(token, offset, row.detach().float().cpu()))

    def _choose(self, logits: torch.Tensor) -> int:
        if logits.isnan().any() or not logits.max().isfinite():
            raise NotFinite(f"the model answers with NaN or infinity after {len(self.prompt) + self.written:,} tokens.")
        scores = self._penalised(logits.double())
        if self.wanted.temperature == 0:
            return int(scores.argmax())
        # The largest is 0 whatever the temperature: no number that it is divided by can make infinity less infinity of it.
        scores = ((scores - scores.max()) / self.wanted.temperature)[None]
        if 0 < self.wanted.top_k < scores.shape[1]:
            scores = TopKLogitsWarper(self.wanted.top_k)(torch.empty(0), scores)
        if self.wanted.top_p < 1:
            scores = TopPLogitsWarper(self.wanted.top_p)(torch.empty(0), scores)
        return int(torch.multinomial(scores.softmax(-1)[0], 1, generator=self._generator))

    def _penalised(self, scores: torch.Tensor) -> torch.Tensor:
        """As vLLM has it: presence and frequency look at what was written alone, repetition at the prompt too."""
        wanted = self.wanted
        if not wanted.penalises:
            return scores
        if wanted.repetition != 1:
            seen = torch.tensor(sorted(set(self.tokens)))
            old = scores[seen]
            scores[seen] = torch.where(old > 0, old / wanted.repetition, old * wanted.repetition)
        counts = torch.bincount(torch.tensor([one.token for one in self.chosen], dtype=torch.long), minlength=len(scores))
        return scores - wanted.presence * (counts > 0) - wanted.frequency * counts

    def _record(self, token: int, offset: int, logits: torch.Tensor) -> Chosen:
        if self.wanted.logprobs is None:
            return Chosen(token, offset)
        logprobs = logits.log_softmax(-1)
        values, tokens = logprobs.topk(min(self.wanted.logprobs, len(logprobs)))
        top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
        return Chosen(token, offset, float(logprobs[token]), top)


def new_answer(served: Served, prompt: Sequence[int], wanted: Wanted) -> Answer:
    """An answer to be written. Raises BadLength or BadOption, before anything is computed, where it cannot be."""
    if not prompt:
        raise BadOption("the prompt has no tokens: there is nothing to go on from.")
    vocabulary = served.model.get_input_embeddings().num_embeddings
    if not all(0 <= token < vocabulary for token in prompt):
        raise BadOption(f"the prompt has a token outside the vocabulary, 0 to {vocabulary - 1}.")
    check_length(len(prompt), wanted.new_tokens, served.longest, plan=served.plan)
    length = len(prompt) + wanted.new_tokens
    check_cache(served.spec, served.plan, length, served.model.dtype, served.model.device)
    return Answer(served.tokenizer, prompt, wanted, ends(served.model))
