"""One forward pass of a plan that rotates on read: where its tokens stand, and the steps its queries read at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right

from ropewalk.errors import BadLength
from ropewalk.models.live import LiveTable
from ropewalk.scaling.method import Scaled
from ropewalk.scaling.schedule import CAUSAL
from ropewalk.scaling.stretch import Stretch

# One step for every row, or one per row.
Steps = tuple[int, ...]
Pair = tuple[torch.Tensor, torch.Tensor]
# (x, cos, sin) -> x rotated, by the model's own function.
Rotate = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
HELD = 64


class Ladder:
    """cos and sin of a live rotary module at every step of a schedule, by the module's own forward.

    base: its frequencies and attention factor at step 0, bit for bit those of the unstretched model.
    """

    def __init__(self, table: LiveTable, stretch: Stretch, base: tuple[torch.Tensor, float]):
        assert stretch.dynamic
        self.table, self.schedule, self.semantics = table, stretch.schedule, stretch.dynamic.semantics
        self._stretch, self._base = stretch, base
        self._held: dict[int, tuple[torch.Tensor, float]] = {}
        self.starts = torch.tensor(self.schedule.starts() if self.schedule.grid else (), dtype=torch.int64)

    @property
    def reach(self) -> int:
        """Tokens that the plan reaches; the last has position reach - 1."""
        return self._stretch.target_length

    def scaled(self, step: int) -> Scaled:
        return self._stretch.scaled_by(self.schedule.scale(step))

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
        if self._stretch.scaled().softmax_factor == 1:
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
        """Lay out the values of every step of a gridded schedule, for compiled calls: (steps, pairs) and (steps,)."""
        pairs = [self.values(step) for step in range(len(self.starts) + 1)]
        inv_freq = torch.stack([inv_freq.float() for inv_freq, _ in pairs])
        self.stacked = inv_freq, torch.tensor([m for _, m in pairs], dtype=torch.float32, device=inv_freq.device)
        self.softmax_stacked = self.softmax(torch.arange(len(pairs)))

    def steps(self, positions: torch.Tensor) -> torch.Tensor:
        """The step of every query, (rows, tokens), on the CPU. Raises BadLength for one that the plan does not reach."""
        positions = positions.to("cpu", torch.int64).contiguous()
        self._check_reach(int(positions.max()) if positions.numel() else 0)
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


def ends(positions: torch.Tensor) -> torch.Tensor:
    """The last position of the document that each token belongs to; a document starts where positions do not grow."""
    starts = torch.nn.functional.pad(positions[:, 1:] <= positions[:, :-1], (1, 0)).long().cumsum(1)
    longest = torch.zeros_like(positions).scatter_reduce(1, starts, positions, "amax", include_self=False)
    return longest.gather(1, starts)


class Call:
    """The queries of one forward pass, grouped by the steps they read at. Shared by all layers of one rotary table.

    positions: (rows, tokens), rows 1 or the batch.
    groups: (steps, ranges of columns) whose queries every row reads at one step of its own.
    """

    def __init__(self, ladder: Ladder, positions: torch.Tensor, like: torch.Tensor):
        self.ladder, self.positions = ladder, positions
        self.key_positions, self.past, self.bound = positions, 0, False
        self._like = like.new_empty(1) if isinstance(like, torch.Tensor) else like
        self._tables: dict[tuple[Steps, bool, int, int], Pair] = {}
        self._triangle: torch.Tensor | None = None
        self._identity: Pair | None = None
        steps = ladder.steps(positions)
        self.groups, self._softmax = _groups(steps), ladder.softmax(steps)
        self.is_plain = all(step == 0 for steps, _ in self.groups for step in steps)

    @property
    def tokens(self) -> int:
        return self.positions.shape[-1]

    @property
    def restarts(self) -> bool:
        """Do positions fall or stand still anywhere: packed documents, or padding?"""
        return bool((self.positions[:, 1:] <= self.positions[:, :-1]).any())

    def sharpened(self, query: torch.Tensor) -> torch.Tensor:
        """query: (rows, heads, tokens, channels), of which every one counts for the softmax, rotated or not."""
        return query if self._softmax is None else sharpened(query, self._softmax)

    def identity(self, embeddings: Pair) -> Pair:
        if self._identity is None:
            self._identity = torch.ones_like(embeddings[0]), torch.zeros_like(embeddings[1])
        return self._identity

    def of_queries(self, steps: Steps, first: int, last: int) -> Pair:
        """(cos, sin) of the queries in columns first to last - 1."""
        return self._at(steps, True, first, last, self.positions)

    def of_keys(self, steps: Steps, first: int, last: int, length: int) -> Pair:
        """(cos, sin) of keys first to last - 1 of the `length` that a layer reads.

        More than have been seen: a static cache, whose empty slots are masked. Fewer: a window's tail.
        """
        known = self.key_positions.shape[-1]
        if length < known:
            first, last = first + known - length, last + known - length
        positions = self.key_positions
        if last > known:
            positions = torch.nn.functional.pad(positions, (0, last - known))
        return self._at(steps, False, first, last, positions)

    def causal_mask(self, first: int, last: int, query: torch.Tensor) -> Any:
        """(1, 1, queries, last): what a query in columns first to last - 1 of a fresh call may look at; None if everything.

        On the CPU numbers to be added, all cut from one triangle: a mask of truths is turned into them at every attention.
        Elsewhere PyTorch's own name for this shape, under which it has flash kernels.
        """
        if last - first == 1:
            return None
        if query.device.type != "cpu":
            return causal_lower_right(last - first, last)
        if self._triangle is None or len(self._triangle) < last - first:
            rows = torch.arange(last - first)[:, None]
            hidden = torch.arange(self.tokens + last - first) > self.tokens + rows
            self._triangle = query.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        start = self.tokens - first
        return self._triangle[None, None, : last - first, start : start + last]

    def _at(self, steps: Steps, query: bool, first: int, last: int, positions: torch.Tensor) -> Pair:
        key = (steps, query, first, last)
        if key not in self._tables:
            self._tables[key] = self._compute(steps, positions[:, first:last])
        return self._tables[key]

    def _compute(self, steps: Steps, positions: torch.Tensor) -> Pair:
        if len(steps) == 1:
            return self.ladder.tables(steps[0], positions, self._like)
        rows = [positions[i : i + 1] if len(positions) > 1 else positions for i in range(len(steps))]
        pairs = [self.ladder.tables(step, row, self._like) for step, row in zip(steps, rows, strict=True)]
        return torch.cat([cos for cos, _ in pairs]), torch.cat([sin for _, sin in pairs])


def sharpened(query: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Queries times (rows, tokens) factors, rounded once."""
    return (query.float() * factors.to(query.device)[:, None, :, None]).to(query.dtype)


def _groups(steps: torch.Tensor) -> list[tuple[Steps, list[tuple[int, int]]]]:
    """Columns by the steps of their rows: [(steps, [(first, last), ...]), ...] in order of first appearance."""
    if len(steps) > 1 and bool((steps == steps[:1]).all()):
        steps = steps[:1]
    changes = (steps[:, 1:] != steps[:, :-1]).any(dim=0).nonzero().flatten() + 1
    edges = [0, *changes.tolist(), steps.shape[1]]
    found: dict[Steps, list[tuple[int, int]]] = {}
    for first, last in pairwise(edges):
        found.setdefault(tuple(steps[:, first].tolist()), []).append((first, last))
    return list(found.items())
