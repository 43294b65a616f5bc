"""The decision, without a model: who is best of many, read round by round until it is clear or the time is spent.

A round is one document and one question of each kind. Everything here is a pure function of what a reader answers and of
what each answer cost; so a choice can be replayed from records, with the seconds that they took as the clock.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy

from ropewalk.errors import BadOption, CannotAttach, Mismatch, NotFinite, OutOfMemory
from ropewalk.measure.anytime import LEAST, look
from ropewalk.measure.comparisons import compare
from ropewalk.measure.statistics import Interval

LEVEL = 0.05
POINT = 0.02 / 3  # bits per token that one of a hundred answers counts as much as
TIGHTEST = 3  # rounds at which the test is sharpest: what fails outright leaves after five, a fine difference a fifth later
FIRST = 0.3  # of the time, at most, goes into the first round: who has no turn in it takes no part
FORESEEN = 10_000  # rounds, as far as it is said how many more would decide
SLOWER = 1.1  # than the slowest reading so far: what a reading is expected to take, so that the time is kept


@dataclass(frozen=True, slots=True)
class Reading:
    """What one plan made of one round.

    bits: per token of the document.  chance: of the right answers, 0 to 1; None where nothing is asked.
    seconds: what it took.
    """

    bits: float
    chance: float | None
    seconds: float

    @property
    def score(self) -> float:
        """Lower is better: bits per token, and what is not answered in the same coin."""
        return self.bits + (0.0 if self.chance is None else 100 * POINT * (1 - self.chance))


Read = Callable[[str, int], Reading]
Tell = Callable[[float, int, int], None]


class TooLittle(BadOption):
    """The time does not reach for two plans.  needed: seconds that do."""

    def __init__(self, needed: float):
        super().__init__(f"two plans need {needed:.0f} s.")
        self.needed = needed


@dataclass(frozen=True)
class Race:
    """How it ended.

    readings: by plan, of rounds 0, 1, ...; those of two plans are of the same documents and questions.
    alive: those read to the end.  beaten: by whom each was shown to be better.  halved: left out to save time, not shown to be
    worse.  failed: why it could not be read.  unread: no time for even one round.
    seconds: that all readings took.  rounds: how many there could have been.  pair_level: of the test of two plans.
    """

    readings: dict[str, list[Reading]]
    alive: tuple[str, ...]
    beaten: dict[str, str]
    halved: tuple[str, ...]
    failed: dict[str, str]
    unread: tuple[str, ...]
    seconds: float
    rounds: int
    pair_level: float

    @property
    def winner(self) -> str:
        return self.ranking[0]

    @property
    def ranking(self) -> list[str]:
        """Best first: by how long it was read, then by its mean score; whoever was read to the end before all others."""
        return sorted(
            self.readings, key=lambda name: (name not in self.alive, -len(self.readings[name]), mean(self.readings[name]))
        )

    @property
    def open(self) -> tuple[str, ...]:
        """All that nothing was shown to be better than: the best is among them with probability 1 - level."""
        return tuple(name for name in self.ranking if name not in self.beaten)

    @property
    def close(self) -> tuple[str, ...]:
        """The winner, and those read to the end that are not told from it."""
        return tuple(name for name in self.open if name in self.alive)

    def behind(self, name: str, other: str = "") -> Interval:
        """Score above the other's, or the winner's, over the rounds that both have, at every look; the level is shared among
        the rivals."""
        ours, its = _common(self.readings[name], self.readings[other or self.winner])
        return look(ours, its, numpy.ones(len(ours)), level=self.pair_level, tightest=TIGHTEST).difference

    def behind_once(self, name: str, other: str = "") -> Interval:
        """The same with an ordinary 95 % interval, which holds at one look of one comparison."""
        ours, its = _common(self.readings[name], self.readings[other or self.winner])
        return compare(ours, its, numpy.ones(len(ours))).difference

    def is_behind(self, name: str, by: float) -> bool:
        """More than `by` behind the winner, and by an ordinary 95 % interval: weaker than `beaten`, and of fewer rounds."""
        found = self.behind_once(name)
        return found.value > by and found.low > 0

    def is_alike(self, name: str, within: float) -> bool:
        """Is it shown, by an ordinary 95 % interval, not to be further behind? A few rounds cannot show it."""
        return name == self.winner or self.behind_once(name).high <= within

    def rounds_needed(self, name: str) -> int | None:
        """After how many the winner is told from it if they go on differing as they did; None: they would not be."""
        ours, its = _common(self.readings[name], self.readings[self.winner])
        often = numpy.tile(ours - its, FORESEEN // len(ours) + 1)
        return look(often, 0 * often, 0 * often + 1, level=self.pair_level, tightest=TIGHTEST).stop


def race(
    names: Sequence[str], rounds: int, read: Read, seconds: float, *, level: float = LEVEL, keep: Sequence[str] = (),
    all_first: bool = False, tell: Tell = lambda spent, alive, round: None,
) -> Race:  # fmt: skip
    """Successive halving over rounds, where whoever is shown to be worse leaves at once.

    names: in the order in which they have their first turn.  rounds: how many there are.  read(name, round): what a plan makes
    of a round; a plan that cannot be read raises CannotAttach, Mismatch, NotFinite or OutOfMemory.
    seconds: the time, as the sum of what readings took.  keep: who is never left out to save time.
    all_first: the first round may take all the time but what two plans still need, not the share `FIRST`.
    tell(spent, alive, round): after each reading.

    The time is shared among the halvings (Karnin, Koren & Somekh 2013); none is made where the rest can be read without.
    Every pair is compared by `anytime.look` at level / (plans - 1), whose level holds however often one looks: so the best
    plan is shown to be worse than any other with probability `level` at most.
    Raises TooLittle where there is no time for `LEAST` rounds of two plans.
    """
    if len(names) < 2:
        raise BadOption(f"a choice needs two plans at least, and there is {' and '.join(names) or 'none'} alone.")
    if rounds < LEAST:
        raise BadOption(f"a choice needs {LEAST} rounds at least; there are {rounds}.")
    field = _Field(list(names), rounds, read, seconds, level, frozenset(keep), all_first, tell)
    field.first_round()
    field.run()
    return field.ended()


@dataclass
class _Field:
    names: list[str]
    rounds: int
    read: Read
    seconds: float
    level: float
    keep: frozenset[str]
    all_first: bool
    tell: Tell
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    alive: list[str] = field(default_factory=list)
    beaten: dict[str, str] = field(default_factory=dict)
    halved: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0
    n: int = 0  # rounds that all who are alive have read

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    def first_round(self) -> None:
        for name in self.names:
            two = 2 * LEAST * self._slowest()
            share = self.seconds - two * (LEAST - 1) / LEAST if self.all_first else FIRST * self.seconds
            if len(self.alive) > 1 and self.spent + self._slowest() > share:
                break
            if self.alive and two > self.seconds:
                raise TooLittle(two)
            if self._reads(name, 0):
                self.alive.append(name)
        if len(self.alive) < 2:
            raise BadOption("no two plans can be read: " + "; ".join(f"{n}: {why}" for n, why in self.failed.items()))
        if 2 * LEAST * self._slowest() > self.seconds:
            raise TooLittle(2 * LEAST * self._slowest())
        self.n = 1

    def _slowest(self) -> float:
        return SLOWER * max((r.seconds for rows in self.readings.values() for r in rows), default=0.0)

    def _reads(self, name: str, round: int) -> bool:
        try:
            found = self.read(name, round)
        except (CannotAttach, Mismatch, NotFinite, OutOfMemory) as error:
            self.failed[name] = str(error)
            return False
        self.readings.setdefault(name, []).append(found)
        self.spent += found.seconds
        self.tell(self.spent, len(self.alive), round)
        return True

    def run(self) -> None:
        halvings = math.ceil(math.log2(len(self.alive)))
        for left in range(halvings, 0, -1):
            if len(self.alive) > 1:
                self._rung(self.spent + self.left / left, last=left == 1)
            if left > 1 and not self._rest_fits():
                self._halve(2 ** (left - 1))

    def _rung(self, until: float, *, last: bool) -> None:
        """Rounds until its share of the time is spent."""
        limit = self.seconds if last or self._rest_fits() else until
        while len(self.alive) > 1 and self.n < self.rounds and self.spent + self._round_costs() <= limit:
            self.alive = [name for name in self.alive if self._reads(name, self.n)]
            self.n += 1
            self._look()

    def _round_costs(self) -> float:
        return SLOWER * sum(max(r.seconds for r in self.readings[name]) for name in self.alive)

    def _rest_fits(self) -> bool:
        return self.spent + (self.rounds - self.n) * self._round_costs() <= self.seconds

    def _look(self) -> None:
        """Who is shown to be worse than the best so far leaves."""
        best = min(self.alive, key=lambda name: mean(self.readings[name]))
        for name in [name for name in self.alive if name != best]:
            if is_beaten(self.readings[name], self.readings[best], self._pair_level):
                self.beaten[name] = best
                self.alive.remove(name)

    @property
    def _pair_level(self) -> float:
        """Plans that fail later on still count."""
        return self.level / max(len(self.readings) - 1, 1)

    def _halve(self, kept: int) -> None:
        ordered = sorted(self.alive, key=lambda name: mean(self.readings[name]))
        out = [name for name in ordered[kept:] if name not in self.keep]
        self.halved += out
        self.alive = [name for name in self.alive if name not in out]

    def ended(self) -> Race:
        if not self.alive:
            raise BadOption("no plan could be read to the end: " + "; ".join(f"{n}: {w}" for n, w in self.failed.items()))
        kept = {name: rows for name, rows in self.readings.items() if name not in self.failed}
        unread = tuple(n for n in self.names if n not in self.readings and n not in self.failed)
        made = partial(
            Race, kept, tuple(self.alive), halved=tuple(self.halved), failed=self.failed, unread=unread, seconds=self.spent,
            rounds=self.rounds, pair_level=self._pair_level,
        )  # fmt: skip
        best = made(beaten=self.beaten).winner
        late = {name: best for name in kept if name not in self.beaten and is_beaten(kept[name], kept[best], self._pair_level)}
        return made(beaten={**self.beaten, **late})


def mean(readings: Sequence[Reading]) -> float:
    return math.fsum(reading.score for reading in readings) / len(readings)


def _common(a: Sequence[Reading], b: Sequence[Reading]) -> tuple[numpy.ndarray, numpy.ndarray]:
    n = min(len(a), len(b))
    ours, its = (numpy.array([reading.score for reading in rows[:n]]) for rows in (a, b))
    return ours, its


def is_beaten(a: Sequence[Reading], b: Sequence[Reading], level: float) -> bool:
    """Is `a` shown to be worse than `b`, at any look so far?"""
    ours, its = _common(a, b)
    if len(ours) < LEAST:
        return False
    found = look(ours, its, numpy.ones(len(ours)), level=level, tightest=TIGHTEST)
    return found.stop is not None and float((ours - its)[: found.stop].sum()) > 0
