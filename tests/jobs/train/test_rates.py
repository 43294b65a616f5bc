"""The learning rate, against transformers' own schedules and by hand."""

import math

import pytest
import torch
from transformers import get_scheduler

from ropewalk.jobs.train.loop import rate_at
from ropewalk.jobs.train.recipe import Stage


def stage(**more):
    return Stage(**{"factor": 8, "steps": 20, "rate": 1e-3, "warm_up": 4, **more})


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_it_falls_as_in_transformers(schedule):
    """Theirs starts the warm-up at a rate of zero, a step that does nothing; after it they are the same."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    theirs = get_scheduler(schedule, optimizer, num_warmup_steps=4, num_training_steps=20)
    for step in range(20):
        if step >= 4:
            assert rate_at(stage(schedule=schedule), step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_it_rises_from_above_zero_in_equal_steps():
    rates = [rate_at(stage(), step) for step in range(6)]
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert rates[5] < 1e-3


def test_floor_and_constant():
    assert rate_at(stage(schedule="constant"), 19) == 1e-3
    low = rate_at(stage(schedule="cosine", floor=0.1, warm_up=0), 19)
    assert low == pytest.approx(1e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * 0.95)) / 2))
    assert all(rate_at(stage(warm_up=40), step) > 0 for step in range(20)), "a warm-up longer than the stage"
