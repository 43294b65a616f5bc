"""The two searches: down the gradient, and without one. Both hand over points; what is best is decided on other documents."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from ropewalk.errors import extra_parts
from ropewalk.jobs.fit.family import Space

# A batch number -> (loss, gradient) or the losses of several points, on the same documents.
Gradient = Callable[[torch.Tensor, int], tuple[float, torch.Tensor]]
Losses = Callable[[Sequence[Sequence[float]], int], list[float]]

FIRST, SECOND = 0.9, 0.98  # how much of the moments is kept
BURN, SMOOTH = 4, 0.25  # steps before the running mean begins, and the weight of each after


@dataclass(frozen=True)
class SearchStep:
    """A point to look at, and how many candidates were dropped since the last because their loss was not a number."""

    u: tuple[float, ...]
    loss: float
    dropped: int = 0


def descend(
    space: Space, start: Sequence[float], gradient: Gradient, *, rate: float = 0.1, pull: float = 0.01
) -> Iterator[SearchStep]:
    """Adam (Kingma & Ba 2015) inside the box, for as long as it is asked; the loss is that of the batch, before the step.

    Handed over is a running mean of its points: few documents a batch make the points themselves unsteady.
    rate: of the first steps; it halves every 16. pull: weight of mean((u - start)^2), which draws towards the start.
    A batch whose loss or gradient is not finite moves nothing, and the point goes half way back to the start.
    """
    home = torch.tensor(start, dtype=torch.float64)
    u, smooth = home, home
    mean, square, steps = torch.zeros_like(u), torch.zeros_like(u), 0
    batch = 0
    while True:
        loss, slope = gradient(u, batch)
        batch += 1
        if not (math.isfinite(loss) and bool(slope.isfinite().all())):
            u = (u + home) / 2
            yield SearchStep(tuple(u.tolist()), math.inf, dropped=1)
            continue
        steps += 1
        slope = slope + 2 * pull * (u - home) / len(u)
        mean, square = FIRST * mean + (1 - FIRST) * slope, SECOND * square + (1 - SECOND) * slope**2
        move = (mean / (1 - FIRST**steps)) / ((square / (1 - SECOND**steps)).sqrt() + 1e-8)
        u = space.inside(u - rate * 0.5 ** (steps / 16) * move)
        smooth = u if steps <= BURN else smooth + (u - smooth) * SMOOTH
        yield SearchStep(tuple(smooth.tolist()), loss)


def evolve(space: Space, start: Sequence[float], losses: Losses, *, width: float = 0.3, seed: int = 0) -> Iterator[SearchStep]:
    """CMA-ES (Hansen & Ostermeier 2001; the `cma` package) inside the box: one step a generation, its best point.

    width: of the first generation. A candidate whose loss is not finite counts as worse than the worst of its generation.
    """
    search = _strategy(space, start, width, seed)
    batch = 0
    while not search.stop():
        points = search.ask()
        found = numpy.array(losses(points, batch), dtype=float)
        batch += 1
        good = numpy.isfinite(found)
        if not good.any():
            search.tell(points, [0.0] * len(points))  # nothing was learnt
            yield SearchStep(tuple(start), math.inf, dropped=len(points))
            continue
        search.tell(points, numpy.where(good, found, found[good].max() + 1.0).tolist())
        best = int(numpy.argmin(numpy.where(good, found, math.inf)))
        yield SearchStep(tuple(float(x) for x in points[best]), float(found[best]), dropped=int((~good).sum()))


def _strategy(space: Space, start: Sequence[float], width: float, seed: int) -> Any:
    with extra_parts(), warnings.catch_warnings(action="ignore"):  # it misses matplotlib, for plots that are not asked for
        import cma
    options = {"bounds": [list(space.low), list(space.high)], "seed": seed + 1, "verbose": -9}
    return cma.CMAEvolutionStrategy(list(start), width, options)
