"""What people do with a model while a plan is attached: choose another attention, save it, read it, call it from threads."""

import pytest
import torch

from models.test_dynamic import largest, llama, planned, run, tokens
from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach

DEFERRED = ["dynamic-yarn", "near-linear"]


@pytest.mark.parametrize("method", DEFERRED)
@pytest.mark.parametrize("how", [dict(), dict(use_cache=False)], ids=str)
def test_another_attention_would_not_rotate_and_is_refused(method, how):
    """transformers 5.23, modeling_utils.py: set_attn_implementation changes the function of every layer at its next call."""
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model, method)) as attached:
        wanted = run(model, ids, **how)
        model.set_attn_implementation("eager")
        with pytest.raises(CannotAttach, match="attention was set to 'eager'"):
            run(model, ids, **how)
        with pytest.raises(CannotAttach, match="attention was set to 'eager'"):
            attached.check()
    model.set_attn_implementation("eager")
    with attach(model, planned(model, method)):
        assert largest(run(model, ids, **how), wanted) < 2e-6 * float(wanted.abs().max())  # eager takes its softmax in float32


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn-request"])
def test_another_attention_is_as_good_where_keys_are_rotated_at_once(method):
    model, ids = llama(torch.float64), tokens()
    with attach(model, planned(model, method)) as attached:
        wanted = run(model, ids)
        model.set_attn_implementation("eager")
        assert largest(run(model, ids), wanted) < 2e-6 * float(wanted.abs().max())
        attached.check()
