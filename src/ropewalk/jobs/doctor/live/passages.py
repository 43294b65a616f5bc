"""What is asked: passages of held-out code with ever more of the text before them, and pass keys hidden in the same text."""

import bisect
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from ropewalk.errors import BadLength
from ropewalk.measure.tasks.passkey import DIGITS, NEEDLE, QUESTION
from ropewalk.measure.texts import library_files, read_text

CHARACTERS = 3.0  # to a token, before anything was counted; code in a large vocabulary has about as many
SAFETY = 0.97  # of the length wanted: how many characters make a token differs from place to place


def library_text() -> str:
    """All of the standard library that the bundled model was not trained on, tests included where they are installed."""
    return "\n".join(filter(None, map(read_text, library_files(held_out=True, tests=True))))


@dataclass
class PassageSource:
    """One text, and the places in it where passages end; each measurement begins further back, and ends there.

    per_token: characters to a token, by passage, as they were last counted.
    """

    text: str
    count: int
    per_token: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = list(accumulate(len(line) + 1 for line in self.text.split("\n")))
        wanted = (len(self.text) * (i + 1) // (self.count + 1) for i in range(self.count))
        self._ends = [min(lines[bisect.bisect(lines, at)], len(self.text)) for at in wanted]

    def before(self, passage: int, tokens: int) -> str:
        """The text that ends where a passage does, of about as many tokens; before its beginning comes the end of all text."""
        size, end = self.characters(passage, tokens), self._ends[passage]
        if size > len(self.text):
            raise BadLength(
                f"{tokens:,} tokens are longer than the text that is read here (the standard library's, {len(self.text):,} "
                "characters). Give a shorter length as to (--to)."
            )
        return self.text[end - size : end] if size <= end else self.text[end - size :] + self.text[:end]

    def characters(self, passage: int, tokens: int) -> int:
        per_token = self.per_token.get(passage) or _median(self.per_token.values()) or CHARACTERS
        return int(tokens * per_token * SAFETY)

    def learn(self, passage: int, characters: int, tokens: int) -> None:
        self.per_token[passage] = characters / max(tokens, 1)

    def with_key(self, passage: int, tokens: int, depth: float) -> tuple[str, str]:
        """(text with a pass key hidden at `depth` and asked for at the end, the key); the same key at every length."""
        key = "".join(random.Random(f"pass key {passage}").choices("0123456789", k=DIGITS))
        needle = NEEDLE.format(key=key)
        body = self.before(passage, tokens)[len(needle) + len(QUESTION) :]
        wanted = round(depth * len(body))
        cut = max(body.rfind("\n", 0, wanted), 0)
        return body[:cut] + needle + body[cut:] + QUESTION, key


def _median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else None


def depths(count: int) -> list[float]:
    """Evenly over the text, each trial at its own place."""
    return [(i + 0.5) / count for i in range(count)]
