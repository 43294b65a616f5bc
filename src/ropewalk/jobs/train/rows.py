"""The rows of a step, from its number alone: any process asks for any of them, in any order, and gets the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from ropewalk.errors import BadConfig
from ropewalk.jobs.train.layout import Layout, lay_out, restarting, shard, skipping
from ropewalk.jobs.train.packing import Packing
from ropewalk.jobs.train.parallel import Parallel
from ropewalk.jobs.train.recipe import Stage


class Step(NamedTuple):
    """micros: this process's part.  labels: how many tokens are predicted in the step, over all processes."""

    micros: list[Layout]
    labels: int


@dataclass(frozen=True)
class Rows:
    """packing: of this stage's length.  target: positions that PoSE reaches.  seed: of its jumps."""

    packing: Packing
    stage: Stage
    target: int
    seed: int

    def step(self, number: int, parallel: Parallel) -> Step:
        """number: from 0, within the stage."""
        first = number * self.stage.batch
        rows = [self.packing.row(first + i) for i in range(self.stage.batch)]
        labels = sum(len(row.ids) - len(row.lengths) for row in rows)
        if not labels:
            raise BadConfig(
                f"step {number + 1} predicts nothing: every one of its {len(rows)} rows holds documents of one token only.\n"
                "  A document's first token has nothing to be predicted from. Give longer documents."
            )
        mine = range(parallel.data_rank, self.stage.batch, parallel.data)
        return Step(list(self._micros([(first + i, rows[i]) for i in mine], parallel)), labels)

    def _micros(self, rows: list, parallel: Parallel) -> Iterator[Layout]:  # type: ignore[type-arg]
        for start in range(0, len(rows), self.stage.micro):
            piece = rows[start : start + self.stage.micro]
            layout = lay_out(
                [(row.ids, row.lengths) for _, row in piece], [self._positions(n, row.lengths) for n, row in piece]
            )
            yield shard(layout, parallel.context_rank, parallel.context).to(parallel.device)

    def _positions(self, number: int, lengths: tuple[int, ...]) -> numpy.ndarray:
        if not self.stage.pose:
            return restarting(lengths)
        return skipping(lengths, self.target, numpy.random.default_rng((self.seed, number)))
