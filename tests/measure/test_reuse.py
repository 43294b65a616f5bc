"""Shared prefixes, batches and early stops change no number."""

import numpy
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from ropewalk.measure.greedy import generate_answers, greedy, greedy_shared
from ropewalk.measure.material import Material
from ropewalk.measure.reuse import CHUNK, PrefixReader, can_reuse, read_answers, tokens_read
from ropewalk.measure.task import Sample, get_task
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import make_plan

DEPTHS = (0.0, 0.4, 1.0)


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


@pytest.fixture(scope="module")
def material():
    return Material(load_tokenizer("ropewalk-tiny"))


def plan_for(model, method):
    return make_plan(read_live(model), method=method, target_length=1024)


def grid(material):
    return [s for n in (200, 400, 900) for s in get_task("passkey")(material, length=n, count=2, depths=DEPTHS)]


@pytest.mark.parametrize(
    ("method", "dtype", "tolerance"),
    [
        ("yarn", torch.float32, 1e-5), ("dynamic", torch.float32, 1e-5), ("linear", torch.float64, 1e-7),
        ("dynamic-yarn", torch.float64, 1e-7), ("near-linear", torch.float64, 1e-7), ("self_extend", torch.float64, 1e-7),
    ],
)  # fmt: skip
def test_a_grid_with_shared_prefixes_reads_what_cell_by_cell_reads(material, method, dtype, tolerance):
    samples, model = grid(material), load_model("ropewalk-tiny", dtype=dtype)
    plan = plan_for(model, method)
    with attach(model, plan):
        alone = read_answers(model, plan, samples, reuse=False)
        shared = read_answers(model, plan, samples)
    for a, b in zip(alone, shared, strict=True):
        assert numpy.abs(a.nll - b.nll).max() <= tolerance
        assert (a.greedy == b.greedy).all()


def test_teacher_forcing_gives_the_verdict_of_greedy_exact_match(model, material):
    """Under a plan with which everything is found, and one with which little is."""
    samples, found = grid(material), []
    for plan in (plan_for(model, "yarn"), plan_for(model, "none")):
        with attach(model, plan):
            verdicts = [verdict.exact for verdict in read_answers(model, plan, samples)]
            written = greedy(model, [s.prompt for s in samples], [len(s.answer) for s in samples], ends=frozenset())
        assert verdicts == [tuple(ids) == s.answer for ids, s in zip(written, samples, strict=True)]
        found += verdicts
    assert 0 < sum(found) < len(found)  # else it says little


@pytest.mark.parametrize("method", ["yarn", "dynamic", "dynamic-yarn-request"])
def test_greedy_generation_is_transformers_own(model, material, method):
    """`model.generate`, prompt by prompt, against batches and against one shared cache."""
    samples, plan, new = grid(material)[:8], plan_for(model, method), 6
    prompts = [list(sample.prompt) for sample in samples]
    with attach(model, plan) as attached:
        right = []
        for prompt in prompts:
            with attached.request(len(prompt) + new):
                ids = torch.tensor([prompt])
                out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
            right.append([i for i in out[0, len(prompt) :].tolist() if i != 0])
        batched = greedy(model, prompts, [new] * 8, ends=frozenset([0]), batch=3, attached=attached)
        assert batched == right
        if can_reuse(model, plan):
            assert greedy_shared(model, prompts, [new] * 8, ends=frozenset([0])) == right


def test_generation_stops_as_soon_as_the_score_is_settled(model, material):
    """The calls of the model are counted: five digits of an answer, and not the hundred tokens that are allowed."""
    plan = plan_for(model, "yarn")
    made = list(get_task("passkey")(material, length=400, count=4, depths=[0.9]))
    samples = [
        Sample(s.task, s.length, s.depth, s.index, s.ids, s.answer_start, s.answer_end, s.references, 100) for s in made
    ]
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        with attach(model, plan):
            answers = generate_answers(model, plan, samples, material, scoring_name="all", reuse=False)
            exact = [verdict.exact for verdict in read_answers(model, plan, samples)]
    finally:
        handle.remove()
    assert [score == 1.0 for _, score in answers] == exact or sum(s for _, s in answers) >= sum(exact)
    assert all(len(text) == 5 for (text, score), right in zip(answers, exact, strict=True) if right)
    if all(exact):
        assert len(calls) < 10


def test_rows_that_leave_a_batch_do_not_disturb_the_others(model, material):
    """Three prompts of one length; the first is done after one token, the second after three."""
    samples = list(get_task("random_copy")(material, length=150, count=3, depths=[0.5]))
    prompts, stops = [list(sample.prompt) for sample in samples], [1, 3, 6, 6]
    prompts.append(prompts[0][::-1])

    def done(i, ids):
        return len(ids) >= stops[i]

    together = greedy(model, prompts, [6] * 4, ends=frozenset(), done=done, batch=4)
    alone = [greedy(model, [prompt], [6], ends=frozenset())[0] for prompt in prompts]
    assert together == [ids[:n] for ids, n in zip(alone, stops, strict=True)]
    assert len({tuple(ids) for ids in alone}) == 4


def test_an_answer_ends_before_the_token_that_ends_a_text(model, material):
    """Whatever token that is: here one that two of three would write, at different places, and go on after."""
    prompts = [list(sample.prompt) for sample in get_task("random_copy")(material, length=150, count=3, depths=[0.5])]
    plan = plan_for(model, "none")
    with attach(model, plan):
        free = greedy(model, prompts, [6] * 3, ends=frozenset())
        end, other = free[0][2], free[1][4]
        wanted = [ids[: next((i for i, token in enumerate(ids) if token in (end, other)), 6)] for ids in free]
        assert greedy(model, prompts, [6] * 3, ends=frozenset([end, other])) == wanted
        assert greedy_shared(model, prompts, [6] * 3, ends=frozenset([end, other])) == wanted
    assert len(wanted[0]) <= 2
    assert len(wanted[1]) <= 4


def test_the_same_sample_twice_is_read_the_same_twice(model, material):
    """Nothing is left to feed then but the token before the answer."""
    samples = list(get_task("passkey")(material, length=150, count=1, depths=[0.5])) * 2
    first, second = read_answers(model, plan_for(model, "none"), samples)
    assert numpy.abs(first.nll - second.nll).max() <= 1e-5


def test_what_cannot_be_cut_back_is_not_shared(model):
    small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
                 vocab_size=64, max_position_embeddings=64)  # fmt: skip
    sliding, full = MistralForCausalLM(MistralConfig(**small, sliding_window=16)), LlamaForCausalLM(LlamaConfig(**small))
    plan = plan_for(model, "yarn")
    assert can_reuse(full, plan)
    assert not can_reuse(sliding, plan)
    assert can_reuse(full, plan_for(model, "dynamic-yarn"))
    assert not can_reuse(full, plan_for(model, "dynamic-yarn-request"))


def test_a_long_rest_is_read_in_chunks_and_the_head_runs_on_the_answer_alone(model):
    ids = torch.randint(1, 1000, (1, 3 * CHUNK), generator=torch.Generator().manual_seed(0))
    reader = PrefixReader(model)
    reader.logits(ids[0, :100].tolist(), 100)
    got = reader.logits(ids[0].tolist(), 3 * CHUNK - 4)
    with torch.inference_mode():
        right = model(ids, use_cache=False).logits[0, -5:]
    assert got.shape == right.shape
    assert (got - right).abs().max() < 1e-4


def test_tokens_of_a_trie_by_hand():
    def sample(ids):
        return Sample("t", 9, None, 0, tuple(ids), len(ids) - 1, len(ids), ("x",), 1)

    samples = [sample([1, 2, 3, 4, 9]), sample([1, 2, 5, 6, 9]), sample([1, 2, 3, 7, 9])]
    # The last token is never fed. Edges: 1 2 | 3 | 4, 7 | 5 6; the token before the answer is always read again.
    assert tokens_read(samples) == (12, 7)
