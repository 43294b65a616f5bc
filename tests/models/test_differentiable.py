"""A live model in a graph of its frequencies: the same loss, and the gradient that finite differences find.

What is compared runs in float64. The loss is also that of the stock attach, to the rounding of its float32 tables, and the
gradient in m that of the stock attach's option.
"""

import pytest
import torch

from models.test_dynamic import FACTOR, L, N, llama
from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.differentiable import rotating_by
from ropewalk.models.live import find_tables, read_live
from ropewalk.scaling.plan import make_plan
from support.architectures import build, tiny_config
from support.deferred import planned

IDS = torch.randint(3, 120, (1, N), generator=torch.Generator().manual_seed(3))


def exact_llama():
    """In float64 throughout: transformers' own norms compute in float32, which would drown the differences."""
    model = llama(torch.float64)
    for name, module in list(model.named_modules()):
        if name.endswith("norm"):
            model.set_submodule(name, torch.nn.RMSNorm(64, eps=module.variance_epsilon, dtype=torch.float64))
    return model


def frequencies_of(stretch, bend, m):
    """The stretch's own frequencies, every frequency times exp(bend_i) and every attention factor plus m."""

    def frequencies(scale):
        scaled = stretch.scaled_by(scale)
        inv_freq = torch.tensor(scaled.inv_freq, dtype=torch.float64, device=bend.device)
        return inv_freq * bend.exp(), scaled.attention_factor + m

    return frequencies


def loss(model):
    logits = model(IDS, use_cache=False).logits[0, :-1]  # transformers' own loss would be float32
    return torch.nn.functional.cross_entropy(logits, IDS[0, 1:])


def in_graph(model, plan, bend, m, near=None):
    (_, stretch), *_ = plan.stretches
    with rotating_by(model, plan, frequencies_of(stretch, bend, m), N, near), torch.enable_grad():
        found = loss(model)
        found.backward()
    return found.item()


NEAR = ["near-yarn", "near-0.25-linear-log_n-causal-5", "near-0.25-self_extend-log_n", "near-0.25-yarn-static"]


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn", "dynamic-yarn-causal-5", *NEAR, "dpe, causal"])
def test_loss_and_gradient(method):
    model = exact_llama()
    plan = planned(model, method)
    pairs = model.model.rotary_emb.inv_freq.numel()
    bend = torch.zeros(pairs, dtype=torch.float64, requires_grad=True)
    m = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = in_graph(model, plan, bend, m)
    with attach(model, plan), torch.no_grad():
        assert found == pytest.approx(loss(model).item(), abs=2e-5)  # the live tables are float32
    for i in (0, 2, pairs - 1):
        step = torch.zeros(pairs, dtype=torch.float64)
        step[i] = 1e-6
        up, down = (
            in_graph(model, plan, (bend.detach() + k * step).requires_grad_(), m.detach().requires_grad_()) for k in (1, -1)
        )
        assert bend.grad[i].item() == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)
    up, down = (
        in_graph(model, plan, bend.detach().requires_grad_(), (m.detach() + k * 1e-6).requires_grad_()) for k in (1, -1)
    )
    assert m.grad.item() == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("method", NEAR)
def test_the_gradient_in_the_near_distances(method):
    """w moves the far angles, theta w + theta' (d - w); which keys are near stays. By finite differences."""
    model = exact_llama()
    plan = make_plan(read_live(model), factor=FACTOR, method=method)
    flat, none = torch.zeros(8, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    w = torch.tensor(float(plan.stretches[0][1].near), dtype=torch.float64, requires_grad=True)
    found = in_graph(model, plan, flat, none, w)
    assert found == in_graph(model, plan, flat.clone().requires_grad_(), none)  # unless told, the plan's own
    up, down = (in_graph(model, plan, flat, none, (w.detach() + k * 1e-5).requires_grad_()) for k in (1, -1))
    assert w.grad.item() == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)
    assert abs(w.grad.item()) > 1e-6


def test_the_gradient_agrees_with_the_stock_model_at_another_attention_factor():
    """Through yarn's own option, measured by attach: nothing of the graph takes part."""
    model = exact_llama()
    spec, step = read_live(model), 1e-3  # the live tables are float32
    plan = make_plan(spec, factor=FACTOR, method="yarn", options={"attention_factor": 1.1})
    bend = torch.zeros(8, dtype=torch.float64)
    m = torch.zeros((), dtype=torch.float64, requires_grad=True)
    in_graph(model, plan, bend, m)
    at = []
    for factor in (1.1 + step, 1.1 - step):
        with (
            attach(model, make_plan(spec, factor=FACTOR, method="yarn", options={"attention_factor": factor})),
            torch.no_grad(),
        ):
            at.append(loss(model).item())
    assert m.grad.item() == pytest.approx((at[0] - at[1]) / (2 * step), rel=5e-3)


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn"])
def test_everything_is_put_back(method):
    model = llama()
    weights = list(model.parameters())
    weights[0].requires_grad_(False)
    before = model(IDS, use_cache=False).logits
    plan = make_plan(read_live(model), factor=FACTOR, method=method)
    (_, stretch), *_ = plan.stretches
    bend = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    with rotating_by(model, plan, frequencies_of(stretch, bend, torch.zeros(())), N):
        assert not any(weight.requires_grad for weight in weights)
    assert [weight.requires_grad for weight in weights] == [False, *[True] * (len(weights) - 1)]
    assert not any(module.training or module.__dict__.get("gradient_checkpointing") for module in model.model.layers)
    assert torch.equal(model(IDS, use_cache=False).logits, before)


def test_activations_are_not_kept():
    """The graph holds what enters each layer and little else: far less than without checkpoints."""
    model = llama()
    plan = make_plan(read_live(model), factor=FACTOR, method="yarn")
    (_, stretch), *_ = plan.stretches
    bend = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with rotating_by(model, plan, frequencies_of(stretch, bend, torch.zeros(())), N), torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.model(IDS, use_cache=False)
        checkpointed, kept = kept, 0
        for layer in model.model.layers:
            layer.training = False
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.model(IDS, use_cache=False)
    assert checkpointed < kept / 4


def test_a_layout_without_a_gradient_is_refused():
    model = build(tiny_config("deepseek_v2"))
    spec = read_live(model)
    (table,) = find_tables(model, spec)[spec.stretchable[0]]
    assert table.layout() == "complex"
    plan = make_plan(spec, factor=2, method="yarn")
    with (
        pytest.raises(CannotAttach, match=r"answers in an order \(complex\).*\n.*--optimiser cma"),
        rotating_by(model, plan, lambda scale: (torch.ones(1), torch.ones(())), L),
    ):
        pass
