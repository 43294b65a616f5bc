"""Both searches find the bottom of a bowl inside the box, and survive losses that are no numbers; one without its report."""

import math
from itertools import islice

import pytest
import torch

from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.errors import OutOfMemory
from ropewalk.jobs.fit import job
from ropewalk.jobs.fit.family import Space
from ropewalk.jobs.fit.job import Fit, search_plan
from ropewalk.jobs.fit.search import descend, evolve
from ropewalk.scaling.plan import ScalingPlan

BOTTOM = torch.tensor([0.4, -0.3, 2.0], dtype=torch.float64)  # the last lies outside the box
BOX = Space((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), lambda u, s: (u, u), lambda u: None)
WIDE = Space((-99.0,) * 3, (99.0,) * 3, lambda u, s: (u, u), lambda u: None)
NEAREST = [0.4, -0.3, 1.0]


def bowl(u):
    return float(((torch.as_tensor(u, dtype=torch.float64) - BOTTOM) ** 2).sum())


def slope(u, batch):
    return bowl(u), 2 * (u - BOTTOM)


def test_down_the_gradient():
    *_, last = islice(descend(BOX, [0.0] * 3, slope, pull=0.0), 80)
    assert last.u == pytest.approx(NEAREST, abs=0.02)
    assert last.dropped == 0


def test_the_pull_holds_it_nearer_to_the_start():
    *_, free = islice(descend(BOX, [0.0] * 3, slope, pull=0.0), 80)
    *_, held = islice(descend(BOX, [0.0] * 3, slope, pull=3.0), 80)
    # the bottom of (u - b)^2 + 3 u^2 / 3 is b / 2
    assert held.u[0] == pytest.approx(BOTTOM[0].item() / 2, abs=0.03)
    assert abs(held.u[0]) < abs(free.u[0])


def test_the_pull_is_to_the_start_that_was_given():
    *_, held = islice(descend(BOX, [0.8] * 3, slope, pull=3.0), 80)
    assert held.u[0] == pytest.approx((BOTTOM[0].item() + 0.8) / 2, abs=0.03)  # of (u - b)^2 + 3 (u - 0.8)^2 / 3


def test_a_step_without_a_number_is_dropped_and_counted():
    def broken(u, batch):
        return slope(u, batch) if batch % 3 else (math.nan, torch.full_like(u, math.nan))

    steps = list(islice(descend(BOX, [0.0] * 3, broken), 60))
    assert sum(step.dropped for step in steps) == 20
    assert all(math.isfinite(x) for step in steps for x in step.u)
    assert bowl(steps[-1].u) < bowl([0.0] * 3)


def test_without_gradients():
    *_, last = islice(evolve(BOX, [0.0] * 3, lambda points, batch: [bowl(u) for u in points]), 40)
    assert last.u == pytest.approx(NEAREST, abs=0.02)


def test_candidates_without_a_number_are_dropped_and_counted():
    def broken(points, batch):
        return [math.nan if i == batch % len(points) else bowl(u) for i, u in enumerate(points)]

    steps = list(islice(evolve(BOX, [0.0] * 3, broken), 40))
    assert [step.dropped for step in steps] == [1] * 40
    assert all(step.loss == pytest.approx(bowl(step.u)) for step in steps)  # never a candidate without a number
    assert steps[-1].u == pytest.approx(NEAREST, abs=0.05)
    every = list(islice(evolve(BOX, [0.0] * 3, lambda points, batch: [math.nan] * len(points)), 3))
    assert all(step.dropped > 1 and step.loss == math.inf for step in every)


def test_the_same_seed_gives_the_same_search():
    def run(seed):
        return [step.u for step in islice(evolve(BOX, [0.0] * 3, lambda p, b: [bowl(u) for u in p], seed=seed), 5)]

    assert run(0) == run(0) != run(1)


def test_a_slope_that_stays_walks_the_rates():
    """Adam of a constant slope moves by the rate alone, whatever the slope (Kingma & Ba 2015, algorithm 1: both moments are
    corrected). Rates halve every 16 steps; handed over are the first four points, then a running mean of a quarter each."""
    for slope_ in (1e-3, 50.0):
        found = [
            step.u[0]
            for step in islice(
                descend(WIDE, [0.0] * 3, lambda u, batch, s=slope_: (0.0, torch.full_like(u, s)), rate=0.2, pull=0.0), 40
            )
        ]
        at, wanted = 0.0, []
        for step in range(1, 41):
            at -= 0.2 * 0.5 ** (step / 16)
            wanted.append(at if step <= 4 else wanted[-1] + (at - wanted[-1]) / 4)
        assert found == pytest.approx(wanted, rel=1e-4)


def test_a_step_without_a_number_goes_half_way_home():
    """Start 0.5; a slope of 1 moves it by 0.1 / 2^(1/16); then none, twice: half and a quarter of that."""
    answers = [1.0, math.nan, math.inf]

    def told(u, batch):
        return 0.0, torch.full_like(u, answers[batch])

    first, second, third = islice(descend(WIDE, [0.5] * 3, told, pull=0.0), 3)
    moved = -0.1 * 0.5 ** (1 / 16)
    assert [step.u[0] - 0.5 for step in (first, second, third)] == pytest.approx([moved, moved / 2, moved / 4])
    assert [step.dropped for step in (first, second, third)] == [0, 1, 1]


def alone(parts, out, budget):
    model, tokenizer, folder, spec, sets = parts
    asked = Fit(factor=1.25, family="yarn", budget=budget)
    return search_plan(model, tokenizer, model_fingerprint(folder), spec, asked, sets, out, "tiny")


def test_a_search_alone_reads_no_third_set_and_no_other_plan(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "bits_by_token", lambda *given: pytest.fail("a document of the third set was read"))
    plan, state = alone(parts, tmp_path / "plan.json", 5.0)
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()) == plan
    assert state.steps > 0
    assert state.losses == {}  # the choice that asked for it compares
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.fit.json", "plan.json"]


def test_its_seconds_are_those_of_all_runs_together(parts, tmp_path):
    """An interrupted one goes on from what is kept, with what is left; with nothing left it ends after one step."""
    _, first = alone(parts, tmp_path / "plan.json", 4.0)
    _, second = alone(parts, tmp_path / "plan.json", 4.0)
    assert second.steps == first.steps + 1
    assert second.seconds > first.seconds
    assert second.loss <= first.loss


def test_a_plan_without_its_state_was_left_by_a_process_that_was_killed(parts, tmp_path):
    (tmp_path / "plan.json").write_text("half")
    plan, _ = alone(parts, tmp_path / "plan.json", 3.0)
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()) == plan


def test_memory_that_runs_out_is_an_error_of_ours(parts, tmp_path, monkeypatch):
    def full(*given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(job, "gradient", full)
    with pytest.raises(OutOfMemory, match="a step of the search does not fit into memory: 640 tokens"):
        alone(parts, tmp_path / "plan.json", 3.0)
