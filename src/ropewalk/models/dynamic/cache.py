"""What a cache carries for a plan that rotates on read: whose it is, where its keys stand, and keys rotated for decoding.

The cache itself holds keys without rotation, so its content belongs to no scale. While decoding, each layer also keeps its
keys rotated for the step in use: half as much again as the cache (keys, not values). They are dropped by a longer call,
and made anew from the unrotated ones when the step changes or anything but this plan touched the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer, QuantizedLayer

from ropewalk.errors import CannotAttach
from ropewalk.models.dynamic.call import Call, Rotate
from ropewalk.models.dynamic.ladder import Steps
from ropewalk.scaling.schedule import RECOMPUTE


@dataclass(eq=False)
class Room:
    """Storage with spare tokens at its end: `tensor` (rows, heads, capacity, channels), and the `view` handed out last.

    Whoever holds another view (cropped, reordered, or copied before the last one) is given a room of their own, so nobody
    ever sees a token change.
    """

    tensor: torch.Tensor
    view: torch.Tensor

    @classmethod
    def around(cls, held: torch.Tensor, more: int) -> "Room":
        """A room that starts with a copy of `held` and has place for `more` tokens, and a sixteenth beyond."""
        length = held.shape[2]
        tensor = held.new_empty(*held.shape[:2], length + more + max(64, length // 16), held.shape[3])
        tensor[:, :, :length] = held
        return cls(tensor, tensor[:, :, :length])

    def fits(self, held: torch.Tensor, more: int) -> bool:
        writable = torch.is_inference_mode_enabled() or not self.tensor.is_inference()
        return held is self.view and writable and held.shape[2] + more <= self.tensor.shape[2]

    def add(self, new: torch.Tensor) -> torch.Tensor:
        length = self.view.shape[2]
        self.tensor[:, :, length : length + new.shape[2]] = new
        self.view = self.tensor[:, :, : length + new.shape[2]]
        return self.view


def added(room: Room | None, held: torch.Tensor, new: torch.Tensor) -> Room:
    """The room that holds `held` and then `new`: the given one, if it may be written to."""
    if room is None or not room.fits(held, new.shape[2]):
        room = Room.around(held, new.shape[2])
    room.add(new)
    return room


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A DynamicLayer whose tensors are views into rooms. Where gradients are recorded it is the stock layer."""

    rooms: tuple[Room | None, Room | None] = (None, None)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or self.keys is None or self.values is None or self.get_seq_length() == 0:
            self.rooms = (None, None)
            return super().update(key_states, value_states, *args, **kwargs)
        keys, values = added(self.rooms[0], self.keys, key_states), added(self.rooms[1], self.values, value_states)
        self.rooms = keys, values
        self.keys, self.values = keys.view, values.view
        return self.keys, self.values


def let_grow(cache: Cache, layer: int) -> None:
    """Make a stock growing layer of a cache add in place; layers of other kinds stay as they are."""
    if layer < len(cache.layers) and type(cache.layers[layer]) is DynamicLayer:
        cache.layers[layer].__class__ = GrowingLayer  # the same object, so that whoever holds it sees the same layer


STATE = "_ropewalk"
# Calls of at most this many tokens keep rotated keys for the next one.
DECODING = 8


@dataclass
class Rotated:
    """The keys of one layer at `steps`: `keys` (rows, heads, capacity, channels), of which `length` are filled.

    source, version: the cache's own tensor they were made from, and PyTorch's count of writes to it.
    """

    keys: torch.Tensor
    length: int
    steps: Steps
    source: torch.Tensor | None
    version: int | None
    fresh: bool = False


@dataclass
class CacheState:
    """fingerprint: of the plan that filled the cache.  positions: (rows, tokens) of its keys.

    slots: the same for a static cache, (rows, capacity), -1 where nothing is; compiled calls write here.
    """

    fingerprint: str
    positions: torch.Tensor
    slots: torch.Tensor | None = None
    layers: dict[int, Rotated] = field(default_factory=dict)


def bind(cache: Any, call: Call, fingerprint: str, layer: int) -> CacheState:
    """Tell a call which keys it will find in the cache, and the cache which the call adds. Raises CannotAttach."""
    state: CacheState | None = getattr(cache, STATE, None)
    if not call.bound:
        past = int(cache.get_seq_length(layer))
        if state and state.slots is not None and past > state.positions.shape[1] and bool((state.slots[:, :past] >= 0).all()):
            state.positions = state.slots[:, :past].clone()
        _check(cache, state, call, fingerprint, past)
        new = call.positions
        if past and state:
            new = torch.cat([*_alike(state.positions[:, :past].to(new.device), new)], dim=1)
        if state is None or past == 0:
            state = CacheState(fingerprint, new)
            setattr(cache, STATE, state)
        state.positions = call.key_positions = new
        call.past, call.bound = past, True
        _note_slots(cache, state, layer)
    assert state is not None
    let_grow(cache, layer)
    _see(cache, state, layer)
    return state


def _note_slots(cache: Any, state: CacheState, layer: int) -> None:
    """Write down where the keys of a static cache stand, for compiled calls to find."""
    held = cache.layers[layer] if layer < len(cache.layers) else None
    if held is None or not held.is_compileable:
        return
    if state.slots is None or len(state.slots) != len(state.positions):
        state.slots = state.positions.new_full((len(state.positions), held.max_cache_len), -1)
        torch._dynamo.mark_static_address(state.slots)
    state.slots[:, : state.positions.shape[1]] = state.positions


def _check(cache: Any, state: CacheState | None, call: Call, fingerprint: str, past: int) -> None:
    if getattr(cache, "offloading", False) or any(isinstance(layer, QuantizedLayer) for layer in cache.layers):
        raise CannotAttach(
            "this cache moves its keys off the device or rounds them: not tested with deferred rotation, which rotates keys "
            "when they are read.\n"
            "  Use a dynamic or a static cache, or plan for one scale per request: dynamic-...-request."
        )
    if past == 0:
        return
    if call.ladder.semantics == RECOMPUTE:
        raise CannotAttach(
            "this call continues a cache, and the attached plan recomputes every token at the newest one's scale.\n"
            "  Pass use_cache=False, or plan for causal, whose cache is exact."
        )
    if state is None or state.positions.shape[1] < past:
        raise CannotAttach(
            f"the cache holds {past} tokens that were not read under this plan: its keys are rotated already.\n"
            "  Start with an empty cache, after attaching."
        )
    if state.fingerprint != fingerprint:
        raise CannotAttach(
            f"the cache was filled under plan {state.fingerprint}, and {fingerprint} is attached: "
            "its values come from other scales.\n"
            "  Start with an empty cache."
        )


def _alike(old: torch.Tensor, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the same number of rows; a row that was alone, or each repeated in place, stands for all."""
    rows = max(len(old), len(new))
    if rows % len(old) or len(new) not in (1, rows):
        raise CannotAttach(
            f"the cache was filled with {len(old)} rows, and this call has {len(new)}: which belongs to which is unknown.\n"
            "  Read the rows that remain again, with an empty cache."
        )
    return old.repeat_interleave(rows // len(old), 0), new.expand(rows, -1) if len(new) == 1 else new


def _see(cache: Any, state: CacheState, layer: int) -> None:
    """Before the layer adds its keys: is its cache as we left it? Beam search and cropping put other tensors there."""
    rotated = state.layers.get(layer)
    if rotated is not None:
        live = getattr(cache.layers[layer], "keys", None)
        rotated.fresh = live is rotated.source and rotated.version == version_of(live)
        rotated.source = None  # or it would outlive the cache's own


def version_of(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None or tensor.is_inference() else tensor._version


def keeps(call: Call, length: int) -> bool:
    """Does this call keep the `length` keys of a layer rotated for the next one?"""
    return call.tokens <= DECODING and length >= call.key_positions.shape[1] and not torch.is_grad_enabled()


def rotated_keys(
    state: CacheState, layer: int, call: Call, key: torch.Tensor, steps: Steps, rotate: Rotate, new: torch.Tensor | None = None
) -> torch.Tensor:
    """The keys of a layer at `steps`: the new ones rotated, the others kept since the last call where that is possible.

    new: the keys that this call adds, rotated; given where `keeps` says so.
    """
    length, total = key.shape[2], call.key_positions.shape[1]
    if new is None:
        state.layers.pop(layer, None)
        return rotate(key, *call.of_keys(steps, 0, length, length))
    kept = state.layers.get(layer)
    if kept is None or not _fits(kept, call, key, steps):
        spare = 0 if length > total else max(64, length // 16)
        room = key.new_empty(*key.shape[:2], length + spare, key.shape[3])
        room[:, :, :length] = rotate(key, *call.of_keys(steps, 0, length, length))
        kept = state.layers[layer] = Rotated(room, total, steps, None, None)
    else:
        kept.keys[:, :, call.past : total] = new
        kept.length = total
    kept.source, kept.version, kept.fresh = key, version_of(key), False
    return kept.keys[:, :, :length]


def _fits(kept: Rotated, call: Call, key: torch.Tensor, steps: Steps) -> bool:
    writable = torch.is_inference_mode_enabled() or not kept.keys.is_inference()
    same = kept.fresh and kept.steps == steps and kept.length == call.past and writable
    room = kept.keys.shape
    return same and (*room[:2], room[3]) == (*key.shape[:2], key.shape[3]) and room[2] >= key.shape[2]


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
        setattr(whole, STATE, CacheState(states[0].fingerprint, positions))
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
        setattr(left, STATE, CacheState(state.fingerprint, state.positions[list(rows), -length:]))
    return left
