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
        self._tokenizer, self._stops = tokenizer, [stop for stop in stops if stop]
        self._context = list(prompt)[-CONTEXT:]
        if self._decode(self._context).endswith("\N{REPLACEMENT CHARACTER}"):
            self._context = []  # a prompt of tokens that breaks off inside a character
        self._stream = DecodeStream(ids=self._context, skip_special_tokens=True)
        self._ids: list[int] = []
        self.whole, self._shown, self.stopped = "", 0, False

    def add(self, token: int) -> str:
        self._ids.append(token)
        self.whole += self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        return self._show(len(self.whole) - self._held_back())

    def end(self) -> str:
        """The rest, with the bytes of an unfinished character as U+FFFD."""
        if not self.stopped:
            before, after = self._decode(self._context), self._decode(self._context + self._ids)
            self.whole += after[len(before) + len(self.whole) :]
            self._cut()
        return self._show(len(self.whole))

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _cut(self) -> None:
        found = [at for stop in self._stops if (at := self.whole.find(stop)) >= 0]
        if found:
            self.whole, self.stopped = self.whole[: min(found)], True

    def _held_back(self) -> int:
        """Characters at the end that a stop string may begin with."""
        self._cut()
        if self.stopped:
            return 0
        starts = (n for stop in self._stops for n in range(1, len(stop)) if self.whole.endswith(stop[:n]))
        return max(starts, default=0)

    def _show(self, end: int) -> str:
        new = self.whole[self._shown : end]
        self._shown = max(self._shown, end)
        return new
