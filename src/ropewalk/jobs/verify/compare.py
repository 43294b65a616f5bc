"""How far an engine's log-probabilities are from the reference's, band by band, and whether that says anything.

Three differences, each the largest of |ln p - ln p'| in a band of positions, in nats:
    apart    the engine with the scaling, from the reference with it: what is verified
    control  the engine without the scaling, from the reference with it: it has to be large, or `apart` says nothing
    floor    the engine without the scaling, from the reference without it: what its arithmetic alone makes
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy

TOLERANCE = 1e-3  # nats, float32 in both; at positions in the hundreds of thousands float32 angles alone make more
CONTROL = 100.0  # times `apart` that the control has to be
BANDS = 4  # beyond the original window


@dataclass(frozen=True, slots=True)
class EngineScores:
    """ln p of each token but the first, float64, with the scaling and without."""

    stretched: numpy.ndarray
    plain: numpy.ndarray


@dataclass(frozen=True, slots=True)
class PositionBand:
    """Predictions made at positions start to stop - 1."""

    start: int
    stop: int
    apart: float
    control: float
    floor: float


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """unscaled: how far the engine, given the scaling, is from the reference without it: small where it ignores it.
    shown: how far the reference without the scaling is from itself with it, beyond the window: what these tokens can show.
    """

    bands: tuple[PositionBand, ...]
    original_length: int
    unscaled: float
    shown: float
    tolerance: float = TOLERANCE

    @property
    def apart(self) -> float:
        return max(band.apart for band in self.bands)

    @property
    def floor(self) -> float:
        return max(band.floor for band in self.bands)

    @property
    def control(self) -> float:
        """Beyond the window; no more than the reference's own, since an engine's control may be far off by another fault."""
        return min(max(band.control for band in self.bands if band.start >= self.original_length), self.shown)

    @property
    def ratio(self) -> float:
        return self.control / self.apart if self.apart else math.inf

    @property
    def agrees(self) -> bool:
        return self.apart <= self.tolerance

    @property
    def sees(self) -> bool:
        """Whether the control fails, as it has to; an agreement without this is none."""
        return self.control > self.tolerance and self.ratio >= CONTROL


def compare(
    reference: EngineScores, engine: EngineScores, original_length: int, tolerance: float = TOLERANCE
) -> EngineComparison:
    """Compare two sets of scores of the same tokens, which have to go beyond the original length."""
    parts = (
        _apart(engine.stretched, reference.stretched), _apart(engine.plain, reference.stretched),
        _apart(engine.plain, reference.plain),
    )  # fmt: skip
    edges = band_edges(original_length, len(reference.stretched))
    bands = tuple(
        PositionBand(start, stop, *(float(part[start:stop].max()) for part in parts)) for start, stop in pairwise(edges)
    )
    unscaled = float(_apart(engine.stretched, reference.plain).max())
    shown = float(_apart(reference.plain, reference.stretched)[original_length:].max())
    return EngineComparison(bands, original_length, unscaled, shown, tolerance)


def _apart(found: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    """|difference|; infinite where the engine's number is none, so that it agrees with nothing."""
    difference: numpy.ndarray = numpy.nan_to_num(numpy.abs(found - wanted), nan=math.inf)
    return difference


def band_edges(original_length: int, count: int) -> Sequence[int]:
    """The original window, and up to four equal parts of what follows."""
    beyond = count - original_length
    if beyond < 1:
        raise ValueError(f"{count} predictions do not go beyond the original length {original_length}.")
    parts = min(BANDS, beyond)
    return [0, *(original_length + beyond * part // parts for part in range(parts + 1))]
