"""Steps of the loop against AdamW written out from the paper: clipping, schedule, decay of matrices alone, betas.

Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2, and Pascanu et al. 2013 for the clipping: nothing of torch.optim.
"""

import math

import pytest
import torch

from ropewalk.errors import NotFinite
from ropewalk.jobs.train import loop as loop_module
from ropewalk.jobs.train.loop import clip, make_optimizer
from support.training import one_loop, stage_of, tiny_llama

STEPS, EPS = 3, 1e-8
BETA = (0.9, 0.95)  # GPT-3 (Brown et al. 2020, appendix B), Llama


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("model"))


def plain_adamw(weights, gradients, rates, *, decay, most):
    """weights: name to float64.  gradients: a dict for each step, unclipped.  decay: of matrices."""
    weights = {name: w.clone() for name, w in weights.items()}
    first, second = ({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    for t, (found, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        norm = math.sqrt(sum(float((g**2).sum()) for g in found.values()))
        scale = min(1.0, most / (norm + 1e-6))
        for name, w in weights.items():
            g = found[name] * scale
            first[name] = BETA[0] * first[name] + (1 - BETA[0]) * g
            second[name] = BETA[1] * second[name] + (1 - BETA[1]) * g**2
            m, v = first[name] / (1 - BETA[0] ** t), second[name] / (1 - BETA[1] ** t)
            w *= 1 - rate * (decay if w.ndim >= 2 else 0.0)
            w -= rate * m / (v.sqrt() + EPS)
    return weights


def trained(source, **options):
    """What the loop does in three steps, and what it started from: weights, unclipped gradients, lines of the log."""
    stage = stage_of(**{"steps": 4, "rate": 1e-2, "warm_up": 2, "schedule": "cosine", "floor": 0.1, "weight_decay": 0.5,
                        "clip": 0.05, **options})  # fmt: skip

    def use(live, attached):
        def now():
            return {name: p.detach().double().clone() for name, p in live.trained.weights.items()}

        begin, gradients, lines, honest = now(), [], [], live.gradients

        def watched(step):
            found = honest(step)
            gradients.append({name: p.grad.detach().double().clone() for name, p in live.trained.weights.items()})
            return found

        live.gradients = watched
        for _ in range(STEPS):
            lines.append(live.step())
        assert all(p.grad is None or not p.grad.any() for p in live.trained.weights.values())
        return begin, gradients, lines, now()

    return stage, one_loop(source, use, stage=stage)


# The schedule written out: two steps of warm-up from a third of the rate, then the first step of the cosine: the whole rate.
RATES = [1e-2 * 1 / 3, 1e-2 * 2 / 3, 1e-2]


def distance(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture(scope="module")
def three(source):
    return trained(source)


def test_three_steps_are_those_of_a_plain_loop(three):
    _, (begin, gradients, lines, end) = three
    wanted = plain_adamw(begin, gradients, RATES, decay=0.5, most=0.05)
    assert distance(end, wanted) < 2e-6
    assert distance(end, begin) > 1e-3
    assert [line["rate"] for line in lines] == pytest.approx(RATES)
    assert [line["step"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"most": 1e9}, 1e-5),
        ({"decay": 0.0}, 1e-4),
        ({"rates": [1e-2] * 3}, 1e-3),
        ({"rates": [rate * 1.01 for rate in RATES]}, 1e-5),
    ],
    ids=["no clipping", "no decay", "no schedule", "one percent of the rate"],
)
def test_the_plain_loop_would_see_each_part_left_out(three, change, least):
    """The comparison is fine enough: without a part, the weights are further off than its tolerance by five times and more."""
    _, (begin, gradients, _, end) = three
    how = {"rates": RATES, "decay": 0.5, "most": 0.05, **change}
    assert distance(end, plain_adamw(begin, gradients, how.pop("rates"), **how)) > least


def test_betas_are_seen(three, monkeypatch):
    _, (begin, gradients, _, end) = three
    for betas in ((0.9, 0.999), (0.8, 0.95)):
        monkeypatch.setattr(f"{__name__}.BETA", betas)
        assert distance(end, plain_adamw(begin, gradients, RATES, decay=0.5, most=0.05)) > 1e-5
    assert loop_module.BETAS == (0.9, 0.95)


def test_norms_and_biases_do_not_decay(three):
    """A step of pure decay: no gradient, so matrices shrink by the rate times the decay and vectors stay."""
    torch.manual_seed(0)
    weights = {"w": torch.nn.Parameter(torch.ones(3, 2)), "n": torch.nn.Parameter(torch.ones(3))}
    stage = stage_of(rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(type("T", (), {"weights": weights}), stage)
    for p in weights.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.allclose(weights["w"], torch.full((3, 2), 1 - 0.1 * 0.5))
    assert torch.equal(weights["n"], torch.ones(3))
    assert {(g["betas"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups} == {
        ((0.9, 0.95), 0.1, 0.5), ((0.9, 0.95), 0.1, 0.0),
    }  # fmt: skip


@pytest.mark.parametrize("only", [(3,), (3, 2)])
def test_a_group_without_weights_is_left_out(only):
    weights = {"w": torch.nn.Parameter(torch.ones(only))}
    assert len(make_optimizer(type("T", (), {"weights": weights}), stage_of()).param_groups) == 1


def test_gradients_are_clipped_to_their_norm_over_all_weights():
    """3, 4 and 12: a norm of 13, by Pythagoras; the answer is the norm before."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(4)]
    for p, g in zip(weights, (3.0, 4.0, 12.0), strict=False):
        p.grad = torch.tensor([g])
    assert clip(weights, 1.3) == 13.0
    assert [float(p.grad) for p in weights[:3]] == pytest.approx([0.3, 0.4, 1.2], rel=1e-5)
    assert clip(weights, 100.0) == pytest.approx(1.3, rel=1e-5)
    assert [float(p.grad) for p in weights[:3]] == pytest.approx([0.3, 0.4, 1.2], rel=1e-5)
    assert weights[3].grad is None


def test_the_norm_is_summed_in_float64():
    """4,096 and 2^20 times 1: 2^24 + 2^20 exactly, where float32 sums of squares begin to lose ones."""
    p = torch.nn.Parameter(torch.zeros(2**20 + 1))
    p.grad = torch.ones(2**20 + 1)
    p.grad[0] = 4096.0
    assert clip([p], 1e9) == math.sqrt(2**24 + 2**20)


def test_progress_counts_steps_updates_and_tokens(three, source):
    stage, (_, _, lines, _) = three
    assert [line["tokens"] for line in lines] == [stage.batch * stage.length * i for i in (1, 2, 3)]
    assert [line["stage"] for line in lines] == [0, 0, 0]
    assert all(line["gradient_norm"] > 0.05 and "skipped" not in line for line in lines)


def test_the_log_has_the_loss_and_the_unclipped_norm(three):
    _, (_, gradients, lines, _) = three
    for line, found in zip(lines, gradients, strict=True):
        assert line["gradient_norm"] == pytest.approx(math.sqrt(sum(float((g**2).sum()) for g in found.values())), rel=1e-6)


def test_the_gradient_is_of_the_mean_over_all_predicted_tokens(source):
    """Of two rows in two micro-batches, by one pass over both with transformers' own loss."""

    def use(live, attached):
        step = live.rows.step(0, live.trained.parallel)
        sums = live.gradients(step)
        found = {name: p.grad.clone() for name, p in live.trained.weights.items()}
        live.optimizer.zero_grad()
        count, nats = sum(int((layout.labels >= 0).sum()) for layout in step.micros), 0.0
        for layout in step.micros:
            with live.around(layout):
                losses = live.losses(layout)[..., 0]
                (losses.sum() / count).backward()
            nats += float(losses.detach().sum())
        plain = {name: p.grad.clone() for name, p in live.trained.weights.items()}
        return sums, nats, count, found, plain

    sums, nats, count, found, plain = one_loop(source, use, stage=stage_of(micro=1))
    assert sums.sum(0).tolist() == pytest.approx([nats, count], rel=1e-6)
    for name, gradient in plain.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def spoiled(live, bad):
    """Every step's number of gradients that are none, if `bad` has its number."""
    honest = live.gradients

    def gradients(step):
        found = honest(step)
        if live.progress.step in bad:
            next(iter(live.trained.weights.values())).grad.fill_(math.nan)
        return found

    live.gradients = gradients


def test_three_steps_in_a_row_without_numbers_end_it_and_two_do_not(source):
    """Two, a good one, two, a good one: four thrown away, two updates. Then the third of three in a row raises."""

    def use(live, attached):
        spoiled(live, {0, 1, 3, 4, 6, 7, 8})
        lines = [live.step() for _ in range(8)]
        before = {name: p.detach().clone() for name, p in live.trained.weights.items()}
        with pytest.raises(NotFinite, match=r"3 steps in a row gave no numbers(.|\n)*7 such steps so far"):
            live.step()
        return lines, live.progress, all(torch.equal(before[n], p) for n, p in live.trained.weights.items())

    lines, progress, same = one_loop(source, use, stage=stage_of(steps=20))
    assert ["skipped" in line for line in lines] == [True, True, False, True, True, False, True, True]
    assert "the gradient norm of step 1 is not a number" in lines[0]["skipped"]
    assert (progress.updates, progress.skipped, progress.thrown_away) == (2, 3, 7)
    assert same


def test_random_numbers_are_another_draw_at_every_step_stage_and_seed(source):
    """What dropout draws, seen at the start of the step's gradients; the same again for the same step."""
    drawn = []

    def use(live, attached):
        live.gradients = lambda step: drawn.append(float(torch.rand(1))) or torch.ones(4, 2, dtype=torch.float64)
        for stage, step in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0)):
            live.progress.stage, live.progress.step = stage, step
            for p in live.trained.weights.values():
                p.grad = torch.zeros_like(p)
            live.step()

    for seed in (0, 1):
        one_loop(source, use, recipe={"seed": seed})
    assert drawn[4] == drawn[0]
    assert drawn[9] == drawn[5]
    assert len({*drawn[:4], *drawn[5:9]}) == 8


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_matrices_are_multiplied_in_the_precision_that_was_asked_for(source, precision, dtype):
    """torch's autocast: the output of a linear layer says what it was computed in; weights and losses stay float32."""

    def use(live, attached):
        seen = []
        layer = live.trained.model.model.layers[0].mlp.down_proj
        hook = layer.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
        (layout, *_) = live.rows.step(0, live.trained.parallel).micros
        with live.around(layout):
            found = live.losses(layout)
        hook.remove()
        return seen, found.dtype, layer.weight.dtype

    assert one_loop(source, use, recipe={"precision": precision}) == ([dtype], torch.float32, torch.float32)
