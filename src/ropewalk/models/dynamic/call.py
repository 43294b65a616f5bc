"""One forward pass of a plan that rotates on read: where its tokens stand, and the queries that read at one scale."""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import pad

from ropewalk.models.dynamic.ladder import Ladder, Pair, Steps

# (x, cos, sin) -> x rotated, by the model's own function.
Rotate = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Call:
    """The queries of one forward pass, grouped by the steps they read at. Shared by all layers of one rotary table.

    positions: (rows, tokens), rows 1 or the batch.
    groups: (steps, ranges of columns) whose queries every row reads at one step of its own.
    """

    def __init__(self, ladder: Ladder, positions: torch.Tensor, like: torch.Tensor):
        self.ladder, self.positions = ladder, positions
        self.key_positions, self.past, self.bound = positions, 0, False
        self._like = like.new_empty(1) if isinstance(like, torch.Tensor) else like
        self._tables: dict[tuple[Steps, str, int, int], Pair] = {}
        self._triangle: torch.Tensor | None = None
        self._made: dict[tuple[str, int], tuple[Any, Any]] = {}
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

    @property
    def total(self) -> int:
        """Keys that have been seen, this call's among them."""
        return self.key_positions.shape[-1]

    @cached_property
    def is_even(self) -> bool:
        """Is the distance of two tokens that of their columns? Not where positions jump. Columns of padding before the first
        token do not count: a mask hides them.
        """
        columns = torch.arange(self.total, device=self.key_positions.device)
        ahead = self.key_positions - columns
        offset = ahead[:, -1:]
        return bool(((ahead == offset) | (columns < -offset)).all())

    @property
    def is_padded(self) -> bool:
        """Are there columns before the first token of a row?"""
        return bool((self.key_positions[:, -1] < self.total - 1).any())

    def once(self, name: str, mask: Any, make: Callable[[], Any]) -> Any:
        """What is the same for every layer that is handed this very mask, which is held, so that no other takes its id."""
        key = name, id(mask)
        if key not in self._made:
            self._made[key] = mask, make()
        return self._made[key][1]

    def hides_nothing(self, mask: torch.Tensor | None, keys: int) -> bool:
        """Does a layer's mask only say that no query sees what comes after it, of `keys` keys that have all been seen?"""
        if mask is None:
            return True
        if mask.dim() != 4 or mask.shape[-2:] != (self.tokens, self.total) or keys != self.total:
            return False

        def look() -> bool:
            seen = mask if mask.dtype == torch.bool else mask == 0
            rows = torch.arange(self.past, self.total, device=mask.device)[:, None]
            return bool((seen == (torch.arange(keys, device=mask.device) <= rows)).all())

        answer: bool = self.once("hides", mask, look)
        return answer

    def where_keys_stand(self, length: int) -> torch.Tensor:
        """(rows, length) positions of the keys that a layer reads: a static cache's empty slots at 0; or a window's tail."""
        known = self.key_positions
        return pad(known, (0, length - self.total)) if length > self.total else known[:, self.total - length :]

    def identity(self, embeddings: Pair) -> Pair:
        if self._identity is None:
            self._identity = torch.ones_like(embeddings[0]), torch.zeros_like(embeddings[1])
        return self._identity

    def of_queries(self, steps: Steps, first: int, last: int) -> Pair:
        """(cos, sin) of the queries in columns first to last - 1."""
        return self._at(steps, "of_queries", first, last, self.positions)

    def of_near_queries(self, steps: Steps, first: int, last: int) -> Pair:
        """The same for near keys, where the plan has such."""
        return self._at(steps, "of_near_queries", first, last, self.positions)

    def of_one(self, steps: Steps, n: int) -> Pair:
        """All that one token turns where its position is that of its column and some keys are far: n times its query for far
        keys, n times that for near ones, the key that becomes far, and its own.
        """
        each = torch.tensor([0] * n + [1] * n + [2, 3], device=self.positions.device)
        cos, sin = (half.flatten(1, 2).index_select(1, each) for half in self._compute(steps, "of_one", self.positions))
        return cos, sin

    def of_keys(self, steps: Steps, first: int, last: int, length: int) -> Pair:
        """(cos, sin) of keys first to last - 1 of the `length` that a layer reads.

        More than have been seen: a static cache, whose empty slots are masked. Fewer: a window's tail.
        """
        known = self.total
        if length < known:
            first, last = first + known - length, last + known - length
        positions = self.key_positions
        if last > known:
            positions = pad(positions, (0, last - known))
        return self._at(steps, "of_keys", first, last, positions)

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

    def _at(self, steps: Steps, compute: str, first: int, last: int, positions: torch.Tensor) -> Pair:
        key = (steps, compute, first, last)
        if key not in self._tables:
            self._tables[key] = self._compute(steps, compute, positions[:, first:last])
        return self._tables[key]

    def _compute(self, steps: Steps, compute: str, positions: torch.Tensor) -> Pair:
        if positions.shape[1] == 1 and positions.device.type == "cpu" and not torch.is_grad_enabled():
            return self.ladder.of_each(compute, steps, positions, self._like)
        make = getattr(self.ladder, compute)
        if len(steps) == 1:
            pair: Pair = make(steps[0], positions, self._like)
            return pair
        rows = [positions[i : i + 1] if len(positions) > 1 else positions for i in range(len(steps))]
        pairs = [make(step, row, self._like) for step, row in zip(steps, rows, strict=True)]
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


def in_order(
    found: list[tuple[int, torch.Tensor, torch.Tensor | None]], keys: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Outputs, and weights over all keys where there are any, of groups of queries by the column each starts at."""
    found = sorted(found, key=lambda piece: piece[0])
    output = torch.cat([output for _, output, _ in found], dim=1)
    weights = [pad(weight, (0, keys - weight.shape[-1])) for _, _, weight in found if weight is not None]
    return output, torch.cat(weights, dim=2) if len(weights) == len(found) else None
