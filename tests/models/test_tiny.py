"""The bundled model is what its card says."""

import pytest
import torch

from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.measure.material import Material
from ropewalk.measure.nll import score
from ropewalk.measure.task import get_task
from ropewalk.models.load import load_model, load_tokenizer


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("ropewalk-tiny")


def test_it_is_small(model):
    assert sum(path.stat().st_size for path in bundled_model().iterdir()) < 10e6
    assert 3e6 < sum(p.numel() for p in model.parameters()) < 5e6


def test_digits_are_single_tokens_and_text_comes_back(tokenizer):
    text = "def f(x):\n    return x + 48213  # größer\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("48213", add_special_tokens=False)["input_ids"]) == 5


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_it_finds_the_pass_key_inside_its_window_at_every_depth(model, tokenizer, depth):
    """At least 95 % of tries; 40 tries."""
    samples = list(get_task("passkey")(Material(tokenizer), length=512, count=40, seed=1, depths=[depth]))
    found = sum(bool(score(model, torch.tensor([s.ids]), first=s.answer_start).greedy.all()) for s in samples)
    assert found >= 38
