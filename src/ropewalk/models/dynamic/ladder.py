"""cos and sin of a live rotary module at every scale of a plan: for queries, for keys, and where the scale changes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch.nn.functional import pad

from ropewalk.errors import BadLength
from ropewalk.models.dynamic.request import RequestScale
from ropewalk.models.live import LiveTable
from ropewalk.scaling.method import Scaled
from ropewalk.scaling.names import STATIC
from ropewalk.scaling.schedule import CAUSAL, REQUEST
from ropewalk.scaling.stretch import Stretch

# One step for every row, or one per row.
Steps = tuple[int, ...]
Pair = tuple[torch.Tensor, torch.Tensor]
Groups = list[tuple[Any, Any]]  # how many tokens share a position, and of which pairs: 1, or 0 of others
HELD = 64
AHEAD = 64  # positions whose tables are made at once while tokens are written


class Ladder:
    """cos and sin of a live rotary module at every step of a schedule, by the module's own forward.

    base: its frequencies and attention factor at step 0, bit for bit those of the unstretched model.
    request: how long the request is, for stretches whose scale it sets.

    With `near` distances a step's values are of far ones; near ones turn by step 0's. Keys are then rotated without the
    attention factor, and queries by its square, so that one key serves queries of every step that find it near.
    """

    def __init__(self, table: LiveTable, stretch: Stretch, base: tuple[torch.Tensor, float], request: RequestScale):
        self.table, self.schedule, self.request = table, stretch.schedule, request
        self.semantics = stretch.dynamic.semantics if stretch.dynamic else STATIC
        self.near, self._log_n = stretch.near, stretch.log_n
        self._stretch, self._base = stretch, base
        self._sharpens = stretch.softmax_factor != 1  # asked in every call, and a method works out all its angles for it
        self._held: dict[int, tuple[torch.Tensor, float]] = {}
        self._scaled: dict[int, Scaled] = {}
        self._ahead: dict[tuple[str, int, int, torch.dtype], Pair] = {}
        self.starts = torch.tensor(self.schedule.starts() if self.schedule.grid else (), dtype=torch.int64)

    @property
    def reach(self) -> int:
        """Tokens that the plan reaches; the last has position reach - 1."""
        return self._stretch.target_length

    def scaled(self, step: int) -> Scaled:
        if step not in self._scaled:
            if len(self._scaled) >= HELD:
                self._scaled.clear()
            self._scaled[step] = self._stretch.scaled_by(self.schedule.scale(step))
        return self._scaled[step]

    def values(self, step: int) -> tuple[torch.Tensor, float]:
        """(inv_freq, float32, and the attention factor) of a step."""
        if step == 0:
            return self._base
        if step not in self._held:
            if len(self._held) >= HELD:
                self._held.clear()
            scaled = self.scaled(step)
            self._held[step] = (torch.tensor(scaled.inv_freq, dtype=torch.float32), scaled.attention_factor)
        inv_freq, m = self._held[step]
        if inv_freq.device != (device := self.table.inv_freq.device):
            self._held[step] = (inv_freq.to(device), m)
        return self._held[step]

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """The module as it is at `step`, for as long as the block lasts."""
        before = self._swap(*self.values(step))
        self.table.set_softmax(self.scaled(step).softmax_factor)
        try:
            yield
        finally:
            self._swap(*before)
            self.table.set_softmax(self.scaled(0).softmax_factor)

    def softmax(self, steps: torch.Tensor) -> torch.Tensor | None:
        """What queries of latent attention are multiplied by at these steps, float32; None where that is 1 at every one."""
        if not self._sharpens:
            return None
        each, where = torch.unique(steps, return_inverse=True)
        base = self.scaled(0).softmax_factor
        return torch.tensor([self.scaled(step).softmax_factor / base for step in each.tolist()])[where]

    def _swap(self, inv_freq: torch.Tensor, m: Any) -> tuple[torch.Tensor, Any]:
        """Set the module's frequencies and attention factor; those it had."""
        module, prefix = self.table.module, self.table.prefix
        before = getattr(module, f"{prefix}inv_freq"), getattr(module, f"{prefix}attention_scaling")
        setattr(module, f"{prefix}inv_freq", inv_freq)
        setattr(module, f"{prefix}attention_scaling", m)
        return before

    def tables(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) for positions (rows, tokens), in the dtype of `like` and the module's own layout."""
        return self.rotated_by(*self.values(step), positions, like)

    def of_queries(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) of queries (rows, tokens), to meet keys that `of_keys` turned at that step; far keys, if some are near.

        The far angle theta w + theta' (p - k - w) is that of a query at theta' p + (theta - theta') w and a key at theta' k.
        """
        if not self.near or step == 0:
            return self.tables(step, positions, like)
        cos, sin = self.far_queries(*self.values(step), self._groups(step), positions, wide(like))
        return cos.to(like.dtype), sin.to(like.dtype)

    def far_queries(
        self, inv_freq: torch.Tensor, m: Any, groups: Groups, positions: torch.Tensor, like: torch.Tensor
    ) -> Pair:  # fmt: skip
        """The same from the values of a step."""
        ahead = self.values(0)[0] - inv_freq, 1.0, torch.full_like(positions[:1, :1], self.near)
        return add_angles(self.in_groups(inv_freq, m * m, groups, positions, like), self.rotated_by(*ahead, like))

    def of_near_queries(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) of queries that meet near keys, which `of_keys` turned at step 0."""
        (trained, _), (_, m) = self.values(0), self.values(step)
        return self.rotated_by(trained, m * m, positions, like)

    def of_one(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(rows, tokens, 4, channels): queries for far and for near keys, the keys that become far then, and their own."""
        become_far = (positions - self.near).clamp(min=0)
        pairs = (
            self.of_queries(step, positions, like), self.of_near_queries(step, positions, like),
            self.of_keys(step, become_far, like), self.of_keys(0, positions, like),
        )  # fmt: skip
        return torch.stack([cos for cos, _ in pairs], 2), torch.stack([sin for _, sin in pairs], 2)

    def of_keys(self, step: int, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) of keys (rows, tokens)."""
        if not self.near or step == 0:
            return self.tables(step, positions, like)
        return self.in_groups(self.values(step)[0], 1.0, self._groups(step), positions, like)

    def in_groups(self, inv_freq: torch.Tensor, m: Any, groups: Groups, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) of positions in whole groups of tokens; other pairs stand still meanwhile, and angles add."""
        found: list[Pair] = []
        for size, pairs in groups:
            where = positions if isinstance(size, int) and size == 1 else positions // size * size
            found.append(self.rotated_by(inv_freq * pairs if len(groups) > 1 else inv_freq, 1.0 if found else m, where, like))
        return reduce(add_angles, found)

    def _groups(self, step: int) -> Groups:
        group = self.scaled(step).group
        if isinstance(group, int):
            return [(group, 1.0)]
        sizes = torch.tensor(group, device=self.table.inv_freq.device)
        return [(size, (sizes == size).float()) for size in dict.fromkeys(group)]

    def of_each(self, compute: str, steps: Steps, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """What `compute` answers for one token a row, positions (rows, 1) on the CPU. Tokens come one after the other: their
        tables are made some at a time.
        """
        found, rows = [], max(len(steps), len(positions))
        steps, positions = steps if len(steps) > 1 else steps * rows, positions.expand(rows, 1)
        for step, position in zip(steps, positions[:, 0].tolist(), strict=True):
            key = (compute, step, position // AHEAD, like.dtype)
            if key not in self._ahead:
                if len(self._ahead) >= HELD:
                    self._ahead.clear()
                first = position // AHEAD * AHEAD
                self._ahead[key] = getattr(self, compute)(step, torch.arange(first, first + AHEAD)[None], like)
            found.append([half[:, position % AHEAD, None] for half in self._ahead[key]])
        cos, sin = (halves[0] if len(halves) == 1 else torch.cat(halves) for halves in zip(*found, strict=True))
        return cos, sin

    def gain(self, positions: torch.Tensor) -> torch.Tensor | None:
        """(rows, 1, tokens, 1): what queries are multiplied by, float32; None: by nothing."""
        if not self._log_n:
            return None
        return ((positions + 1).log() / math.log(self.schedule.original_length)).clamp(min=1)[:, None, :, None]

    def rotated_by(self, inv_freq: torch.Tensor, m: Any, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) as the module computes them from these frequencies and this attention factor."""
        extra = {"layer_type": self.table.layer_type} if self.table.prefix else {}
        before = self._swap(inv_freq, m)
        try:
            with torch.no_grad():
                cos, sin = self.table.module.forward(like, positions, **extra)  # not __call__: our own hook sits there
        finally:
            self._swap(*before)
        return cos, sin

    def stack(self) -> None:
        """Lay out the values of every step of a gridded schedule, for compiled calls: (steps, pairs) and (steps,); groups as
        `_groups` has them, of every step (steps,).
        """
        pairs = [self.values(step) for step in range(len(self.starts) + 1)]
        inv_freq = torch.stack([inv_freq.float() for inv_freq, _ in pairs])
        self.stacked = inv_freq, torch.tensor([m for _, m in pairs], dtype=torch.float32, device=inv_freq.device)
        sizes = torch.ones(len(pairs), inv_freq.shape[1], dtype=torch.int64)
        for step in range(1, len(pairs)):
            sizes[step] = torch.tensor(self.scaled(step).group)
        alike, where = torch.unique(sizes, dim=1, return_inverse=True)
        self.groups = [(each.to(inv_freq.device), (where == i).float().to(inv_freq.device)) for i, each in enumerate(alike.T)]
        self.softmax_stacked = self.softmax(torch.arange(len(pairs)))

    def steps(self, positions: torch.Tensor) -> torch.Tensor:
        """The step of every query, (rows, tokens), on the CPU. Raises BadLength for one that the plan does not reach."""
        positions = positions.to("cpu", torch.int64).contiguous()
        self._check_reach(int(positions.max()) if positions.numel() else 0)
        if self.semantics == STATIC:
            return torch.full_like(positions, self.schedule.step(2**62))
        if self.semantics == REQUEST:
            start, last = int(positions.amin(-1).max()), int(positions.max())
            return torch.full_like(positions, self.schedule.step(self.request.length(start, last) - 1))
        if self.semantics != CAUSAL:
            positions = ends(positions)
        if self.schedule.grid:
            return torch.bucketize(positions, self.starts, right=True)
        most = self.schedule.step(2**62)
        return (positions + 1 - self.schedule.original_length).clamp(0, most)

    def _check_reach(self, position: int) -> None:
        if position >= self.reach:
            raise BadLength(
                f"a token at position {position:,} was read, and {self._stretch.name} reaches {self.reach:,} tokens.\n"
                "  Prompt and answer together must fit: ask for fewer tokens, or stretch further with a larger factor."
            )


def wide(like: torch.Tensor) -> torch.Tensor:
    """For tables that are multiplied before they are rounded to its dtype."""
    return like.new_empty(1, dtype=torch.promote_types(like.dtype, torch.float32))


def add_angles(a: Pair, b: Pair) -> Pair:
    """(cos, sin) of the sums of the angles, in any layout; factors multiply."""
    return a[0] * b[0] - a[1] * b[1], a[1] * b[0] + a[0] * b[1]


def ends(positions: torch.Tensor) -> torch.Tensor:
    """The last position of the document that each token belongs to; a document starts where positions do not grow."""
    starts = pad(positions[:, 1:] <= positions[:, :-1], (1, 0)).long().cumsum(1)
    longest = torch.zeros_like(positions).scatter_reduce(1, starts, positions, "amax", include_self=False)
    return longest.gather(1, starts)
