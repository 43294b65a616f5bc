"""A whole fit on the bundled model, short: stretched twice, a few steps."""

import dataclasses
import json
import re

import pytest
import torch

from ropewalk.checkpoints.extend import extend
from ropewalk.errors import BadLength, BadOption, OutputExists, UnknownName
from ropewalk.jobs.fit import job
from ropewalk.jobs.fit.compare import FITTED, read_report
from ropewalk.jobs.fit.family import get_family
from ropewalk.jobs.fit.job import Fit
from ropewalk.jobs.fit.objective import Sets, answer_items, far_items, losses
from ropewalk.jobs.fit.search import SearchStep
from ropewalk.jobs.fit.state import Budget
from ropewalk.measure.nll import token_nll
from ropewalk.models.attach import attach
from ropewalk.models.load import load_model
from ropewalk.progress import Silent
from ropewalk.scaling.plan import ScalingPlan, make_plan
from support.fitting import TARGET, go


class Watched(Silent):
    """Keeps what is said beside the stages; `look` may stop the search."""

    def __init__(self, look=lambda steps: None):
        self.said, self.look = [], look

    def say(self, words):
        if found := re.match(r"(\d+) steps, best ([\d.]+) nats", words):
            self.said.append((int(found[1]), float(found[2])))
            self.look(int(found[1]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"family": "free"},
        {"family": "free", "causal": True},
        {"optimiser": "cma"},
        {"objective": "answers"},
    ],
    ids=str,
)
def test_it_ends_with_a_plan_that_is_the_best_of_what_chose(parts, tmp_path, options):
    result = go(parts, tmp_path / "plan.json", **options)
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()) == dataclasses.replace(result.plan, model="tiny")
    assert result.winner == min(result.losses, key=result.losses.get)
    assert result.steps > 0
    assert result.documents == {"fit": 3, "choose": 2, "report": 2}
    assert set(result.compared) == {FITTED, "yarn", "yarn, paper", "ntk", "dynamic-yarn"}
    assert ("dynamic-yarn" in result.losses) == bool(options.get("causal"))  # a static fit is not chosen against causal plans


def test_the_keys_that_choose_are_not_those_that_were_fitted_on(parts, tmp_path):
    """Five digits, the last tokens of a text: three to fit on and two to choose with, drawn apart."""
    model, tokenizer, _, spec, sets = parts
    fit = Fit(1.25, family="yarn", objective="answers")
    search = job._Search(model, tokenizer, spec, fit, sets, tmp_path / "plan.json", "tiny", Silent(), Budget(1.0))
    keys = [tokenizer.decode(item.ids[-5:]) for item in (*search.items, *search.choosing)]
    assert all(re.fullmatch(r"\d{5}", key) for key in keys)
    assert len(set(keys)) == 5


def test_a_factor_that_adds_no_token_is_refused(parts, tmp_path):
    """512 x 1.0005 = 512.256, which is 512 tokens."""
    with pytest.raises(BadLength, match=r"factor is 1\.0005, by which 512 tokens become 512: there is nothing to fit"):
        go(parts, tmp_path / "plan.json", factor=1.0005)
    assert not any(tmp_path.glob("plan*"))


def test_where_it_does_not_win_it_returns_what_does(parts, tmp_path, monkeypatch):
    """The start is spoilt: at no temperature the search can reach is a list of eights as good as yarn."""
    monkeypatch.setattr(job._Search, "_look", lambda self, step: False)
    monkeypatch.setattr(job, "losses", lambda model, plan, items: [1.0 if plan.name == "ntk" else 2.0 for _ in items])
    result = go(parts, tmp_path / "plan.json", budget=1.0)
    assert result.winner == "ntk"
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()).name == "ntk"


def test_an_interrupted_search_leaves_its_best_and_goes_on_from_it(parts, tmp_path):
    out = tmp_path / "plan.json"

    def stop(steps):
        if steps == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(parts, out, Watched(stop), budget=60.0)
    saved = json.loads((tmp_path / "plan.fit.json").read_text())
    assert ScalingPlan.from_json(out.read_text()).name == "yarn"
    watched = Watched()
    go(parts, out, watched, budget=4.0)
    steps, best = watched.said[0]
    assert steps >= 5 - 1  # it did not measure the plans without a fit again
    assert best <= saved["loss"] + 5e-5  # said with four digits
    with pytest.raises(OutputExists, match="belongs to another search: other seed"):
        go(parts, out, seed=1)


def test_a_budget_that_cannot_hold_all_documents_reads_fewer_and_says_so(parts, tmp_path):
    result = go(parts, tmp_path / "plan.json", budget=0.01)
    assert result.steps == 1  # there is always one
    assert result.documents == {"fit": 3, "choose": 2, "report": 2}  # two are the least
    few = (*parts[:4], Sets(parts[4].fit, parts[4].fit, (*parts[4].report, parts[4].fit[0])))
    result = go(few, tmp_path / "other.json", budget=0.01)
    assert result.documents == {"fit": 3, "choose": 2, "report": 2}
    choice, report, excess = result.notes
    assert re.match(
        r"the choice reads: 2 of 3 documents, at [\d.]+ s a reading and 5 plans; all of them need a budget of", choice
    )
    assert report.startswith("room kept for the report: 2 of 3 documents")
    assert re.match(
        r"\d+ s were spent instead of 0: the least that is read is 2 documents to choose and 2 to report on", excess
    )


def test_a_budget_has_room_for_its_share():
    """300 s, 1 s a reading, 5 plans, a tenth to spare: 0.3 x 300 / 5.5 = 16.4 documents."""
    budget = Budget(300.0, reading=1.0)
    assert budget.room(0.3, 5, 12, "report") == 12
    assert not budget.notes
    assert budget.room(0.3, 5, 20, "report") == 16
    assert budget.notes == [
        "report: 16 of 20 documents, at 1.0 s a reading and 5 plans; all of them need a budget of 367 s."  # 20 x 5.5 / 0.3
    ]


def test_it_does_not_write_over_somebody_elses_plan(parts, tmp_path):
    (tmp_path / "plan.json").write_text("mine")
    with pytest.raises(OutputExists, match="no search beside it"):
        go(parts, tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"factor": 1.0}, BadLength, "nothing to fit unless the window grows"),
        ({"optimiser": "adam"}, UnknownName, "no optimiser is called 'adam'"),
        ({"objective": "fra"}, UnknownName, "Did you mean 'far'"),
        ({"budget": -1.0}, BadOption, "budget is -1 s; it must be more than 0"),
        ({"short_weight": float("nan")}, BadOption, "short_weight is nan; it must be a number of 0 or more"),
        ({"short_weight": -1.0}, BadOption, "short_weight is -1"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        Fit(**{"factor": 8.0, **options})


def test_the_far_loss_is_the_mean_beyond_the_window_plus_a_share_of_that_within(parts):
    """By hand, from the loss of every token."""
    model, _, _, spec, sets = parts
    plan = make_plan(spec, factor=1.25)
    with attach(model, plan):
        nll = token_nll(model, torch.tensor([sets.fit[0].ids]))[0]
    (far,) = losses(model, plan, far_items(sets.fit[:1], 512))
    (both,) = losses(model, plan, far_items(sets.fit[:1], 512, 0.5))
    assert far == pytest.approx(nll[511:].mean().item(), rel=1e-5)  # token 512 is the first with 512 before it
    assert both == pytest.approx(far + 0.5 * nll[:511].mean().item(), rel=1e-5)


def test_answers_count_alone(parts):
    _, tokenizer, _, _, sets = parts
    items = answer_items(tokenizer, sets.fit, TARGET, 0)
    for item in items:
        digits = tokenizer.decode(list(item.ids[item.first :]))
        assert len(digits) == 5
        assert digits.isdigit()
        assert item.weights.sum() == pytest.approx(1)
        assert len(item.ids) == TARGET


@pytest.mark.parametrize("family", ["free", "monotone"])
def test_what_is_written_is_the_same_in_stock_transformers(parts, tmp_path, family):
    """The oracle is a checkpoint that transformers loads by itself: losses to 1e-4, and inside the window the model's own."""
    model, _, folder, spec, sets = parts
    rope = spec.rope("all")
    space = get_family(family).space(rope, 1.25, None)
    u = space.inside(torch.randn(space.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    plan = ScalingPlan((("all", space.stretch(u.tolist())),), TARGET)
    extend(folder, plan, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["rope_parameters"]["rope_type"] == "longrope"
    assert config["rope_parameters"]["short_factor"] == [1.0] * 32
    stock = load_model(tmp_path / "out")
    ids = torch.tensor([sets.fit[0].ids])
    with attach(model, plan):
        ours = token_nll(model, ids)
    assert (token_nll(stock, ids) - ours).abs().max() < 1e-4 * ours.max()
    assert token_nll(stock, ids).mean().item() == pytest.approx(ours.mean().item(), abs=1e-4)


def test_every_set_has_its_own_use(parts, tmp_path, monkeypatch):
    """Searched on the first, chosen on the second, reported on the third: which documents each reading was of."""
    _, _, _, _, sets = parts
    searched, chosen, reported = set(), set(), set()
    names = {tuple(d.ids): d.name for part in (sets.fit, sets.choose, sets.report) for d in part}
    honest_gradient, honest_losses, honest_bits = job.gradient, job.losses, job.bits_by_token

    def gradient(model, plan, space, u, items):
        searched.update(names[tuple(item.ids)] for item in items)
        return honest_gradient(model, plan, space, u, items)

    def losses_(model, plan, items):
        chosen.update(names[tuple(item.ids)] for item in items)
        return honest_losses(model, plan, items)

    def bits(model, plan, document):
        reported.add(document.name)
        return honest_bits(model, plan, document)

    for name, watched in (("gradient", gradient), ("losses", losses_), ("bits_by_token", bits)):
        monkeypatch.setattr(job, name, watched)
    monkeypatch.setattr(job, "PATIENCE", 1)
    look = job._Search._look
    monkeypatch.setattr(job._Search, "_look", lambda self, step: look(self, step) and False)
    result = go(parts, tmp_path / "plan.json", budget=600.0)
    assert result.steps == 4
    assert searched == {d.name for d in sets.fit}
    assert chosen == {d.name for d in sets.choose}
    assert reported == {d.name for d in sets.report}
    kept = read_report(tmp_path / "plan.report.safetensors")
    assert kept.documents == tuple(d.name for d in sets.report)
    assert kept.ids.tolist() == [list(d.ids) for d in sets.report]
    assert kept.compared() == result.compared
    assert result.kept == str(tmp_path / "plan.report.safetensors")
    assert set(kept.plans) == set(result.compared)


def test_losses_and_the_winner_are_of_the_choosing_documents(parts, tmp_path):
    """Worked out again by hand: the mean of far losses over them, of the fitted plan and of each rival."""
    model, _, _, _, sets = parts
    result = go(parts, tmp_path / "plan.json")
    items = far_items(sets.choose, 512, 0.0)
    for name, plan in {FITTED: result.fitted, "yarn": make_plan(parts[3], factor=1.25, method="yarn")}.items():
        assert result.losses[name] == pytest.approx(sum(losses(model, plan, items)) / 2, abs=1e-5)
    assert result.losses[result.winner] == min(result.losses.values())


def test_batches_walk_through_the_fitting_documents_in_turn(parts, tmp_path, monkeypatch):
    order = []
    honest = job.gradient
    monkeypatch.setattr(job, "gradient", lambda m, p, s, u, items: order.append(items) or honest(m, p, s, u, items))
    monkeypatch.setattr(job, "PATIENCE", 1)
    monkeypatch.setattr(job._Search, "_look", lambda self, step: False)
    go(parts, tmp_path / "plan.json", budget=600.0)
    names = {tuple(d.ids): i for i, d in enumerate(parts[4].fit)}
    seen = [names[tuple(item.ids)] for batch in order for item in batch]
    assert seen == [i % 3 for i in range(len(seen))]
    assert {len(batch) for batch in order} == {2}


def test_the_seed_the_model_and_the_documents_name_a_search(parts, tmp_path):
    go(parts, tmp_path / "plan.json", budget=1.0)
    saved = json.loads((tmp_path / "plan.fit.json").read_text())
    assert "budget" not in saved["key"]
    assert {
        "factor",
        "family",
        "causal",
        "optimiser",
        "objective",
        "short_weight",
        "seed",
        "layers",
        "model",
        "documents",
    } <= {*saved["key"]}
    fewer = (*parts[:4], Sets(parts[4].fit[:2], parts[4].choose, parts[4].report))
    with pytest.raises(OutputExists, match="other documents"):
        go(fewer, tmp_path / "plan.json", budget=1.0)


def steps_of(monkeypatch, losses_seen, dropped=0):
    """A search whose points are numbered, and whose losses on the choosing documents are given."""
    seen = iter(losses_seen)
    start = {}

    def points(self):
        start["u"] = list(self.state.u)
        while True:
            yield SearchStep(list(self.state.u), 1.0, dropped)

    monkeypatch.setattr(job._Search, "_steps", points)
    monkeypatch.setattr(job._Search, "_loss", lambda self, plan: next(seen, 9.0))


@pytest.mark.parametrize(("optimiser", "every"), [("gradient", 4), ("cma", 2)])
def test_it_gives_up_after_six_looks_without_progress(parts, tmp_path, monkeypatch, optimiser, every):
    """Five plans and the starts are measured first; then 5 looks, one that is better, and 6 more."""
    count = len(get_family("yarn").space(parts[3].rope("all"), 1.25, None).starts) + len(
        [name for name in ("yarn", "yarn, paper", "ntk")]
    )
    steps_of(monkeypatch, [*[5.0] * count, *[6.0] * 5, 4.0, *[4.0] * 99], dropped=1)
    result = go(parts, tmp_path / "plan.json", budget=600.0, optimiser=optimiser)
    assert result.steps == every * (5 + 1 + 6)  # equal is not better
    assert result.losses[FITTED] == 4.0
    assert result.winner == FITTED
    assert result.dropped == result.steps


def test_a_point_whose_loss_is_no_number_is_not_taken(parts, tmp_path, monkeypatch):
    def points(self):
        while True:
            yield SearchStep([9.0] * len(self.state.u), float("nan"), 0)

    monkeypatch.setattr(job._Search, "_steps", points)
    monkeypatch.setattr(job._Search, "_loss", lambda self, plan: 1.0)
    go(parts, tmp_path / "plan.json", budget=600.0)
    assert 9.0 not in json.loads((tmp_path / "plan.fit.json").read_text())["u"]
