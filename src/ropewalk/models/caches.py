"""What transformers calls a cache: `past_key_values` until 5.23, `cache` since 5.24; GPT-NeoX and Falcon say `layer_past`."""

import inspect
from collections.abc import Callable
from functools import cache as remember
from typing import Any

from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from ropewalk.errors import CannotAttach

NAMES = ("cache", "past_key_values", "layer_past")
LIBRARY = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"


class Entrance:
    """Where an attention module's forward takes its cache: by name, or at a place among its positional arguments.

    Raises CannotAttach where its signature has none of the names that are known: then a cache would go unseen.
    """

    def __init__(self, module: nn.Module):
        parameters = list(inspect.signature(module.forward).parameters)
        self.name = next((name for name in NAMES if name in parameters), None)
        if self.name is None:
            raise CannotAttach(
                f"{type(module).__name__}.forward takes none of {', '.join(NAMES)}, but {', '.join(parameters)}:\n"
                "  where it is handed its cache is not known, so keys in a cache would be read at wrong positions.\n"
                "  This version of transformers may be newer than this Ropewalk: docs/versions.md names those that were tried."
            )
        self.place = parameters.index(self.name)

    def cache(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The cache of one call, or None. Callers may still use a former name, which transformers translates later."""
        for name in NAMES:
            if kwargs.get(name) is not None:
                return kwargs[name]
        return args[self.place] if len(args) > self.place else None


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """{name: cache}, to pass a cache to a model's forward by the name that it has for it."""
    return {_name(type(model).forward): cache}


@remember
def _name(forward: Callable[..., Any]) -> str:
    known = [name for name in NAMES if name in inspect.signature(forward).parameters]
    return known[0] if known else LIBRARY  # a wrapper (peft, torch.compile) hands on whatever it is given


def cache_of(output: Any) -> Any:
    """The cache that a forward pass answered with."""
    return next((found for name in NAMES if (found := getattr(output, name, None)) is not None), None)
