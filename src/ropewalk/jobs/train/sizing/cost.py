"""What a stage of training costs: floating-point operations, tokens per day, steps, days and money."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ropewalk.engines.transformers.shape import ModelShape
from ropewalk.jobs.train.sizing.memory import GIB, Card, Peak, Setup, States, peak

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True)
class TokenStage:
    """length: tokens per sequence.  tokens: of the whole stage.  batch: tokens per optimiser step, as asked for."""

    length: int
    tokens: int
    batch: int


@dataclass(frozen=True, slots=True)
class Cost:
    """sequences: per optimiser step, a whole number for every group of cards.  tokens: what the steps come to."""

    steps: int
    sequences: int
    tokens: int
    tokens_per_day: float
    days: float
    dollars: float | None


def flops_per_token(shape: ModelShape, setup: Setup, length: int) -> float:
    """Executed operations per token, recomputation among them; one document per sequence.

    2 per weight of every product for a forward pass, 4 for a backward pass (2 where the weight is frozen), and 4 q per token
    of context for attention's two products, twice that backward: 6 P + 6 q L S (Kaplan et al. 2001.08361, 2.1, with
    attention counted causally). Checkpointing adds a forward pass of the layers, which stops before their last product:
    nothing needs its result.
    """
    layers = shape.layers * shape.layer_parameters
    again = layers - shape.layers * shape.ffn * shape.hidden
    weights = layers + shape.embedding_parameters  # the head; looking up an embedding multiplies nothing
    attention = 4 * shape.q * shape.mean_context(length)
    forward_and_backward = (4 if setup.lora else 6) * weights + 3 * attention
    return forward_and_backward + (2 * again + attention if setup.checkpointing else 0)


def tokens_per_day(shape: ModelShape, setup: Setup, length: int, card: Card, mfu: float) -> float:
    """mfu: the share of the card's dense peak that the run reaches, an assumption; recomputation counts as work here."""
    return setup.cards * card.tflops * 1e12 * mfu * SECONDS_PER_DAY / flops_per_token(shape, setup, length)


def cost(shape: ModelShape, setup: Setup, stage: TokenStage, card: Card, mfu: float, price: float | None) -> Cost:
    """price: dollars per card and hour."""
    groups = setup.cards // setup.context_parallel
    sequences = groups * math.ceil(stage.batch / (stage.length * groups))
    steps = math.ceil(stage.tokens / (sequences * stage.length))
    tokens = steps * sequences * stage.length
    speed = tokens_per_day(shape, setup, stage.length, card, mfu)
    days = tokens / speed
    return Cost(steps, sequences, tokens, speed, days, None if price is None else days * 24 * setup.cards * price)


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
