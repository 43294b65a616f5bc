"""Dynamic plans on a live model, in the *request* meaning: one scale for everything that shares a cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ropewalk.errors import BadLength, CannotAttach
from ropewalk.models.live import LiveTable
from ropewalk.scaling.rope import is_whole
from ropewalk.scaling.stretch import Stretch


class RequestScale:
    """How many tokens the current request will have in all; None outside `with attached.request(n)`."""

    def __init__(self) -> None:
        self.n_tokens: int | None = None

    @contextmanager
    def of(self, n_tokens: int) -> Iterator[None]:
        if not is_whole(n_tokens) or n_tokens < 1:
            raise BadLength(f"n_tokens is {n_tokens!r}; a request has a whole number of tokens, prompt and answer together.")
        if self.n_tokens is not None:
            raise BadLength(f"a request of {self.n_tokens} tokens is open already; requests do not nest. Leave it first.")
        self.n_tokens = n_tokens
        try:
            yield
        finally:
            self.n_tokens = None

    def length(self, start: int, last: int) -> int:
        """Tokens of the request that a call from position `start` to `last` belongs to."""
        if self.n_tokens is None:
            _check_fresh(start)
        else:
            _check_within(last, self.n_tokens)
        return self.n_tokens or last + 1


class ScalePerCall:
    """Forward pre-hook of a rotary module: sets the frequencies for the length of this very call.

    It keeps nothing between calls, so any history of calls gives the same numbers. All rows of a batch share one scale,
    that of the longest; rows that must not depend on their neighbours need `request`. Reading the positions costs one
    synchronisation with the accelerator per call.
    """

    def __init__(self, table: LiveTable, stretch: Stretch, request: RequestScale):
        self.table, self.stretch, self.request = table, stretch, request

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args, *(None,) * 3)
        if self.table.prefix and kwargs.get("layer_type", given[2]) != self.table.layer_type:
            return
        positions = kwargs.get("position_ids", given[1])
        start, last = torch.stack([positions.amin(dim=-1).max(), positions.max()]).tolist()
        self.table.set(self.stretch.scaled(self.request.length(start, last)))


def _check_fresh(start: int) -> None:
    if start > 0:
        raise CannotAttach(
            f"this call starts at position {start}, so it continues a cache, and the attached plan is dynamic: its scale\n"
            "  depends on the length. Keys that are cached already were rotated at another scale than this call would use,\n"
            "  and mixing scales in one cache is wrong at every token. Say how long the request will be, so that one scale\n"
            "  serves all of it:\n"
            "    with attached.request(prompt_tokens + max_new_tokens):\n"
            "        model.generate(...)\n"
            "  Or pass all tokens again, without a cache."
        )


def _check_within(last: int, n_tokens: int) -> None:
    if last >= n_tokens:
        raise BadLength(
            f"position {last} lies outside the request of {n_tokens} tokens whose scale was fixed.\n"
            "  Count the prompt (with its padding) and max_new_tokens together."
        )
