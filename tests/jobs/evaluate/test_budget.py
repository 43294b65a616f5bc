"""A run within a time: turns of one document and one sample of each kind under every plan, as many as fit."""

from functools import partial
from types import SimpleNamespace

import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate import in_turn, job
from ropewalk.jobs.evaluate.in_turn import Clock, PlanShare, foretold, read_turns, turns
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest
from ropewalk.jobs.evaluate.workers import Workers
from ropewalk.measure.anytime import random_order
from ropewalk.measure.pace import units
from ropewalk.measure.protocols import CORPUS
from support.watching import Watching

small = partial(
    EvalRequest, "ropewalk-tiny", methods=("none", "yarn"), lengths=(256,), factor=2.0, documents=8, samples=2,
    depths=(0.5,), tasks=("passkey",), speed=False,
)  # fmt: skip
DOCUMENTS = [f"d{i}" for i in range(5)]


def test_units_by_hand():
    """Linear layers and attention are worth as much at 4,096 tokens: 4,096 and 4,096."""
    assert units(4096) == 8192
    assert units(1024) == 1024 + 256


def reading(document):
    return SimpleNamespace(facts={"document": document}, cost=3.0)


def share(name, samples=2):
    """Each document read once and taxed once, a pass over all of them in a row, and samples of two tokens at two depths."""
    asked = [SimpleNamespace(index=i, ids=(1, 2), depth=d) for i in range(samples) for d in (0.0, 1.0)]
    plan = SimpleNamespace(name=name)
    return PlanShare(plan, [*map(reading, DOCUMENTS), reading(CORPUS)], list(map(reading, DOCUMENTS)), asked, [])


def test_a_turn_is_one_document_and_one_sample_of_each_kind_under_every_plan():
    made = list(turns([share("none"), share("yarn")], DOCUMENTS, 0))
    order = [DOCUMENTS[i] for i in random_order(5, 0)]
    assert len(made) == 5
    for n, shares in enumerate(made):
        assert [s.plan.name for s in shares] == ["none", "yarn"]
        for s in shares:
            assert [m.facts["document"] for m in s.passes if m.facts["document"] != CORPUS] == [order[n]]
            assert [m.facts["document"] for m in s.tax] == [order[n]]
            assert [(x.index, x.depth) for x in s.samples] == ([(n, 0.0), (n, 1.0)] if n < 2 else [])
    assert [sum(m.facts["document"] == CORPUS for m in shares[0].passes) for shares in made] == [1, 0, 0, 0, 0]


def test_all_turns_together_are_the_whole_run_and_nothing_comes_twice():
    whole = share("none", samples=7)
    made = [shares[0] for shares in turns([whole], DOCUMENTS, 3)]
    assert len(made) == 7
    for part in ("passes", "tax", "samples"):
        found = [id(item) for one in made for item in getattr(one, part)]
        assert sorted(found) == sorted(id(item) for item in getattr(whole, part))


def test_turns_without_documents_are_samples():
    made = list(turns([PlanShare(SimpleNamespace(name="none"), [], [], share("none").samples, [])], [], 0))
    assert [[s.index for s in shares[0].samples] for shares in made] == [[0, 0], [1, 1]]


class Time:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def world(monkeypatch):
    """A machine on which a unit takes a second; a document under a plan is 3 units."""
    clock = Time()
    monkeypatch.setattr(in_turn, "time", clock)
    shares = [PlanShare(SimpleNamespace(name=n), list(map(reading, DOCUMENTS)), [], [], []) for n in ("none", "yarn")]
    done, said = [], []

    def one(part):
        done.append((part.plan.name, part.passes[0].facts["document"]))
        clock.now += part.cost

    def read(budget, rate=1.0, missing=lambda part: part.cost, is_clear=lambda read: False):
        read_turns(shares, DOCUMENTS, 0, Clock(budget, 0.0, rate), missing, one, is_clear, said.append)
        return done, said

    return SimpleNamespace(clock=clock, read=read)


@pytest.mark.parametrize(("budget", "documents"), [(6.0, 1), (17.9, 2), (18.0, 3), (1e9, 5)])
def test_it_reads_as_many_documents_as_fit(world, budget, documents):
    """6 s a document under two plans: in 17.9 s two."""
    done, said = world.read(budget)
    order = [DOCUMENTS[i] for i in random_order(5, 0)][:documents]
    assert done == [(plan, name) for name in order for plan in ("none", "yarn")]
    left = 6 * (5 - documents)
    assert said == (
        [f"the time is spent after {documents} of 5 documents; the rest would take {left} s more."] if documents < 5 else []
    )
    assert world.clock.now <= budget


def test_the_first_is_read_whatever_the_time_and_that_is_said(world):
    done, said = world.read(1.0)
    assert len(done) == 2
    assert said[0] == "one document under every plan takes 6 s, longer than the budget; it is read."


def test_what_was_tried_gives_way_to_what_was_measured(world):
    """Tried at a fifth of the truth: the first turn takes 6 s where 1.2 were foreseen, and the next is not begun at 10 s."""
    assert len(world.read(10.0, rate=0.2)[0]) == 2


def test_what_is_on_disk_costs_nothing_and_says_nothing_of_the_rate(world):
    done, _ = world.read(0.5, missing=lambda part: 0.0)
    assert len(done) == 10


def test_both_ends_hold_where_plans_are_told_apart_earlier(world):
    """A look after the third document, not before."""
    looked = []
    done, said = world.read(1e9, is_clear=lambda read: looked.append(len(read)) or len(read) == 4)
    assert looked == [3, 4]
    assert len(done) == 8
    assert said == ["every plan is told from none after 4 of 5 documents; the rest is not read."]


def test_a_run_that_takes_hours_says_so_and_others_do_not():
    told = foretold(7200.0, 1.0, 12, 600.0)
    assert told.startswith("this will take about 2 h 00 min here.")
    assert told.endswith("of the 12 documents as fit, each under every plan: one takes 10 min.")
    assert foretold(7200.0, 1.0, 12, 600.0, 40).endswith("every plan: one, with 40 prompts of tasks, takes 10 min.")
    assert foretold(3000.0, 1.0, 12, 600.0) is None


def test_a_run_in_two_calls_reads_what_one_without_a_budget_reads(tmp_path, monkeypatch):
    """The first has time for one turn alone; the second goes on in the same folder; the numbers are those of one run."""
    monkeypatch.setattr(job, "pace", lambda model: 1e9)
    watching = Watching()
    first = evaluate(tmp_path / "run", small(budget=1.0), watching)
    assert {r.facts["document"] for r in first.records if r.key.protocol == "window"} < {
        d.name for d in first.prepared.documents
    }
    assert "longer than the budget; it is read." in " ".join(watching.notes)
    assert "the time is spent after 1 of 8 documents" in watching.notes[-1]
    monkeypatch.setattr(job, "pace", lambda model: 0.0)
    second = evaluate(tmp_path / "run", small(budget=1e6))
    assert second.found == len(first.records)
    whole = evaluate(tmp_path / "whole", small())
    assert [r.key for r in second.records] == [r.key for r in whole.records]
    for a, b in zip(second.records, whole.records, strict=True):
        assert a.nll == pytest.approx(b.nll, abs=1e-5)


def test_a_run_that_would_take_hours_is_told_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "pace", lambda model: 10.0)
    monkeypatch.setattr(job, "PROBES", 0)
    watching = Watching()
    evaluate(tmp_path, small(documents=2, tax=False, tasks=()), watching)
    assert any(note.startswith("this will take about ") and "(--budget)" in note for note in watching.notes)


@pytest.mark.parametrize(("budget", "workers", "words"), [(0.0, Workers(), "more than 0"), (9.0, Workers(0, 2), "torchrun")])
def test_bad_budgets(tmp_path, budget, workers, words):
    with pytest.raises(BadOption, match=words):
        evaluate(tmp_path, small(budget=budget), workers=workers)
    assert not any(tmp_path.iterdir())
