"""One new token per row under torch.compile: tensors in place of the eager path's Python numbers, and so no graph breaks.

Nothing is kept rotated: every step rotates all keys at its own scale, which a compiler fuses into one pass over them.
"""

from typing import Any

import torch
from torch import nn

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.cache import STATE, CacheState
from ropewalk.models.dynamic.call import Rotate, sharpened
from ropewalk.models.dynamic.ladder import Ladder, Pair
from ropewalk.scaling.schedule import RECOMPUTE


def check_unseen(module: nn.Module, keys: int, tokens: int) -> None:
    """Of a call without a cache, every key is one of its own tokens. Raises CannotAttach."""
    if keys != tokens:
        raise CannotAttach(
            f"{type(module).__name__} attends to {keys:,} keys in a call of {tokens:,} tokens that was handed no cache:\n"
            "  it found the others in a way that is not known, and their positions with them. Pass use_cache=False."
        )


def is_traced(ladder: Ladder, positions: torch.Tensor) -> bool:
    """Is this call compiled into one graph? Longer calls are split where their positions say, so they are left to Python.

    So are near distances, where a key is turned in two ways.
    """
    return torch.compiler.is_compiling() and positions.shape[1] == 1 and ladder.schedule.grid > 0 and not ladder.near


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
        self.of_query = self._tables(positions)
        self.of_keys: Pair | None = None

    def bind(self, cache: Any, fingerprint: str, layer: int) -> None:
        """Find out where the keys of the cache stand, and note where the new one does. Raises CannotAttach."""
        if self.of_keys is not None:
            return
        self.cached = cache is not None
        if cache is None:
            self.of_keys = self.of_query
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
        self.of_keys = self._tables(slots)

    def sharpened(self, query: torch.Tensor) -> torch.Tensor:
        return query if self._softmax is None else sharpened(query, self._softmax)

    def identity(self, embeddings: Pair) -> Pair:
        return torch.ones_like(embeddings[0]), torch.zeros_like(embeddings[1])

    def _tables(self, positions: torch.Tensor) -> Pair:
        """(cos, sin) of positions (rows, keys), every row at its own step."""
        inv_freq, m = self._values
        rows = range(len(inv_freq))
        where = [positions[i : i + 1] if len(positions) > 1 else positions for i in rows]
        pairs = [self.ladder.rotated_by(inv_freq[i], m[i], where[i], self._like) for i in rows]
        return torch.cat([cos for cos, _ in pairs]), torch.cat([sin for _, sin in pairs])


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
