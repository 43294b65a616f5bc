"""Stopping early in a run: after few documents where plans differ much, never where they do not; again at the same place."""

import math
from functools import partial
from types import SimpleNamespace as Look

import numpy
import pytest

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadOption, NotFinite
from ropewalk.jobs.evaluate import in_turn as early
from ropewalk.jobs.evaluate import job
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest
from ropewalk.jobs.evaluate.workers import Workers
from ropewalk.measure.protocols import Prefix
from ropewalk.measure.records import Key, Record, Records
from ropewalk.scaling.plan import make_plan
from support.watching import Watching

small = partial(
    EvalRequest, "ropewalk-tiny", lengths=(256,), factor=2.0, documents=16, tax=False, speed=False, stop_early=True
)


def go(out, request):
    watching = Watching()
    outcome = evaluate(out, request, watching)
    return outcome, watching.notes[-1]


def test_it_stops_where_plans_differ_much_and_goes_on_from_there(tmp_path):
    """linear without training is 3 bits worse everywhere: each of the first documents says so."""
    outcome, told = go(tmp_path, small(methods=("none", "linear")))
    read = {r.facts["document"] for r in outcome.records}
    assert 3 <= len(read) < 16
    assert told == f"every plan is told from none after {len(read)} of 16 documents; the rest is not read."
    again, same = go(tmp_path, small(methods=("none", "linear")))
    assert same == told
    assert len(list(Records(tmp_path / "records"))) == len(again.records) == 2 * len(read)


def test_it_reads_all_where_there_is_nothing_to_find(tmp_path):
    """Inside the window a causal plan is the model itself."""
    outcome, told = go(tmp_path, small(methods=("none", "linear", "dynamic-yarn")))
    assert len({r.facts["document"] for r in outcome.records}) == 16
    assert told == "16 documents were read, and not every plan is told from none."


@pytest.mark.parametrize(
    ("request_", "workers", "words"),
    [
        (small(methods=("none",)), Workers(), "name two or more methods"),
        (small(methods=("none", "yarn"), protocols=("llama.cpp:128",)), Workers(), "protocols that read documents one by one"),
        (small(methods=("none", "yarn")), Workers(0, 2), "without torchrun"),
    ],
)
def test_what_cannot_stop_early_says_why(tmp_path, request_, workers, words):
    with pytest.raises(BadOption, match=words):
        evaluate(tmp_path, request_, workers=workers)
    assert not any(tmp_path.iterdir())


def measured(folder, losses, order):
    """Two plans' readings of three tokens each; losses: document to (nats under the first, under the second)."""
    spec = read(read_config(bundled_model()))
    plans = [make_plan(spec, factor=2, method=method) for method in ("none", "yarn")]
    records = Records(folder)
    for name in order:
        for plan, nats in zip(plans, losses[name], strict=True):
            facts = {"document": name, "start": 0, "bos": True, "document_tokens": 3, "shortest": 2, "scored": [[1, 4]]}
            key = Key("m", plan.fingerprint, plan.name, "window", name, 4)
            records.add(Record(key, numpy.full(3, nats, numpy.float32), facts))
    return [plan.fingerprint for plan in plans], records


def test_documents_are_looked_at_in_the_order_in_which_they_were_read(tmp_path, monkeypatch):
    """Not in the order of their names, in which tables hold them: a sequential test sees a sequence."""
    losses = {"c": (1.0, 2.0), "a": (1.0, 4.0), "b": (1.0, 8.0)}
    planned, records = measured(tmp_path, losses, "cab")
    looked = []
    monkeypatch.setattr(early, "look", lambda a, b, counts: looked.append((a, b, counts)) or Look(stop=True))
    assert early.clear(planned, ["c", "a", "b"], Prefix((4,)), records)
    ((first, other, counts),) = looked
    assert (other / first).tolist() == pytest.approx([2.0, 4.0, 8.0])
    assert counts.tolist() == [3, 3, 3]
    assert first.tolist() == pytest.approx([3 / math.log(2)] * 3)  # bits


def test_a_document_that_was_not_drawn_yet_is_not_looked_at(tmp_path, monkeypatch):
    losses = {"c": (1.0, 2.0), "a": (1.0, 4.0), "b": (1.0, 8.0)}
    planned, records = measured(tmp_path, losses, "cab")
    seen = []
    monkeypatch.setattr(early, "look", lambda a, b, counts: seen.append(len(a)) or Look(stop=False))
    assert not early.clear(planned, ["c", "b"], Prefix((4,)), records)
    assert seen == [2]


def test_the_order_that_a_seed_draws_is_the_one_that_is_read(tmp_path):
    """A second run, and the first: the same documents. Another seed: another beginning."""
    read_ = [
        {r.facts["document"] for r in go(tmp_path / f"{n}", small(methods=("none", "linear"), seed=seed))[0].records}
        for n, seed in enumerate((0, 0, 1))
    ]
    assert read_[0] == read_[1]
    assert read_[0] != read_[2]


def test_the_last_line_of_the_protocol_decides(tmp_path, monkeypatch):
    """Of Prefix(2, 4) the second: three tokens of each document, not one."""
    planned, records = measured(tmp_path, {name: (1.0, 2.0) for name in "abc"}, "abc")
    seen = []
    monkeypatch.setattr(early, "look", lambda a, b, counts: seen.append(counts.tolist()) or Look(stop=True))
    early.clear(planned, ["a", "b", "c"], Prefix((2, 4)), records)
    assert seen == [[3, 3, 3]]


def test_every_plan_must_be_told_from_the_first(tmp_path, monkeypatch):
    planned, records = measured(tmp_path, {name: (1.0, 2.0) for name in "abc"}, "abc")
    answers = iter([True, False])
    monkeypatch.setattr(early, "look", lambda a, b, counts: Look(stop=next(answers)))
    assert not early.clear([*planned, planned[1]], ["a", "b", "c"], Prefix((4,)), records)


@pytest.mark.parametrize("broken", ["yarn", "none"])
def test_a_plan_that_gives_no_numbers_is_given_up_and_the_others_are_compared(tmp_path, monkeypatch, broken):
    """As in a run that reads everything. Without the first there is nothing to tell the others from, so all is read."""
    real = job.measure

    def measure(model, plan, *args, **kwargs):
        if plan.name == broken:
            raise NotFinite("the loss of 3 tokens is not a number")
        real(model, plan, *args, **kwargs)

    monkeypatch.setattr(job, "measure", measure)
    outcome, _ = go(tmp_path, small(methods=("none", "linear", "yarn")))
    assert outcome.failures == ["the loss of 3 tokens is not a number"]
    rows = {
        name: {r.facts["document"] for r in outcome.records if r.key.method == name} for name in ("none", "linear", "yarn")
    }
    assert rows.pop(broken) == set()
    (documents,) = {frozenset(names) for names in rows.values()}
    assert len(documents) == 16 if broken == "none" else 3 <= len(documents) < 16


@pytest.mark.parametrize("clear_after", [3, 5, 99])
def test_it_looks_after_each_document_from_the_third_on_and_counts_what_is_left(clear_after):
    """Eight documents of costs 1 to 8: the bar ends where it must, and a document is read under all plans."""
    names = [f"d{i}" for i in range(8)]
    passes = [Look(facts={"document": name}, cost=float(i)) for i, name in enumerate(names, 1)]
    work = [early.PlanShare(Look(name=name), passes, [Look()], [Look()], [Look()]) for name in ("none", "yarn")]
    read, looks, costs, told = [], [], [], []

    def one(part):
        assert [part.tax, part.samples, part.speed] == [[], [], []]
        read.append((part.plan.name, [m.facts["document"] for m in part.passes]))
        costs.append(sum(m.cost for m in part.passes))

    def is_clear(order):
        return looks.append(len(order)) or len(order) >= clear_after

    n = early.read_until_clear(work, names, 0, one, is_clear, costs.append, told.append)
    assert n == min(clear_after, 8)
    assert looks == list(range(3, n + 1))
    order = [documents[0] for method, documents in read if method == "none"]
    assert order == [documents[0] for method, documents in read if method == "yarn"]
    assert order == [names[i] for i in early.random_order(8, 0)][:n]
    assert sum(costs) == 2 * 36
    assert len(told) == 1
    assert ("the rest is not read" in told[0]) == (n < 8)
