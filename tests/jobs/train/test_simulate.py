"""The formula against torch's simulation of the model's own code; one process of a few seconds each."""

import json
import subprocess
import sys

import pytest

from ropewalk.engines.transformers.shape import read_shape
from ropewalk.jobs.train.sizing import simulate
from ropewalk.jobs.train.sizing.memory import Setup, peak
from ropewalk.jobs.train.sizing.simulate import NoSimulation, simulated_peak
from support import shapes

SMALL = shapes.small(hidden_size=512, intermediate_size=1792, head_dim=64, num_attention_heads=8, num_hidden_layers=3)
TOKENS = 65_536


def activations(found):
    return found.checkpoints + found.working


@pytest.mark.parametrize(
    ("config", "setup"),
    [
        (SMALL, Setup(cards=4)),
        pytest.param(shapes.LLAMA31_8B, Setup(cards=4, checkpointing=False), marks=pytest.mark.slow),
        pytest.param({**SMALL, "model_type": "qwen3"}, Setup(cards=4), marks=pytest.mark.slow),
        pytest.param({**SMALL, "intermediate_size": 256}, Setup(cards=2, context_parallel=2), marks=pytest.mark.slow),
        pytest.param(shapes.LLAMA31_8B, Setup(cards=8), marks=pytest.mark.slow),
    ],
    ids=["checkpointed", "saved", "qwen3", "the norm decides", "llama-8b"],
)
def test_the_formula_is_what_the_simulation_walks_through(config, setup):
    shape = read_shape(config)
    walked, formula = simulated_peak(config, shape, setup, TOKENS), peak(shape, setup, TOKENS)
    print(f"simulated {activations(walked):.4g}, formula {activations(formula):.4g} bytes")
    assert activations(walked) == pytest.approx(activations(formula), rel=0.01)
    assert walked.states == formula.states


def test_another_architecture_is_walked_through_as_it_is():
    """Gemma 3 has four norms in a layer where the formula counts two."""
    config = {**shapes.GEMMA3_4B, "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
    shape = read_shape(config)
    assert activations(simulated_peak(config, shape, Setup(cards=2), TOKENS)) > activations(peak(shape, Setup(), TOKENS)) * 1.1


def test_offloaded_checkpoints_are_not_counted_twice(monkeypatch):
    shape = read_shape(SMALL)
    monkeypatch.setattr(simulate, "_ask", lambda question, seconds: activations(peak(shape, Setup(), question["tokens"])))
    for setup in (Setup(), Setup(offload=True), Setup(cards=2, context_parallel=2)):
        assert simulated_peak(SMALL, shape, setup, TOKENS) == peak(shape, setup, TOKENS)


def test_what_goes_wrong_is_a_reason_in_one_line():
    shape = read_shape(SMALL)
    with pytest.raises(NoSimulation, match="KeyError: 'unheard_of'"):
        simulated_peak({**SMALL, "model_type": "unheard_of"}, shape, Setup(), TOKENS)
    with pytest.raises(NoSimulation, match=r"more than 0\.01 seconds"):
        simulated_peak(SMALL, shape, Setup(), TOKENS, seconds=0.01)
    with pytest.raises(NoSimulation, match="no tiled MLP"):
        simulated_peak(SMALL, shape, Setup(tiled_mlp=True), TOKENS)


def test_an_answer_that_is_none_is_a_reason(monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout="warning\n{}\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(NoSimulation, match="could not be read"):
        simulated_peak(SMALL, read_shape(SMALL), Setup(), TOKENS)


def test_asking_loads_no_torch():
    code = "import sys, ropewalk.jobs.train.sizing.simulate; print('torch' in sys.modules)"
    assert (
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.lower())
        is False
    )
