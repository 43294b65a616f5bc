"""Where a model is put and in which numbers, from what a person typed."""

import os

import torch

from ropewalk.errors import BadOption, first_line

AUTO = "auto"
DTYPES = ("float32", "bfloat16", "float16", "float64")


def find_device(asked: str) -> str:
    """`auto` takes an accelerator where there is one. Raises BadOption for a device that is not there."""
    if asked == AUTO:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch without CUDA asserts
        reason = first_line(error)
        raise BadOption(
            f"device is {asked!r}, which cannot be used here: {reason}\n  Use cpu, cuda, cuda:N, mps or auto."
        ) from None
    return asked


def own_device(device: str) -> str:
    """Of several devices in one machine, each process of a run takes its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device


def find_dtype(asked: str, device: str) -> str:
    """`auto` is float32 on a CPU, where bfloat16 is slow, and bfloat16 elsewhere, where float32 is."""
    if asked == AUTO:
        return "float32" if device == "cpu" else "bfloat16"
    if asked not in DTYPES:
        raise BadOption(f"dtype is {asked!r}; it must be one of {', '.join(DTYPES)} or {AUTO}.")
    return asked
