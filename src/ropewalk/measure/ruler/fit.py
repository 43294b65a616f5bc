"""Fitting a sample to its length: the reference generator's way, and ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ropewalk.errors import BadLength

HOPELESS = 200  # tries at the smallest size before the reference's loop is called endless


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt in pieces, up to and with the beginning of the answer, and what a right answer contains.

    answer: the answer as a model would go on, for teacher forcing.
    """

    pieces: Sequence[str]
    references: tuple[str, ...]
    answer: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


Build = Callable[[int], Draft]
Count = Callable[[Sequence[str]], int]


def too_short(task: str, budget: int) -> BadLength:
    return BadLength(
        f"{task} does not fit into {budget} tokens, not even at its smallest.\n"
        "  Ask for more tokens. (The reference generator would try the same sizes for ever.)"
    )


def reference_size(build: Build, count: Count, budget: int, *, step: int, upper: int) -> int:
    """The size that NVIDIA's binary search settles on; every probe draws fresh random numbers, as there."""
    low, high, best = step, max(upper, step * 2), None
    while low <= high:
        middle = (low + high) // 2
        if count(build(middle).pieces) <= budget:
            best, low = middle, middle + 1
        else:
            high = middle - 1
    return step if best is None else best


def reference_draft(task: str, build: Build, count: Count, budget: int, *, size: int, step: int) -> tuple[Draft, int]:
    """The sample NVIDIA's loop keeps, and its tokens: too long, or broken by chance, and it tries again a step smaller."""
    for _ in range(size // step + HOPELESS):
        try:
            draft = build(size)
        except (IndexError, ValueError):
            draft = None
        if draft is not None and (tokens := count(draft.pieces)) <= budget:
            return draft, tokens
        if size > step:
            size -= step
    raise too_short(task, budget)


def largest(task: str, build: Build, count: Count, budget: int, *, smallest: int, most: int = 2**40) -> Draft:
    """The draft of the largest size from `smallest` to `most` that fits.

    build: the same size must give the same draft. Tokens grow almost in proportion to the size, so sizes are guessed on
    the line through what is known, and halved between only now and then.
    """
    best = build(smallest)
    low, tokens = smallest, count(best.pieces)
    if tokens > budget:
        raise too_short(task, budget)
    high, slope, steps = most + 1, tokens / smallest, 0
    while high - low > 1:
        guess = low + max(int((budget - tokens) / slope), 1)
        size = min(guess, most) if high > most else _between(low, high, guess, steps)
        draft, steps = build(size), steps + 1
        found = count(draft.pieces)
        slope = max((found - tokens) / (size - low), 1e-3)
        if found <= budget:
            best, low, tokens = draft, size, found
        else:
            high = size
    return best


def _between(low: int, high: int, guess: int, steps: int) -> int:
    return (low + high) // 2 if steps % 4 == 3 else min(max(guess, low + 1), high - 1)
