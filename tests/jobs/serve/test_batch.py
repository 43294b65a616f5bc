"""Rows that come and go write what each writes alone with transformers' own generate."""

import argparse
import inspect

import pytest
import torch
from transformers import GemmaConfig, MistralConfig

from ropewalk.errors import BadOption
from ropewalk.jobs.serve.answer import SamplingParams, new_answer
from ropewalk.jobs.serve.batch import CHUNK, DecodingBatch
from support.architectures import build
from support.serving import PLANS, alone, opened, prompts

NEW = 12


def read(batch, answer):
    for _ in batch.read(answer):
        pass


@pytest.fixture(scope="module", params=PLANS)
def served(request):
    return opened(PLANS[request.param])


def test_rows_that_join_and_leave_are_as_alone(served):
    """Lengths on both sides of the original window's end, rows joining mid-way and leaving at different times."""
    sizes, news = (5, 480, 40, 300) if served.plan is None else (5, 700, 40, 505), (NEW, 4, 2 * NEW, NEW)
    ids = served.tokens(inspect.getsource(argparse)[:12_000])  # a text that no edit of ours changes
    asked = [(ids[i : i + size], new) for i, (size, new) in enumerate(zip(sizes, news, strict=True))]
    wanted = [alone(served, prompt, new) for prompt, new in asked]
    assert min(gap for _, gap in wanted) > 1e-4  # or rounding could decide
    batch, answers = DecodingBatch(served.model, served.attached), [new_answer(served, p, SamplingParams(n)) for p, n in asked]
    for answer in answers:
        read(batch, answer)
        batch.step()
    while batch.answers:
        batch.step()
    assert [[one.token for one in answer.chosen] for answer in answers] == [
        tokens[: -1 if tokens[-1] == 0 else None] for tokens, _ in wanted
    ]


def test_logits_are_those_of_one_call(served):
    """To the rounding of sums: a padded row of a batch against one forward over its tokens."""
    ids = served.tokens("".join(prompts(8, 3000)))
    long, short = (450, 30) if served.plan is None else (760, 30)
    batch, rows = DecodingBatch(served.model, served.attached), []
    for size in (long, short):
        rows.append(new_answer(served, ids[:size], SamplingParams(5, logprobs=20)))
        read(batch, rows[-1])
    while batch.answers:
        batch.step()
    for row in rows:
        whole = torch.tensor([row.prompt + [one.token for one in row.chosen]])
        with torch.no_grad():
            logprobs = served.model(whole, use_cache=False).logits[0].double().log_softmax(-1)
        for i, one in enumerate(row.chosen):
            assert one.logprob == pytest.approx(float(logprobs[len(row.prompt) + i - 1, one.token]), abs=1e-4)


def test_a_row_that_is_told_to_leave(served):
    ids = served.tokens(prompts(8, 800)[-1] * 3)
    batch, answers = (
        DecodingBatch(served.model, served.attached),
        [new_answer(served, ids[:n], SamplingParams(9)) for n in (30, 9, 20)],
    )
    for answer in answers:
        read(batch, answer)
    batch.keep([answers[1], answers[2]])
    while batch.answers:
        batch.step()
    assert answers[0].finish is None
    for answer in answers[1:]:
        assert [one.token for one in answer.chosen] == alone(served, answer.prompt, 9)[0]


def test_a_prompt_is_read_in_pieces():
    served = opened("dynamic-yarn")
    ids = (served.tokens("".join(prompts(8, 6000))) * 3)[: CHUNK + 300]
    batch, answer = DecodingBatch(served.model, served.attached), new_answer(served, ids, SamplingParams(6))
    assert [read for read, _ in batch.read(answer)] == [CHUNK, CHUNK + 300]
    while batch.answers:
        batch.step()
    assert [one.token for one in answer.chosen] == alone(served, ids, 6)[0]


def test_request_plans_have_one_scale_for_each_answer():
    """500 tokens and 40 new: static yarn of factor 540/512."""
    served = opened("dynamic-yarn-request")
    ids = (served.tokens("".join(prompts(8, 6000))) * 3)[:500]
    batch, answer = DecodingBatch(served.model, served.attached), new_answer(served, ids, SamplingParams(40))
    assert batch.most_rows == 1
    read(batch, answer)
    while batch.answers:
        batch.step()
    with served.attached.request(540):
        assert [one.token for one in answer.chosen] == alone(served, ids, 40)[0]
    with served.attached.request(4096):
        assert [one.token for one in answer.chosen] != alone(served, ids, 40)[0]


def test_rotate_is_read_whole_and_recompute_is_refused():
    served = opened("dynamic-yarn-rotate")
    assert DecodingBatch(served.model, served.attached).chunk > 2**40
    served = opened("dynamic-yarn-recompute")
    with pytest.raises(BadOption, match="Plan for causal"):
        DecodingBatch(served.model, served.attached)


def test_sliding_windows_are_written_one_at_a_time():
    small = dict(
        vocab_size=128, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, pad_token_id=0,
    )  # fmt: skip
    assert DecodingBatch(build(MistralConfig(**small, sliding_window=8)), most_rows=4).most_rows == 1
    assert DecodingBatch(build(GemmaConfig(**small)), most_rows=4).most_rows == 4
