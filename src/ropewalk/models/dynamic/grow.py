"""A cache layer that adds tokens in place: the stock one copies all that it holds for every token it adds."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


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
