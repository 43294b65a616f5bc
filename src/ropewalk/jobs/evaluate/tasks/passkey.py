"""Pass key: hide five digits in held-out code, ask for them at the end (after Mohtashami & Jaggi 2023, arXiv:2305.16300).

Every sample is laid out in tokens, so its length is exact:

    BOS | code | "# The pass key is 48213. Remember it. ..." | code | "# What is the pass key? The pass key is " | 4 8 2 1 3
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

DIGITS = 5
NEEDLE = "\n# The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = "\n# What is the pass key? The pass key is "


class Encode(Protocol):
    """Text to token ids, without special tokens."""

    def __call__(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class PassKey:
    """One sample: `ids` are the whole sequence, answer included; the last `answer_length` of them are the key."""

    ids: tuple[int, ...]
    answer_length: int
    needle_start: int


def make_passkey(
    haystack: Sequence[int], encode: Encode, *, length: int, depth: float, rng: random.Random, bos: int, newlines: set[int]
) -> PassKey:
    """Hide a fresh random key at `depth` (0 = first, 1 = last) of `haystack`, cut so that the sample is `length` tokens.

    haystack: token ids, at least `length` of them.
    newlines: ids of tokens that begin a line; the needle goes before the one nearest to the wanted depth.
    """
    key = "".join(rng.choice("0123456789") for _ in range(DIGITS))
    needle, question, answer = encode(NEEDLE.format(key=key)), encode(QUESTION), encode(key)
    room = length - 1 - len(needle) - len(question) - len(answer)
    if room < 0:
        raise ValueError(f"a pass key of {DIGITS} digits needs more than {length} tokens")
    if len(haystack) < room:
        raise ValueError(f"the haystack has {len(haystack)} tokens, {room} are needed")
    code = list(haystack[:room])
    wanted = round(depth * room)
    cuts = [i for i, token in enumerate(code) if token in newlines] or [wanted]
    cut = 0 if depth == 0 else room if depth == 1 else min(cuts, key=lambda i: abs(i - wanted))
    ids = [bos, *code[:cut], *needle, *code[cut:], *question, *answer]
    return PassKey(tuple(ids), len(answer), 1 + cut)
