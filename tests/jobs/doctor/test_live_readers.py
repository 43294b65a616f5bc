"""vLLM's prompt_logprobs and llama.cpp's forced tokens, in the forms that those servers' own sources and answers have."""

import json
import math

import pytest

from jobs.doctor.test_live import L, asked
from ropewalk.errors import BadAnswer
from ropewalk.jobs.doctor.live.client import Client
from ropewalk.jobs.doctor.live.endpoint import find
from ropewalk.jobs.doctor.live.readers import Forced, NotOffered, PromptLogprobs
from support.fake_server import Fake, serving

NAMES = {"prompt_logprobs": "prompt_logprobs", "forced": "llama.cpp's /completion, token by token"}

# An answer of vLLM 0.32.0 to the prompt [0, 5, 9, 100] with prompt_logprobs 0, 2026-11-24. Its form is that of the class
# CompletionResponseChoice in vllm/entrypoints/openai/completion/protocol.py: a map for each token but the first, from its id.
VLLM = {
    "choices": [
        {
            "index": 0, "text": "%", "logprobs": None, "finish_reason": "length",
            "prompt_logprobs": [
                None,
                {"5": {"logprob": -7.994597434997559, "rank": 524, "decoded_token": "%"}},
                {"9": {"logprob": -6.1658525466918945, "rank": 47, "decoded_token": ")"}},
                {"100": {"logprob": -16.694862365722656, "rank": 931, "decoded_token": ""}},
            ],
        }
    ],
    "usage": {"prompt_tokens": 4, "total_tokens": 5, "completion_tokens": 1},
}  # fmt: skip

# An answer of llama-server (llama.cpp 0c1e570) to [5, 9, 100] with token 7 forced, 2026-11-24. The likeliest token by the raw
# logits is another: the bias decides what is written, not what its probability is said to be.
LLAMA_CPP = {
    "content": "'", "tokens_predicted": 1, "tokens_evaluated": 3,
    "completion_probabilities": [
        {
            "id": 7, "token": "'", "bytes": [39], "logprob": -6.537611961364746,
            "top_logprobs": [{"id": 968, "token": "Ex", "bytes": [69, 120], "logprob": -2.6485109329223633}],
        }
    ],
}  # fmt: skip


def read(reader, answer, prompt, last=2):
    with serving(Fake(tells="forced", lie=lambda path, told: json.dumps(answer).encode())) as url:
        return reader.read(Client(url), "fake", prompt, last)


def test_an_answer_of_vllm():
    found = read(PromptLogprobs(), VLLM, [0, 5, 9, 100])
    assert (found.count, found.tokens) == (4, ("9", "100"))
    assert found.logprobs == (-6.1658525466918945, -16.694862365722656)


def test_an_answer_of_llama_cpp():
    found = read(Forced(), LLAMA_CPP, [5, 9, 100, 7], last=1)
    assert (found.count, found.tokens, found.logprobs) == (4, ("7",), (-6.537611961364746,))


@pytest.mark.parametrize("tells", NAMES)
@pytest.mark.parametrize(("rise", "verdict"), [(0.0, "PASS"), (1.0, "FAIL")])
def test_the_doctor_judges_by_each(tells, rise, verdict):
    fake = Fake(tells=tells, logprob=lambda at: -2.0 - rise * (at >= L))
    result = asked(fake)

    assert (result.how, result.verdict, result.claimed) == (NAMES[tells], verdict, 2048)
    assert [round(step.loss.value, 6) for step in result.loss] == [2.0, 2.0, 2.0 + rise, 2.0 + rise]
    assert {step.passages for step in result.loss} == {12}


def test_the_positions_are_those_of_the_tokens():
    """Each token's log-probability names its place: the last four of the prompt, in their order."""
    for tells in NAMES:
        with serving(Fake(tells=tells, logprob=lambda at: -float(at))) as url:
            found = find(Client(url)).read("one two three four five", 4)
        assert found.count == 9  # words and what is between them
        assert found.logprobs == (-5.0, -6.0, -7.0, -8.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.pop(), r"3 log-probabilities for 4 tokens .* do not belong to these tokens"),
        (lambda told: told[3].update({"7": {"logprob": -1.0}}), "in a form that is not vLLM's"),
        (lambda told: told[3]["100"].update(logprob=2.0), "a probability above 1"),
        (lambda told: told[3]["100"].update(logprob="low"), "gave 'low' as a log-probability"),
    ],
)
def test_other_forms_than_vllm_s(change, words):
    answer = json.loads(json.dumps(VLLM))
    change(answer["choices"][0]["prompt_logprobs"])
    with pytest.raises(BadAnswer, match=words):
        read(PromptLogprobs(), answer, [0, 5, 9, 100])


def test_what_is_not_offered():
    answer = json.loads(json.dumps(VLLM))
    del answer["choices"][0]["prompt_logprobs"]
    with pytest.raises(NotOffered):
        read(PromptLogprobs(), answer, [0, 5, 9, 100])
    with pytest.raises(NotOffered):
        read(Forced(), {"content": "x", "completion_probabilities": []}, [5, 9])


def test_a_bias_that_is_not_obeyed():
    with pytest.raises(BadAnswer, match="was to write token 8 and wrote 7: its bias is not obeyed"):
        read(Forced(), LLAMA_CPP, [5, 9, 100, 8], last=1)


def test_a_probability_that_llama_cpp_rounds_to_0():
    """completion_token_output::logarithm of its tools/server/server-task.cpp writes the lowest float, for want of an infinity
    in JSON. Smaller than the smallest float32, 2^-149, is all that is known."""
    answer = json.loads(json.dumps(LLAMA_CPP))
    answer["completion_probabilities"][0]["logprob"] = -3.4028234663852886e38
    found = read(Forced(), answer, [5, 9, 100, 7], last=1)
    assert found.logprobs == pytest.approx([-149 * math.log(2)])
