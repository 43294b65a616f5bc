"""attach on many architectures, each held against stock transformers with the same weights and the config `write` returns."""

import pytest
import torch

from ropewalk.errors import CannotAttach, Mismatch, NoRope
from ropewalk.models.attach import attach
from support.architectures import (
    FAMILIES,
    LENGTH,
    METHODS,
    REFUSED,
    TOLERANCE,
    build,
    difference,
    logits,
    plan_of,
    tiny,
    tiny_config,
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_attach_equals_stock_transformers(family, method):
    changed, apart = difference(family, method)
    assert changed > 1e-2  # positions matter in this model, and the plan moved them
    assert apart < TOLERANCE * changed


@pytest.mark.parametrize("family", FAMILIES)
def test_undo_is_exact(family):
    model, before = tiny(family)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    config = model.config.to_dict()
    with attach(model, plan_of(model)):
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before)
    assert {name: torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers()} == dict.fromkeys(buffers, True)
    assert model.config.to_dict() == config


# The reason that each architecture is refused for.
REASONS = {
    "gpt2": (NoRope, "learned or fixed absolute positions"),
    "bloom": (NoRope, "ALiBi"),
    "mpt": (NoRope, "ALiBi"),
    "mamba": (NoRope, "a recurrent state"),
    "falcon": (NoRope, "ALiBi"),
    "gptj": (CannotAttach, "inside its attention code"),
    "codegen": (CannotAttach, "inside its attention code"),
    # transformers 5.23.0 modeling_phimoe.py computes frequencies from the config in every forward and ignores its buffer.
    "phimoe": (Mismatch, "PhimoeRotaryEmbedding does not rotate as the plan says"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_refusals_say_why_and_change_nothing(family):
    model = build(tiny_config(family, REFUSED[family][1]))
    before = logits(model, LENGTH)
    error, reason = REASONS[family]
    llama, _ = tiny("llama")
    # Models without RoPE have no plan of their own; they must refuse anybody's.
    plan = plan_of(llama if error is NoRope else model)
    with pytest.raises(error, match=reason):
        attach(model, plan)
    assert torch.equal(logits(model, LENGTH), before)


def test_enough_architectures():
    assert len(FAMILIES) >= 35
    assert LENGTH < 200  # the texts go past the original length
