"""One new token per row under torch.compile: tensors in place of the eager path's Python numbers, and so no graph breaks.

Nothing is kept rotated: every step rotates all keys at its own scale, which a compiler fuses into one pass over them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.cache import STATE, CacheState
from ropewalk.models.dynamic.call import Rotate, sharpened
from ropewalk.models.dynamic.ladder import Groups, Ladder, Pair, add_angles, wide
from ropewalk.scaling.schedule import RECOMPUTE


def check_unseen(module: nn.Module, keys: int, tokens: int) -> None:
    """Of a call without a cache, every key is one of its own tokens. Raises CannotAttach."""
    if keys != tokens:
        raise CannotAttach(
            f"{type(module).__name__} attends to {keys:,} keys in a call of {tokens:,} tokens that was handed no cache:\n"
            "  it found the others in a way that is not known, and their positions with them. Pass use_cache=False."
        )


def is_traced(ladder: Ladder, positions: torch.Tensor) -> bool:
    """Is this call compiled into one graph? Longer calls are split where their positions say, so they are left to Python."""
    return torch.compiler.is_compiling() and positions.shape[1] == 1 and ladder.schedule.grid > 0


class TracedCall:
    """positions: (rows, 1).  Its step per row is a tensor, and so are its frequencies."""

    is_plain = False

    def __init__(self, ladder: Ladder, positions: torch.Tensor, like: torch.Tensor):
        self.ladder, self.positions, self._like = ladder, positions, like
        inv_freq, m = ladder.stacked
        step = torch.bucketize(positions[:, 0], ladder.starts.to(positions.device), right=True)
        self._values = inv_freq.to(positions.device)[step], m.to(positions.device)[step]
        softmax = ladder.softmax_stacked
        self._softmax = None if softmax is None else softmax.to(positions.device)[step][:, None]
        self._groups = [(sizes.to(positions.device)[step][:, None], pairs) for sizes, pairs in ladder.groups]
        self.of_query, self._to_near = self._queries()
        self.of_keys: Pair | None = None

    def bind(self, cache: Any, fingerprint: str, layer: int) -> None:
        """Find out where the keys of the cache stand, and note where the new one does. Raises CannotAttach."""
        if self.of_keys is not None:
            return
        self.cached = cache is not None
        if cache is None:
            self.of_keys = self._keys(self.positions)
            return
        state: CacheState | None = getattr(cache, STATE, None)
        slots = None if state is None or state.fingerprint != fingerprint else state.slots
        if slots is None or self.ladder.semantics == RECOMPUTE:
            raise CannotAttach(
                "compiled decoding continues a static cache that was filled under the attached plan, without torch.compile.\n"
                '  Let generate do it, with cache_implementation="static"; plans of the recompute meaning have no cache.'
            )
        past = cache.layers[layer].cumulative_length
        slots.index_copy_(1, past.reshape(1), self.positions.expand(len(slots), 1))
        self.of_keys = self._keys(slots)

    def sharpened(self, query: torch.Tensor) -> torch.Tensor:
        gain = self.ladder.gain(self.positions)
        query = query if gain is None else query * gain.to(query.dtype)
        return query if self._softmax is None else sharpened(query, self._softmax)

    def identity(self, embeddings: Pair) -> Pair:
        return torch.ones_like(embeddings[0]), torch.zeros_like(embeddings[1])

    def _queries(self) -> tuple[Pair, Pair | None]:
        """(cos, sin) of queries; and with near distances, of which those are meant for far keys, what turns a near key so that
        they may meet it too.

        In complex numbers a query a meets a far key b as a conj(b), and a near one is to be met as p conj(k), both as trained:
        that is a conj(k conj(p / a)). So with one query a row, each key is turned once, as its distance says.
        """
        ladder, like, (inv_freq, m) = self.ladder, wide(self._like), self._values
        if not ladder.near:
            return self._turned(inv_freq, m, self.positions, self._like), None
        far = self._each(lambda i: ladder.far_queries(inv_freq[i], m[i], self._groups_of(i), _row(self.positions, i), like))
        near = self._turned([ladder.values(0)[0]] * len(m), m * m, self.positions, like)
        size = far[0] ** 2 + far[1] ** 2
        cos, sin = add_angles(near, (far[0] / size, -far[1] / size))
        return (far[0].to(self._like.dtype), far[1].to(self._like.dtype)), (cos, -sin)

    def _keys(self, positions: torch.Tensor) -> Pair:
        """(cos, sin) of keys at positions (rows, keys)."""
        ladder, like, (inv_freq, m) = self.ladder, wide(self._like), self._values
        if self._to_near is None:
            return self._turned(inv_freq, m, positions, self._like)
        ones = torch.ones_like(m)
        far = self._each(lambda i: ladder.in_groups(inv_freq[i], 1.0, self._groups_of(i), _row(positions, i), like))
        near = add_angles(self._turned([ladder.values(0)[0]] * len(m), ones, positions, like), self._to_near)
        is_far = (self.positions - positions >= ladder.near)[..., None]
        cos, sin = (torch.where(is_far, a, b).to(self._like.dtype) for a, b in zip(far, near, strict=True))
        return cos, sin

    def _turned(self, inv_freq: Any, m: torch.Tensor, positions: torch.Tensor, like: torch.Tensor) -> Pair:
        """(cos, sin) of positions (rows, keys), every row by its own frequencies and factor."""
        return self._each(lambda i: self.ladder.rotated_by(inv_freq[i], m[i], _row(positions, i), like))

    def _groups_of(self, i: int) -> Groups:
        return [(sizes[i : i + 1], pairs.to(sizes.device)) for sizes, pairs in self._groups]

    def _each(self, make: Callable[[int], Pair]) -> Pair:
        """One row after the other."""
        pairs = [make(i) for i in range(len(self._values[0]))]
        return torch.cat([cos for cos, _ in pairs]), torch.cat([sin for _, sin in pairs])


def _row(positions: torch.Tensor, i: int) -> torch.Tensor:
    return positions[i : i + 1] if len(positions) > 1 else positions


class TracedReading:
    """One layer's part in a traced call."""

    def __init__(self, call: TracedCall, rotate: Rotate):
        self.call, self.rotate = call, rotate

    def attend(
        self, stock: Any, module: nn.Module, query: Any, key: Any, value: Any, mask: Any, kwargs: Any, flash: bool
    ) -> Any:
        assert self.call.of_keys is not None
        if not self.call.cached:
            check_unseen(module, key.shape[2], query.shape[2])
        query, key = self.rotate(query, *self.call.of_query), self.rotate(key, *self.call.of_keys)
        return stock(module, query, key, value, mask, **kwargs)
