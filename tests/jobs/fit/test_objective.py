"""What a fit lowers: weights by hand, losses against all logits, the gradient against the plain graph."""

import random

import numpy
import pytest
import torch

from ropewalk.jobs.fit import objective
from ropewalk.jobs.fit.family import get_family
from ropewalk.jobs.fit.objective import DEPTHS, Item, answer_items, far_items, gradient, losses
from ropewalk.measure.documents import Document
from ropewalk.measure.material import Material
from ropewalk.measure.tasks.passkey import make_passkey
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_tokenizer
from ropewalk.scaling.plan import ScalingPlan
from support.architectures import build, tiny_config


@pytest.fixture(scope="module")
def model():
    return build(tiny_config("llama"))


def documents(*lengths):
    rng = random.Random(0)
    return [Document(f"d{i}", tuple(rng.randrange(1, 60) for _ in range(n))) for i, n in enumerate(lengths)]


def test_far_weights_by_hand():
    """Of 7 tokens and a window of 4: tokens 4, 5 and 6 have four and more before them; tokens 1, 2 and 3 are within it."""
    (item,) = far_items(documents(7), 4)
    assert item.weights.tolist() == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert (item.weights.dtype, item.first) == (numpy.float32, 4)
    (both,) = far_items(documents(7), 4, 0.6)
    assert both.weights.tolist() == pytest.approx([0.2, 0.2, 0.2, 1 / 3, 1 / 3, 1 / 3])
    assert both.first == 1


def test_only_the_digits_of_the_answer_count_at_five_depths_in_turn():
    """Each item against `make_passkey` with its own depth and seed: no two keys are the same."""
    tokenizer = load_tokenizer("ropewalk-tiny")
    material = Material(tokenizer)
    code = tuple(material.encode("x = 1\nfor line in text:\n    print(line)\n" * 60))
    made = [Document(f"d{i}", (tokenizer.bos_token_id, *code)) for i in range(7)]
    items = answer_items(tokenizer, made, 300, 11)
    for i, item in enumerate(items):
        sample = make_passkey(
            code, material.encode, length=300, depth=(0.1, 0.3, 0.5, 0.7, 0.9)[i % 5], rng=random.Random(11 + i),
            bos=tokenizer.bos_token_id, newlines=material.newlines,
        )  # fmt: skip
        assert item.ids == sample.ids
        n = sample.answer_length
        assert item.weights.tolist() == pytest.approx([0.0] * (299 - n) + [1 / n] * n)
        assert item.first == 300 - n
    assert len({item.ids[-3:] for item in items}) > 3
    assert DEPTHS == (0.1, 0.3, 0.5, 0.7, 0.9)


def test_without_a_bos_a_prompt_begins_with_a_line_and_no_token_of_the_document_is_left_out():
    """Qwen's tokenizers name none. As the task `passkey` has it, whose first token is then a line break."""
    tokenizer = load_tokenizer("ropewalk-tiny")
    tokenizer.bos_token = None
    code = tuple(tokenizer("x = 1\nfor line in text:\n    print(line)\n" * 60, add_special_tokens=False).input_ids)
    (item,) = answer_items(tokenizer, [Document("d", code)], 300, 11)
    assert len(item.ids) == 300
    assert tokenizer.decode(item.ids[:4]) == "\n" + tokenizer.decode(code[:3])


def plan_and_space(model):
    spec = read_live(model)
    space = get_family("yarn").space(spec.rope("all"), 2.0, None)
    stretch = space.stretch([0.0] * space.size)
    return ScalingPlan((("all", stretch),), 2 * stretch.rope.original_length), space


def plain_loss(model, item):
    """All logits, log_softmax in float64, and the sum product over every token."""
    logits = model(torch.tensor([item.ids])).logits[0, :-1].double()
    nll = -logits.log_softmax(-1).gather(-1, torch.tensor(item.ids[1:])[:, None])[:, 0]
    return nll @ torch.from_numpy(item.weights).double()


ITEMS = [
    Item("a", documents(40)[0].ids, numpy.linspace(0, 0.1, 39, dtype=numpy.float32)),  # begins with a weight of 0
    *far_items(documents(30, 24), 16, 0.3),
]


def test_losses_are_the_sum_products_of_all_logits(model):
    plan, _ = plan_and_space(model)
    with attach(model, plan), torch.no_grad():
        wanted = [float(plain_loss(model, item)) for item in ITEMS]
    assert losses(model, plan, ITEMS) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("chunk", [1024, 7])
@pytest.mark.parametrize("head", ["known", "unknown"])
def test_the_gradient_is_that_of_the_mean_loss(model, monkeypatch, chunk, head):
    """By differences of `losses` under the plans that the space makes of points to both sides."""
    monkeypatch.setattr(objective, "CHUNK", chunk)
    if head == "unknown":
        monkeypatch.setattr(objective, "head_of", lambda model, ids: None)
    precise = build(tiny_config("llama")).double()
    plan, space = plan_and_space(precise)
    u = torch.full((space.size,), 0.05, dtype=torch.float64)
    loss, found = gradient(precise, plan, space, u, ITEMS)

    def mean(point):
        at = ScalingPlan((("all", space.stretch(point.tolist())),), plan.target_length)
        with attach(precise, at), torch.no_grad():
            return sum(float(plain_loss(precise, item)) for item in ITEMS) / len(ITEMS)

    assert loss == pytest.approx(mean(u), abs=1e-5)
    for i in range(space.size):
        step = torch.zeros_like(u)
        step[i] = 0.02
        assert float(found[i]) == pytest.approx((mean(u + step) - mean(u - step)) / 0.04, abs=2e-4, rel=0.05), i
    assert found.abs().max() > 1e-3
