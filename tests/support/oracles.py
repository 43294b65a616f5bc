"""Answers that do not come from Ropewalk."""

import cmath
from typing import Any


def turns_by_walking(theta: float, tokens: int) -> int:
    """Whole turns a pair makes in `tokens` steps, counted by rotating a unit vector. No logs, no bases."""
    step, hand, turns = cmath.exp(1j * theta), 1 + 0j, 0
    for _ in range(tokens):
        moved = hand * step
        turns += hand.imag < 0 <= moved.imag
        hand = moved
    return turns


def transformers_rotary(config: dict[str, Any], layer_type: str = "all", length: int = 1) -> tuple[list[float], float]:
    """(frequencies, attention factor) of the model's own rotary module, built by stock transformers from `config`.

    length: of the request; dynamic and longrope look at it.
    """
    import copy
    import importlib

    import torch
    from transformers import AutoConfig

    built = AutoConfig.for_model(**copy.deepcopy(config))
    text = built.get_text_config()
    package = type(text).__module__.rpartition(".")[0]
    module = importlib.import_module(f"{package}.modeling_{package.rpartition('.')[2]}")
    (name,) = [n for n in vars(module) if n.endswith("RotaryEmbedding") and "Vision" not in n]
    rotary = getattr(module, name)(text)
    per_type = hasattr(rotary, f"{layer_type}_inv_freq")
    prefix, extra = (f"{layer_type}_", {"layer_type": layer_type}) if per_type else ("", {})
    cos, sin = rotary(torch.zeros(1), torch.tensor([[0, length - 1]]), **extra)
    m = float((cos[0, 0] ** 2 + sin[0, 0] ** 2).sqrt().flatten()[0])
    return getattr(rotary, f"{prefix}inv_freq").double().tolist(), m
