"""One thread at a time: a call under a plan that moves with the text leaves notes on the model for its own layers."""

import functools
import threading
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn

FORWARD = "forward"
BEFORE = "_ropewalk_forward"  # of a module: a forward of its own that it had before


class Turns:
    """The module that all of a plan's tables and readers lie in takes one call after another, from whatever threads."""

    def __init__(self, model: nn.Module, tables: Sequence[nn.Module], readers: Sequence[nn.Module]):
        self.module = around(model, tables, readers)
        if FORWARD in self.module.__dict__:
            self.module.__dict__[BEFORE] = self.module.__dict__[FORWARD]
        lock = threading.RLock()

        @functools.wraps(type(self.module).forward)
        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return _run(module, args, kwargs)
            with lock:
                return _run(module, args, kwargs)

        self._forward = forward
        self.module.__dict__[FORWARD] = MethodType(forward, self.module)  # so that a deep copy binds its own copy

    def end(self) -> None:
        """Leaves alone what somebody has put over it."""
        held = self.module.__dict__
        if getattr(held.get(FORWARD), "__func__", None) is self._forward:
            del held[FORWARD]
            if BEFORE in held:
                held[FORWARD] = held.pop(BEFORE)


def _run(module: Any, args: Any, kwargs: Any) -> Any:
    if BEFORE in module.__dict__:
        return module.__dict__[BEFORE](*args, **kwargs)
    return type(module).forward(module, *args, **kwargs)


def around(model: nn.Module, tables: Sequence[nn.Module], readers: Sequence[nn.Module]) -> nn.Module:
    """The innermost module whose forward runs all of these, and what goes before a table's own."""
    names = {module: name.split(".") if name else [] for name, module in model.named_modules()}
    paths = [names[table][:-1] for table in tables] + [names[reader] for reader in readers]
    shared = paths[0]
    for path in paths[1:]:
        shared = shared[: next((i for i, (a, b) in enumerate(zip(shared, path, strict=False)) if a != b), len(path))]
    while isinstance(found := model.get_submodule(".".join(shared)), nn.ModuleList | nn.ModuleDict):
        shared = shared[:-1]
    return found
