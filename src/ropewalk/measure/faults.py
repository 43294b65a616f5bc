"""What goes wrong while a model reads: memory that runs out, and numbers that are none."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy
import torch

from ropewalk.errors import NotFinite, OutOfMemory

T = TypeVar("T")
R = TypeVar("R")
Say = Callable[[str], None]

# CUDA and MPS raise torch.OutOfMemoryError or say "out of memory"; the CPU's allocator says the others.
SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


class BatchSize:
    """How many sequences go through the model together. Halved, once and for all, when memory runs out."""

    def __init__(self, size: int, say: Say = lambda sentence: None):
        self.size = size
        self.say = say

    def run(self, items: Sequence[T], read: Callable[[Sequence[T]], R], tokens: Callable[[T], int]) -> Iterator[R]:
        """`read` on successive slices of `items`, of at most `size`; a slice that does not fit is read again in halves.

        tokens: how long an item is, for the message. Raises OutOfMemory where a single item does not fit.
        """
        start = 0
        while start < len(items):
            piece = items[start : start + self.size]
            done = attempt(partial(read, piece))
            if done is None:
                self._halve(len(piece), max(map(tokens, piece)))
                continue
            start += len(piece)
            yield done[0]

    def _halve(self, tried: int, longest: int) -> None:
        if tried == 1:
            raise too_large(longest)
        self.size = tried // 2
        self.say(f"out of memory with {tried} sequences of {longest:,} tokens at a time; going on with {self.size}.")


def attempt(read: Callable[[], R]) -> tuple[R] | None:
    """What `read` returns, in a tuple; None where memory ran out.

    The error, and with it every tensor that its frames hold, is gone on return.
    """
    try:
        return (read(),)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def too_large(tokens: int) -> OutOfMemory:
    return OutOfMemory(
        f"one sequence of {tokens:,} tokens does not fit into memory, even alone.\n"
        "  Ask for shorter lengths (--lengths), load the weights as bfloat16 (--dtype bfloat16), or use a larger device.\n"
        "  What was finished is kept."
    )


def check_finite(model: Any, nll: numpy.ndarray, ids: Sequence[int], positions: Sequence[int], what: str) -> None:
    """Raises NotFinite, naming the token and the layer, unless every loss is a number.

    nll: (scored tokens,), of ids[positions[0]], ids[positions[1]], ...
    what: the document or sample, and the plan, for the message.
    """
    wrong = numpy.flatnonzero(~numpy.isfinite(nll))
    if not len(wrong):
        return
    position = positions[int(wrong[0])]
    raise NotFinite(
        f"the loss of {len(wrong)} of {len(nll)} tokens of {what} is not a number: the first is token {position} "
        f"({float(nll[wrong[0]])}).\n"
        f"  {first_bad_layer(model, ids)}\n"
        f"  The weights are read as {str(model.dtype).removeprefix('torch.')}. float16 overflows beyond 65,504: try "
        "bfloat16 or float32 as dtype (--dtype).\n  Nothing was recorded for it."
    )


@torch.inference_mode()
def first_bad_layer(model: Any, ids: Sequence[int]) -> str:
    """A sentence that names the first module whose output is not finite, found in a second pass."""
    found: list[str] = []

    def looker(name: str) -> Any:
        def look(module: Any, args: Any, output: Any) -> None:
            bad = next((t for t in _tensors(output) if t.is_floating_point() and not torch.isfinite(t).all()), None)
            if bad is not None and not found:
                dtype = str(bad.dtype).removeprefix("torch.")
                where = int((~torch.isfinite(bad)).nonzero()[0, 1]) if bad.ndim > 1 and bad.shape[1] == len(ids) else None
                at = "" if where is None else f", at token {where}"
                found.append(f"The first layer whose output is not finite is {name} ({type(module).__name__}, {dtype}){at}.")

        return look

    hooks = [module.register_forward_hook(looker(name)) for name, module in model.named_modules() if name]
    try:
        model(torch.tensor([list(ids)], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "In a second pass every layer's output was finite: these numbers do not repeat."


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)
