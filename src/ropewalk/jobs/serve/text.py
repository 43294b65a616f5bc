"""From tokens to text while they come: completed characters only, and nothing that may be the start of a stop string."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from ropewalk.errors import BadConfig

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
