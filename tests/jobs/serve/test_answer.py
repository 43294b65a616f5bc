"""Choosing tokens: greedy, by chance, and where it ends. Frequencies and log-probabilities are counted by hand."""

import math
from collections import Counter

import pytest
import torch
from transformers import AutoTokenizer

from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadOption
from ropewalk.jobs.serve.answer import Answer, SamplingParams


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_model())


PROBABILITIES = {65: 0.5, 66: 0.3, 67: 0.15, 68: 0.05}


def logits():
    found = torch.full((1024,), -1e4)
    for token, probability in PROBABILITIES.items():
        found[token] = math.log(probability)
    return found


def drawn(tokenizer, wanted):
    answer = Answer(tokenizer, [1], wanted)
    for _ in range(wanted.new_tokens):
        answer.add(logits())
    return [one.token for one in answer.chosen]


def test_greedy(tokenizer):
    assert drawn(tokenizer, SamplingParams(5)) == [65] * 5


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, PROBABILITIES),
        (1.0, 0.75, {65: 0.5 / 0.8, 66: 0.3 / 0.8}),  # the fewest tokens that hold 0.75 together
        (0.5, 1.0, {65: 0.25 / 0.365, 66: 0.09 / 0.365, 67: 0.0225 / 0.365, 68: 0.0025 / 0.365}),  # p^2 over their sum
        (0.5, 0.9, {65: 0.25 / 0.34, 66: 0.09 / 0.34}),  # top_p counts after the temperature
    ],
)
def test_draws_are_as_frequent_as_they_should_be(tokenizer, temperature, top_p, expected):
    n = 2000
    counts = Counter(drawn(tokenizer, SamplingParams(n, temperature, top_p, seed=4)))
    assert set(counts) <= set(expected)
    for token, probability in expected.items():
        assert abs(counts[token] / n - probability) < 4 * math.sqrt(probability * (1 - probability) / n)


def test_a_seed_decides_and_no_seed_does_not(tokenizer):
    assert drawn(tokenizer, SamplingParams(60, 1.0, seed=7)) == drawn(tokenizer, SamplingParams(60, 1.0, seed=7))
    assert drawn(tokenizer, SamplingParams(60, 1.0, seed=8)) != drawn(tokenizer, SamplingParams(60, 1.0, seed=7))
    assert drawn(tokenizer, SamplingParams(60, 1.0)) != drawn(tokenizer, SamplingParams(60, 1.0))


def test_log_probabilities_are_the_models_own(tokenizer):
    """Before temperature, to base e."""
    answer = Answer(tokenizer, [1], SamplingParams(1, 0.3, logprobs=2, seed=0))
    answer.add(logits())
    [one] = answer.chosen
    assert one.logprob == pytest.approx(math.log(PROBABILITIES[one.token]), abs=1e-5)
    assert [token for token, _ in one.top] == [65, 66]
    assert [p for _, p in one.top] == pytest.approx([math.log(0.5), math.log(0.3)], abs=1e-5)


def test_how_it_ends(tokenizer):
    answer = Answer(tokenizer, [1], SamplingParams(3), frozenset({65}))
    assert answer.add(logits()) == ""
    assert (answer.finish, answer.chosen, answer.written) == ("stop", [], 1)
    answer = Answer(tokenizer, [1], SamplingParams(2))
    assert answer.add(logits()) == tokenizer.decode([65])
    assert answer.finish is None
    answer.add(logits())
    assert answer.finish == "length"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"new_tokens": 0}, "whole number of 1 or more"), ({"new_tokens": 1.5}, "whole number"),
        ({"temperature": -1}, "temperature is -1"), ({"temperature": math.nan}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0"), ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)  # fmt: skip
def test_what_cannot_be_wanted(wrong, message):
    with pytest.raises(BadOption, match=message):
        SamplingParams(**{"new_tokens": 5, **wrong})
