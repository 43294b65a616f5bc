"""Records of retrieval: the verdicts of the plain way, resumable at any sample, and nothing recorded that is no number."""

from dataclasses import replace

import numpy
import pytest
import torch

from ropewalk.errors import BadOption, NotFinite, UnknownName
from ropewalk.measure import retrieval
from ropewalk.measure.faults import BatchSize
from ropewalk.measure.greedy import generate_answers
from ropewalk.measure.material import Material, library_code
from ropewalk.measure.records import Records
from ropewalk.measure.retrieval import GREEDY, TEACHER, Asker, check_read, cost, expand_tasks, make_samples
from ropewalk.measure.reuse import AnswerVerdict, read_answers
from ropewalk.measure.task import Sample
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import make_plan
from support import ruler_material


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


@pytest.fixture(scope="module")
def material():
    """Code alone: collecting the library's docstrings would take most of the time of this file."""
    return Material(load_tokenizer("ropewalk-tiny"), library_code()[:300_000])


@pytest.fixture(scope="module")
def grid(material):
    samples, _ = make_samples(material, ["passkey", "needle"], [200, 400], depths=(0.2, 0.8), count=2, seed=0)
    return samples


def plan_for(model, method="yarn"):
    return make_plan(read_live(model), method=method, target_length=1024)


def asker(model, material, folder, **options):
    return Asker(model, "hash", material, Records(folder), BatchSize(4), {"dtype": "float32"}, **options)


class Stop(Exception):
    pass


class Advance:
    def __init__(self, stop_after=None):
        self.costs, self.stop_after = [], stop_after

    def __call__(self, cost):
        self.costs.append(cost)
        if self.stop_after is not None and len(self.costs) > self.stop_after:
            raise Stop


def test_exact_tasks_leave_one_record_each_with_the_plain_verdict(model, material, grid, tmp_path):
    plan, advance = plan_for(model), Advance()
    asker(model, material, tmp_path).ask(plan, grid, advance)
    with attach(model, plan):
        right = {s.sha: v for s, v in zip(grid, read_answers(model, plan, grid, reuse=False), strict=True)}
    records = {r.key.item: r for r in Records(tmp_path)}
    assert records.keys() == right.keys()
    assert {v.exact for v in right.values()} == {True, False}, "a grid that is all right or all wrong tests little"
    for sample in grid:
        record, verdict = records[sample.sha], right[sample.sha]
        facts = record.facts
        assert abs(record.nll - verdict.nll).max() <= 1e-5
        assert (facts["exact"], facts["score"]) == (verdict.exact, float(verdict.exact))
        assert (facts["task"], facts["length"], facts["depth"], facts["index"]) == (
            sample.task, sample.length, sample.depth, sample.index,
        )  # fmt: skip
        assert facts["references"] == list(sample.references)
        assert (facts["scoring"], facts["method"], facts["dtype"]) == ("exact", TEACHER, "float32")
        assert (record.key.protocol, record.key.length, record.key.method) == (sample.task, sample.length, "yarn")
        assert "nll_without" not in facts
    assert sum(advance.costs) == pytest.approx(sum(map(cost, grid)))


def test_a_gap_is_no_mistake_where_the_task_that_hides_one_thing_has_no_room(grid):
    """It was refused with: the tasks are passkey, niah_multikey_1, and only a task that hides one thing, as passkey does."""
    others = [replace(sample, task="niah_multikey_1", needle=None) for sample in grid]
    how = {"compat": False, "chat": False}
    check_read(["passkey", "niah_multikey_1"], others, gap=True, **how)
    check_read(["passkey"], [], gap=True, **how)
    for names, samples in ((["niah_multikey_1"], others), ([], [])):
        with pytest.raises(BadOption, match=r"gap \(--gap\) changes nothing here"):
            check_read(names, samples, gap=True, **how)


def test_the_gap_is_the_loss_of_the_same_answer_without_its_needle(model, material, grid, tmp_path):
    plan = plan_for(model)
    asker(model, material, tmp_path, gap=True).ask(plan, grid, Advance())
    bare = [sample.without_needle() for sample in grid]
    with attach(model, plan):
        right = {s.sha: v.nll.mean() for s, v in zip(grid, read_answers(model, plan, bare, reuse=False), strict=True)}
    records = list(Records(tmp_path))
    assert len(records) == len(grid)
    for record in records:
        assert record.facts["nll_without"] == pytest.approx(float(right[record.key.item]), abs=1e-5)
    found = [r for r in records if r.facts["exact"]]
    assert all(r.facts["nll_without"] > r.nll.mean() + 1 for r in found)


def test_a_run_that_stops_anywhere_goes_on_with_what_is_missing(model, material, grid, tmp_path):
    plan = plan_for(model)
    with pytest.raises(Stop):
        asker(model, material, tmp_path / "a").ask(plan, grid, Advance(stop_after=5))
    finished = {r.key.item for r in Records(tmp_path / "a")}
    assert 0 < len(finished) < len(grid)
    seen = []
    handle = model.register_forward_hook(lambda *_: seen.append(1))
    again = Advance()
    try:
        asker(model, material, tmp_path / "a").ask(plan, grid, again)
        calls = len(seen)
        asker(model, material, tmp_path / "a").ask(plan, grid, Advance())
    finally:
        handle.remove()
    assert len(seen) == calls, "nothing is read when everything is there"
    assert sum(again.costs) == pytest.approx(sum(map(cost, grid)))
    asker(model, material, tmp_path / "b").ask(plan, grid, Advance())
    for a, b in zip(Records(tmp_path / "a"), Records(tmp_path / "b"), strict=True):
        assert a.key == b.key
        assert a.facts == b.facts
        assert abs(a.nll - b.nll).max() <= 1e-5


@pytest.mark.parametrize("method", ["none", "dynamic-request"])
def test_tasks_scored_by_substrings_get_the_score_of_greedy_decoding(model, material, tmp_path, method):
    """The bundled model follows no English question, so its own pass key is dressed as a RULER task: some right, some not."""
    plan = plan_for(model, method)
    made, _ = make_samples(material, ["passkey"], [300, 900], depths=(0.3, 0.7), count=1, seed=1)
    samples = [
        Sample("niah_single_1", s.length, None, n, s.ids, s.answer_start, s.answer_end, s.references, 12)
        for n, s in enumerate(made)
    ]
    asker(model, material, tmp_path).ask(plan, samples, Advance())
    with attach(model, plan) as attached:
        plain = generate_answers(model, plan, samples, material, scoring_name="all", batch=1, reuse=False, attached=attached)
    right = {s.sha: answer for s, answer in zip(samples, plain, strict=True)}
    records = list(Records(tmp_path))
    if method == "none":
        assert {r.facts["score"] for r in records} == {0.0, 1.0}
    for record in records:
        text, score = right[record.key.item]
        assert record.facts["score"] == score
        assert record.facts["written"].startswith(text) or score < 1
        assert record.facts["scoring"] == "all"
    methods = {r.facts["method"] for r in records}
    assert methods == ({TEACHER, GREEDY} if method == "none" else {GREEDY})


def test_longrope_is_asked_with_the_list_of_the_length(model, material, grid, tmp_path):
    """Within the original length the short list, which leaves the model as it is; beyond it the long one, which stretches
    by 2: as under `none` and under `linear`."""
    spec, long = read_live(model), [s for n in (300, 700) for s in make_samples(
        material, ["passkey"], [n], depths=(0.5,), count=1, seed=0)[0]]  # fmt: skip
    lists = {"short_factor": [1.0] * 32, "long_factor": [2.0] * 32, "attention_factor": 1.0}
    asker(model, material, tmp_path / "l").ask(make_plan(spec, factor=2, method="longrope", options=lists), long, Advance())
    nll = {r.key.length: r.nll for r in Records(tmp_path / "l")}
    for method, length in (("none", 300), ("linear", 700)):
        asker(model, material, tmp_path / method).ask(make_plan(spec, factor=2, method=method), long, Advance())
        (right,) = [r.nll for r in Records(tmp_path / method) if r.key.length == length]
        assert abs(nll[length] - right).max() <= 1e-4


def test_rulers_offline_tasks_run(model, tmp_path):
    material = Material(load_tokenizer("ropewalk-tiny"), ruler_material.prose())
    samples, skipped = make_samples(material, expand_tasks(["ruler"], {}), [1024], depths=(0.5,), count=1, seed=0)
    ran, told = {s.task for s in samples}, {s.task for s in skipped}
    assert len(ran | told) == 11
    assert not ran & told
    assert len(ran) >= 6
    assert all("1024" in s.why or "tokens" in s.why for s in skipped)
    asker(model, material, tmp_path).ask(plan_for(model), samples[::5], Advance())
    assert {r.key.protocol for r in Records(tmp_path)} == {s.task for s in samples[::5]}


def test_names_of_tasks():
    assert len(expand_tasks(["ruler"], {})) == 11
    assert set(expand_tasks(["ruler"], {"qa_1": "x"})) - set(expand_tasks(["ruler"], {})) == {"qa_1"}
    assert expand_tasks(["vt", "passkey", "vt"], {}) == ["vt", "passkey"]
    with pytest.raises(UnknownName, match="Did you mean 'passkey'"):
        expand_tasks(["paskey"], {})


def test_what_does_not_fit_is_told_and_not_cut(material):
    samples, skipped = make_samples(material, ["needle", "cwe"], [20, 400], depths=(0.5,), count=1, seed=0)
    assert {(s.task, s.length) for s in samples} == {("needle", 400)}
    assert {(s.task, s.length) for s in skipped} == {("needle", 20), ("cwe", 20), ("cwe", 400)}


def test_memory_that_runs_out_gives_up_the_shared_cache_and_then_the_run(model, material, grid, tmp_path, monkeypatch):
    from ropewalk.measure import reuse

    def too_much(self, ids, first):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(reuse.PrefixReader, "score", too_much)
    said, plan = [], plan_for(model)
    asker(model, material, tmp_path, say=said.append).ask(plan, grid, Advance())
    assert len(said) == 1
    assert "going on without sharing prefixes" in said[0]
    assert len(list(Records(tmp_path))) == len(grid)


def test_a_loss_that_is_no_number_is_named_and_not_recorded(material, grid, tmp_path):
    broken = load_model("ropewalk-tiny")
    broken.model.layers[2].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(NotFinite, match=r"of passkey \(length \d+, depth 0\.\d\) under yarn.*\n.*layers\.2\.mlp\.down_proj"):
        asker(broken, material, tmp_path).ask(plan_for(broken), grid[:1], Advance())
    assert not list(Records(tmp_path))


class Answers:
    """Stands in for the model: which of the answer's tokens are right, sample by sample."""

    def __init__(self, monkeypatch, greedy):
        def each(model, plan, samples, **_):
            for i, sample in enumerate(samples):
                n = sample.answer_end - sample.answer_start
                yield i, AnswerVerdict(numpy.full(n, 1.0 + i, numpy.float32), numpy.array(greedy(i, n)))

        monkeypatch.setattr(retrieval, "each_answer", each)


@pytest.mark.parametrize("wrong", [0, 1, -1])
def test_a_key_is_found_only_if_every_token_of_it_is_right(model, material, grid, tmp_path, monkeypatch, wrong):
    """The first digit right is not enough, nor all but the last."""
    Answers(monkeypatch, lambda i, n: [k != wrong % n for k in range(n)] if i % 2 else [True] * n)
    asker(model, material, tmp_path).ask(plan_for(model), grid, Advance())
    scores = {r.key.item: (r.facts["score"], r.facts["exact"]) for r in Records(tmp_path)}
    ordered = [scores[sample.sha] for sample in grid]
    assert {score for score, _ in ordered} == {0.0, 1.0}
    assert all(score == float(exact) for score, exact in ordered)
    assert sum(score for score, _ in ordered) == len(grid) / 2


def test_a_file_of_questions_that_no_task_reads_is_refused():
    with pytest.raises(BadOption, match=r"no task reads a file as qa_9; qa_1 and qa_2 do"):
        expand_tasks(["passkey"], {"qa_9": "x"})
