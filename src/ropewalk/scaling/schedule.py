"""Which scale a token is read at: the four meanings of "dynamic" as data, and the grid of scales as a pure function."""

from bisect import bisect_right
from dataclasses import dataclass

from ropewalk.errors import BadOption, UnknownName
from ropewalk.scaling.rope import is_whole

# What each meaning of "dynamic" guarantees.
SEMANTICS = {
    "causal": "a query at p reads everything at s(p): cache, chunks and batches change nothing, nor anything before L",
    "request": "one scale for a whole request, from prompt and answer together: equal to a static plan of that factor",
    "rotate": "un-rotated keys are cached and read at the scale of the call's newest token: depends on the chunks",
    "recompute": "one scale per call, from its newest token, for all tokens anew: exact for that length, and without a cache",
}
CAUSAL, REQUEST, ROTATE, RECOMPUTE = SEMANTICS
DEFAULT_GRID = 2
FINEST_GRID = 64


@dataclass(frozen=True, slots=True)
class Dynamic:
    """How a dynamic stretch chooses its scale.

    semantics: one of SEMANTICS.
    grid: g, steps per octave that scales are rounded up to; 0 gives every length its own scale. None takes the default: 2
    for causal, where each step costs one attention call in a prefill, and 0 for the rest.
    """

    semantics: str = CAUSAL
    grid: int | None = None

    def __post_init__(self) -> None:
        if self.semantics not in SEMANTICS:
            raise UnknownName("meaning of dynamic", str(self.semantics), SEMANTICS)
        if self.grid is None:
            object.__setattr__(self, "grid", self.default_grid)
        least = 1 if self.semantics == CAUSAL else 0
        if not is_whole(self.grid) or not least <= self.grid <= FINEST_GRID:  # type: ignore[operator]
            raise BadOption(
                f"grid is {self.grid!r}; {self.semantics} takes a whole number of steps per octave, {least} to {FINEST_GRID}."
            )

    @property
    def default_grid(self) -> int:
        return DEFAULT_GRID if self.semantics == CAUSAL else 0

    @property
    def suffix(self) -> str:
        """What a method's name carries for it: "", "-rotate", "-causal-4". Reading it gives it back."""
        if self.grid != self.default_grid:
            return f"-{self.semantics}-{self.grid}"
        return "" if self.semantics == CAUSAL else f"-{self.semantics}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The scale of the query at position p: s(p) = max(1, (p + 1 - w) / (L - w)), rounded up to 2^(k/g), capped at `factor`.

    original_length: L, tokens.  factor: the largest scale.  grid: g, steps per octave; 0 does not round.
    near: w, the distances that are read as trained; the scale is of what lies beyond them. 0: everything is scaled.

    Steps count the scales: step 0 is scale 1. With a grid the first position of every step is found in whole numbers, so
    that no rounding can move a boundary.
    """

    original_length: int
    factor: float
    grid: int
    near: int = 0

    def step(self, position: int) -> int:
        """Which step the query at `position` (from 0) is in."""
        if self.grid:
            return bisect_right(self.starts(), position)
        return max(0, min(position + 1, self._last) - self.original_length)

    def scale(self, step: int) -> float:
        """The scale of a step, between 1 and the factor."""
        s = 2.0 ** (step / self.grid) if self.grid else (self._far + step) / self._far
        return min(s, self.factor)

    def scale_of(self, position: int) -> float:
        return self.scale(self.step(position))

    def starts(self) -> tuple[int, ...]:
        """The first position of steps 1, 2, ... of a gridded schedule: the least p with (p + 1 - w) / (L - w) > 2^(k/g).

        With n = p - w and M = L - w that is (n + 1)^g > M^g 2^k, so n is the whole part of the g-th root of M^g 2^k.
        """
        found, k = [], 0
        while 2.0 ** (k / self.grid) < self.factor:
            found.append(self.near + _whole_root(self._far**self.grid << k, self.grid))
            k += 1
        # Of a window so short that steps coincide, only the last one counts, as bisect_right has it.
        return tuple(found)

    @property
    def _last(self) -> int:
        """The longest length that has a scale of its own."""
        return self.near - int(-self._far * self.factor // 1)

    @property
    def _far(self) -> int:
        """Trained distances that are left for what is far."""
        return self.original_length - self.near


def _whole_root(n: int, degree: int) -> int:
    """The whole part of the degree-th root of n, exactly."""
    low, high = 0, 1 << -(-n.bit_length() // degree)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= n else (low, middle - 1)
    return low
