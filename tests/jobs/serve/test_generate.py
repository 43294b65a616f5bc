"""One answer as a stream, and what is said about it. Boundaries of scales are computed here from their definition."""

import pytest
import torch

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadLength
from ropewalk.jobs.serve.answer import SamplingParams, new_answer
from ropewalk.jobs.serve.generate import generate, new_account, scales
from ropewalk.scaling.plan import make_plan
from support.serving import alone, opened, prompts

L = 512


def write(served, ids, wanted):
    answer = new_answer(served, ids, wanted)
    account = new_account(served, answer)
    return list(generate(served, answer, account)), account


def causal_scales(last, factor=8.0, grid=2):
    """s(p) = max(1, (p + 1) / L) rounded up to 2^(k/g), position by position."""
    found = [(0, 1.0)]
    for position in range(last):
        k = 0
        while 2 ** (k / grid) < (position + 1) / L - 1e-12:
            k += 1
        scale = min(2 ** (k / grid), factor)
        if scale != found[-1][1]:
            found.append((position, scale))
    return found


@pytest.fixture(scope="module")
def causal():
    return opened("dynamic-yarn")


def test_a_stream_over_a_boundary(causal):
    """From 700 tokens over the step at 724: the text is transformers' own, and the account says what was done."""
    ids = (causal.tokens("".join(prompts(8, 6000))) * 2)[:700]
    events, account = write(causal, ids, SamplingParams(40))
    tokens, _ = alone(causal, ids, 40)
    assert account.tokens == tokens
    assert account.text == "".join(event.text for event in events) == causal.tokenizer.decode(tokens)
    assert account.finish == "length"
    assert [(p, pytest.approx(s)) for p, s in causal_scales(739)] == account.scales
    assert [(0, 1.0)] + [scale for event in events for scale in event.scales] == account.scales
    # The query at 724 reads the 25th token that was written, and chooses the 26th.
    assert [i for i, event in enumerate(events, start=1) if event.scales] == [1, 26]
    # The last token was never read: 739 tokens, 6 layers, keys and values and keys again, 2 heads of 64, 4 bytes.
    assert account.cache_bytes == 739 * 6 * 3 * 2 * 64 * 4
    assert account.peak_bytes > account.cache_bytes
    assert min(account.decode_s, account.prefill_s) > 0
    assert account.decode_tokens_per_s == pytest.approx(39 / account.decode_s)
    assert account.to_dict()["scales"][-1] == {"position": 724, "scale": 2.0}


def test_one_token_has_no_decoding_speed(causal):
    _, account = write(causal, [1, 2, 3], SamplingParams(1))
    assert account.decode_tokens_per_s is None
    assert account.prefill_tokens_per_s > 0


def test_refused_before_anything_is_computed(causal):
    calls = []
    hook = causal.model.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(BadLength, match=r"4,097 tokens \(4,000 of prompt and 97 new\)"):
        new_answer(causal, [1] * 4000, SamplingParams(97))
    hook.remove()
    assert calls == []
    new_answer(causal, [1] * 4000, SamplingParams(96))


def test_an_interrupted_stream_has_an_account(causal):
    answer = new_answer(causal, [1, 2, 3], SamplingParams(50))
    account = new_account(causal, answer)
    stream = generate(causal, answer, account)
    for _ in range(5):
        next(stream)
    stream.close()
    assert len(account.tokens) == 5
    assert account.finish is None


SPEC = read({"model_type": "llama", "max_position_embeddings": L, "hidden_size": 64, "num_attention_heads": 1})


@pytest.mark.parametrize(
    ("method", "length", "expected"),
    [
        (None, 400, [(0, 1.0)]),
        ("yarn", 400, [(0, 8.0)]),  # static: the price that short texts pay
        ("dynamic-yarn-request", 1024, [(0, 2.0)]),
        ("dynamic-yarn-causal-1", 1500, [(0, 1.0), (512, 2.0), (1024, 4.0)]),
        ("dynamic-yarn-rotate", 1024, [(0, 1.0), (1023, 2.0)]),  # it changes with every token: the last is told
    ],
)
def test_scales_of_every_kind_of_plan(method, length, expected):
    plan = make_plan(SPEC, factor=8, method=method) if method else None
    assert scales(plan, 0, length, length) == expected


def test_scales_can_be_told_in_parts():
    plan = make_plan(SPEC, factor=8, method="dynamic-yarn")
    told = scales(plan, 0, 1, 4096)
    for position in range(1, 4096, 7):
        told += scales(plan, told[-1][0] + 1, position + 7, 4096, told[-1][1])
    assert scales(plan, 0, 512, 4096) == [(0, 1.0)]  # 512 is not among its positions
    assert told == [(p, pytest.approx(s)) for p, s in causal_scales(4096)]


def test_nothing_is_left_on_the_model_but_its_plan(causal):
    """A stream that ended leaves no state: the same prompt again gives the same text."""
    first, second = (write(causal, [5, 6, 7], SamplingParams(10))[1] for _ in range(2))
    assert first.text == second.text
    with torch.no_grad():
        assert causal.model(torch.tensor([[5, 6, 7]])).logits[0, -1].argmax() == first.tokens[0]
