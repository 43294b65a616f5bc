"""What to do so that a length fits: setups in the order of what they cost, and the longest length of each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ropewalk.jobs.train.cards import GIB, Card
from ropewalk.jobs.train.memory import Peak, Setup, States, peak
from ropewalk.scaling.shape import ModelShape

STEP = 1024  # tokens that a longest length is rounded down to
LONGEST = 2**27  # tokens; no further is searched


@dataclass(frozen=True, slots=True)
class Rung:
    """A setup, what was added to the one before it, its peak at the length asked for, and the longest that fits surely.

    longest: tokens per sequence for which the upper end of the band fits; 0 if none does.
    """

    added: str
    setup: Setup
    peak: Peak
    longest: int

    def fits(self, card: Card) -> bool:
        return self.peak.high <= card.gib * GIB

    def may_fit(self, card: Card) -> bool:
        """The card lies inside the band."""
        return self.peak.low <= card.gib * GIB < self.peak.high


def ladder(shape: ModelShape, card: Card, cards: int, length: int, *, lora: bool = False) -> tuple[Rung, ...]:
    """Every rung holds the ones before it. The cheapest that fits is the first that fits."""
    setups = _setups(Setup(cards=cards, checkpointing=False, lora=lora))
    return tuple(
        Rung(added, setup, peak(shape, setup, length), longest_length(shape, setup, card.gib * GIB)) for added, setup in setups
    )


def _setups(setup: Setup) -> Iterator[tuple[str, Setup]]:
    yield "head's loss in chunks", setup
    setup = replace(setup, checkpointing=True)
    yield "activation checkpointing", setup
    for shared in [n for n in range(2, setup.cards + 1) if setup.cards % n == 0 and n & (n - 1) == 0]:
        setup = replace(setup, context_parallel=shared)
        yield f"context parallel {shared}", setup
    setup = replace(setup, offload=True)
    yield "checkpoints in host memory", setup
    setup = replace(setup, tiled_mlp=True)
    yield "tiled MLP", setup
    yield "weights and optimizer on the host", replace(setup, states=States.HOST)


def longest_length(shape: ModelShape, setup: Setup, room: float) -> int:
    """The most tokens, in steps of STEP, whose upper end of the band is at most `room` bytes."""
    low, high = 0, LONGEST // STEP
    while low < high:
        middle = (low + high + 1) // 2
        if peak(shape, setup, middle * STEP).high <= room:
            low = middle
        else:
            high = middle - 1
    return low * STEP
