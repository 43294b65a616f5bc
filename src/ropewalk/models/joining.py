"""Rows that were read alone and decode together: their caches joined with padding on the left, and thinned out again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ropewalk.models.dynamic.kept import STATE, State


def can_join(cache: Any) -> bool:
    """Does every layer hold plain keys and values of all tokens? Sliding windows and recurrent states do not."""
    return all(isinstance(layer, DynamicLayer) and not layer.is_sliding for layer in cache.layers)


def joined(model: Any, caches: Sequence[Any]) -> DynamicCache:
    """One cache with the rows of all, each ending in the last column. Padding is to be masked."""
    whole = DynamicCache(config=model.config)
    longest = max(cache.get_seq_length() for cache in caches)
    for index in range(len(caches[0].layers)):
        layers = [cache.layers[index] for cache in caches]
        keys = torch.cat([_padded(layer.keys, longest) for layer in layers])
        values = torch.cat([_padded(layer.values, longest) for layer in layers])
        whole.update(keys, values, index)
    if states := [state for cache in caches if (state := getattr(cache, STATE, None))]:
        positions = torch.cat([pad(state.positions, (longest - state.positions.shape[1], 0)) for state in states])
        setattr(whole, STATE, State(states[0].plan, positions))
    return whole


def _padded(tensor: torch.Tensor, length: int) -> torch.Tensor:
    return pad(tensor, (0, 0, length - tensor.shape[2], 0))


def thinned(model: Any, cache: Any, rows: Sequence[int], length: int) -> DynamicCache:
    """A cache with these rows alone, and of their columns the last `length`."""
    left = DynamicCache(config=model.config)
    for index, layer in enumerate(cache.layers):
        chosen = torch.tensor(rows, device=layer.keys.device)
        left.update(layer.keys[chosen, :, -length:], layer.values[chosen, :, -length:], index)
    if state := getattr(cache, STATE, None):
        setattr(left, STATE, State(state.plan, state.positions[list(rows), -length:]))
    return left
