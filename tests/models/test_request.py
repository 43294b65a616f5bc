"""Dynamic plans on a live model: one scale per call or per request, and no memory of calls before."""

import copy

import pytest
import torch
from transformers import DynamicCache

from ropewalk.errors import BadLength, CannotAttach, Mismatch
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch
from support.architectures import FACTOR, LENGTH, build, plan_of, tiny_config, tokens

TARGET = int(LENGTH * FACTOR)


@pytest.fixture
def llama():
    return build(tiny_config("llama"))


def forward(model, ids, **kwargs):
    with torch.no_grad():
        return model(ids, **kwargs).logits


@pytest.fixture(params=["dynamic-request", "dynamic-yarn-request"])
def dynamic(request, llama):
    with attach(llama, plan_of(llama, request.param)) as attached:
        yield attached


def test_a_call_depends_on_nothing_but_itself(dynamic):
    """transformers' own dynamic rule fails this: after a long call a short one keeps grown frequencies."""
    model, lengths = dynamic.model, [50, 200, LENGTH, 300, LENGTH + 1, 50]
    fresh = {}
    for length in lengths:
        fresh[length] = forward(copy.deepcopy(model), tokens(length), use_cache=False)
    for length in lengths:
        assert torch.equal(forward(model, tokens(length), use_cache=False), fresh[length])


def test_each_length_has_the_static_plan_of_its_factor(dynamic):
    model = build(tiny_config("llama"))
    for length in (LENGTH // 2, 200, TARGET):
        static = Stretch(Rope(32, 1e4, LENGTH), dynamic.plan.stretches[0][1].method, max(1.0, length / LENGTH))
        with attach(model, ScalingPlan((("all", static),), TARGET)):
            wanted = forward(model, tokens(length), use_cache=False)
        assert torch.equal(forward(dynamic.model, tokens(length), use_cache=False), wanted)


def test_generate_inside_a_request_equals_recomputing(dynamic):
    model, prompt, new = dynamic.model, tokens(120), 40
    with dynamic.request(120 + new):
        out = model.generate(
            prompt, max_new_tokens=new, min_new_tokens=new, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    assert out.sequences.shape[1] == 160
    once = forward(model, out.sequences, use_cache=False)  # 160 tokens, so the scale of 160
    stepwise = torch.stack(out.logits, 1)
    assert (once[:, 119:-1] - stepwise).abs().max() < 1e-4
    assert not torch.equal(once[:, :120], forward(model, prompt, use_cache=False))  # the scale of 120 is another


def test_continuing_a_cache_outside_a_request_is_an_error(dynamic):
    cache = DynamicCache(config=dynamic.model.config)
    forward(dynamic.model, tokens(100), **cache_argument(dynamic.model, cache), use_cache=True)
    with pytest.raises(CannotAttach, match=r"starts at position 100(.|\n)*with attached\.request\(prompt_tokens \+ max_new"):
        forward(dynamic.model, tokens(1), **cache_argument(dynamic.model, cache), use_cache=True)
    with pytest.raises(CannotAttach, match="starts at position 100"):
        dynamic.model.generate(tokens(100), min_new_tokens=2, max_new_tokens=2, do_sample=False)


def test_one_row_that_continues_is_enough(dynamic):
    rows = torch.stack([torch.arange(20), torch.arange(20) + 7])
    with pytest.raises(CannotAttach, match="starts at position 7"):
        forward(dynamic.model, tokens(20).repeat(2, 1), position_ids=rows, use_cache=False)


def test_the_end_of_a_request_is_the_end_of_its_scale(dynamic):
    free = forward(dynamic.model, tokens(150), use_cache=False)
    with dynamic.request(400):
        fixed = forward(dynamic.model, tokens(150), use_cache=False)
        dynamic.check()
    assert not torch.equal(fixed, free)
    assert torch.equal(forward(dynamic.model, tokens(150), use_cache=False), free)


def test_a_request_has_limits(dynamic):
    with dynamic.request(1):
        dynamic.check()
    with dynamic.request(60):
        forward(dynamic.model, tokens(60), use_cache=False)
        with pytest.raises(BadLength, match="position 60 lies outside the request of 60 tokens"):
            forward(dynamic.model, tokens(61), use_cache=False)
        with pytest.raises(BadLength, match="do not nest"), dynamic.request(70):
            pass
    with pytest.raises(BadLength, match="n_tokens is 0"), dynamic.request(0):
        pass


def test_left_padding_is_not_a_continued_cache(dynamic):
    mask = torch.ones(2, 150, dtype=torch.long)
    mask[1, :30] = 0
    with dynamic.request(154):
        both = dynamic.model.generate(tokens(150).repeat(2, 1), attention_mask=mask, max_new_tokens=4, do_sample=False)
        alone = dynamic.model.generate(tokens(150), max_new_tokens=4, do_sample=False)
    assert both[:1].tolist() == alone.tolist()


def test_a_static_plan_needs_no_request(llama):
    with attach(llama, plan_of(llama)) as attached:
        free = llama.generate(tokens(120), max_new_tokens=20, do_sample=False)
        with attached.request(140):
            assert torch.equal(llama.generate(tokens(120), max_new_tokens=20, do_sample=False), free)


def test_a_dynamic_plan_is_measured_at_several_lengths(dynamic):
    dynamic.check()
    dynamic.model.model.rotary_emb._forward_pre_hooks.clear()  # now it always rotates for the whole factor
    with pytest.raises(Mismatch):
        dynamic.check()
