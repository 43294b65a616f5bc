"""A fitted plan among the candidates: with searches that are made up, and with the real one once."""

import json
from dataclasses import replace

import pytest

import ropewalk
from ropewalk.api.choose import _fitter
from ropewalk.api.choose import choose as verb
from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, CannotAttach
from ropewalk.jobs.choose import job
from ropewalk.jobs.choose.candidates import FITTED, candidates
from ropewalk.jobs.choose.fitted import RECORD, SHARE, Fitted, Fitter, ToFit, fitted_plan, why_not
from ropewalk.jobs.choose.job import Choice, run_choose
from ropewalk.jobs.choose.texts import FEWEST_OF_THREE, share_out
from ropewalk.jobs.fit import job as fit_job
from ropewalk.measure.documents import Document
from ropewalk.measure.records import Records
from ropewalk.measure.texts import library_files, read_text
from ropewalk.models.source import Source
from ropewalk.scaling.plan import make_plan

WINDOW, TARGET = 128, 256
CONFIG = read_config(bundled_model())
SPEC = read(CONFIG)
BEGUN = {"fitting": [], "choosing": []}  # what run.json says of a run that keeps documents for a fit


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sixteen texts of about 300 tokens: as few as make three sets."""
    folder = tmp_path_factory.mktemp("texts")
    long = [text for path in library_files(held_out=True) if (text := read_text(path)) and len(text) > 3000]
    for i, text in enumerate(long[:FEWEST_OF_THREE]):
        (folder / f"{i:02}.txt").write_text(text[:3000], encoding="utf-8")
    return folder


class Search:
    """Answers with a plan at once, and remembers what it was given."""

    def __init__(self, method="near-0.25-yarn", seconds=60.0, error=None):
        self.method, self.seconds, self.error, self.calls = method, seconds, error, []

    def __call__(self, given, seconds):
        self.calls.append((given, seconds))
        if self.error:
            raise self.error
        return Fitted(make_plan(given.spec, target_length=given.target, method=self.method), 12, self.seconds)


def choose(out, texts, search, readings=1.0, **given):
    asked = {"budget": 600.0, "methods": ("near-linear",), "data": (str(texts),), "retrieval": False, **given}
    fitter = Fitter(search, readings, "near-linear") if search else None
    return run_choose(Source("ropewalk-tiny", original_length=WINDOW), Choice(TARGET, **asked, fitter=fitter), out)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, texts):
    out, search = tmp_path_factory.mktemp("chosen"), Search()
    return out, search, choose(out, texts, search)


def facts_of(out):
    return json.loads((out / "run.json").read_text())


def test_a_fit_sees_no_document_that_chooses_or_is_reported_on(chosen):
    out, search, found = chosen
    facts = facts_of(out)
    sets = [{d["sha"] for d in facts[part]} for part in ("fitting", "choosing", "documents")]
    assert [len(part) for part in sets] == [4, 6, 6]
    assert len(set.union(*sets)) == 16
    ((given, _),) = search.calls
    assert {d.sha for d in given.documents} == sets[0]
    read = {r.facts["document"] for part in ("choosing", "records") for r in Records(out / part) if "document" in r.facts}
    assert read == {d["name"] for part in ("choosing", "documents") for d in facts[part]}
    assert not read & {d.name for d in given.documents}
    assert found.documents == {"choosing": 6, "reporting": 6, "fitting": 4}


def test_it_races_like_any_other_and_is_shown(chosen):
    out, search, found = chosen
    row = next(row for row in found.rows if row["plan"] == FITTED)
    assert row["rounds"] >= 3
    assert FITTED in {cells[0] for cells in found.table.rows}
    note = (
        "fitted is near-32-yarn, 12 steps of a search that took 60 s, on 4 documents that neither choose nor are reported on."
    )
    page = (out / "report.html").read_text()
    for words in (note, f'<th scope="row">{FITTED}</th>'):
        assert words in page
    said = json.loads((out / "choice.json").read_text())
    assert note in said["notes"]
    assert [row["plan"] for row in said["rows"]].count(FITTED) == 1
    assert (
        facts_of(out)["fitted"]
        == make_plan(search.calls[0][0].spec, target_length=TARGET, method="near-0.25-yarn").fingerprint
    )


def test_its_seconds_are_of_the_budget(texts, tmp_path, monkeypatch):
    """A fifth of 600 s may be taken, 60 are, and 0.55 of what is left chooses."""
    seen, whole = [], job.race
    monkeypatch.setattr(job, "race", lambda *given, **more: (seen.append(given[3]), whole(*given, **more))[1])
    search = Search()
    found = choose(tmp_path, texts, search)
    assert search.calls[0][1] == pytest.approx(120.0)
    assert seen == [pytest.approx(0.55 * 540.0)]
    assert found.seconds > 60.0


def test_a_second_run_does_not_fit_again(chosen, texts):
    out, _, found = chosen
    again = Search(error=AssertionError("fitted again"))
    assert choose(out, texts, again).to_dict() == found.to_dict()
    assert again.calls == []


def test_without_a_fit_the_documents_are_shared_as_before(texts, tmp_path):
    choose(tmp_path, texts, None)
    facts = facts_of(tmp_path)
    assert (len(facts["choosing"]), len(facts["documents"])) == (8, 8)
    assert not {"fitting", "fitted"} & {*facts}
    late = Search()
    found = choose(tmp_path, texts, late)  # all documents have been read: none is left for a fit
    assert late.calls == []
    assert any("this run was begun without documents for it" in note for note in found.notes)


def test_a_budget_without_room_says_so_and_a_larger_one_goes_on(texts, tmp_path):
    search = Search()
    small = choose(tmp_path, texts, search, readings=1e6)
    assert search.calls == []
    assert any(
        "no plan was fitted: a search takes" in note and "s have room for one (--budget)" in note for note in small.notes
    )
    assert facts_of(tmp_path)["fitted"] is None
    assert "fitting" not in small.documents
    larger = choose(tmp_path, texts, search, readings=1.0, budget=700.0)
    assert len(search.calls) == 1
    assert FITTED in {row["plan"] for row in larger.rows}
    assert facts_of(tmp_path)["fitted"]


def test_a_model_that_cannot_be_fitted_says_why_and_the_choice_goes_on(texts, tmp_path):
    search = Search(error=CannotAttach("this model has no place for it.\n  More."))
    found = choose(tmp_path, texts, search)
    assert "no plan was fitted: this model has no place for it." in found.notes
    assert FITTED not in {row["plan"] for row in found.rows}
    assert found.chosen in ("none", "near-linear")
    assert choose(tmp_path, texts, search).notes == found.notes
    assert len(search.calls) == 1  # it is not tried again


def test_a_search_that_ended_where_it_began_is_one_plan(texts, tmp_path):
    found = choose(tmp_path, texts, Search("near-linear"))
    rows = {row["plan"]: row for row in found.rows}
    assert FITTED not in rows
    assert FITTED in rows["near-linear"]["alike"]
    assert any("the search ended where it began: fitted reads as near-linear does." in note for note in found.notes)


def given_in(folder):
    return ToFit(None, None, "", SPEC, "tiny", [Document("a", (1,))] * 4, 1024, 0, folder / "fit" / "plan.json", None)


def never():
    raise AssertionError("timed again")


def test_room_is_a_fifth_of_the_budget_for_the_least_search(tmp_path):
    """148 readings of 2 s are 296 s, a fifth of 1,480."""
    for budget, made in ((1479.0, False), (1481.0, True)):
        found = fitted_plan(Fitter(Search(), 148, ""), given_in(tmp_path / str(budget)), budget, lambda: 2.0)
        assert (found.plan is not None) == made
    said = fitted_plan(Fitter(Search(), 148, ""), given_in(tmp_path / "1479.0"), 1479.0, never).note
    assert said == (
        "no plan was fitted: a search takes 5 min at least on this machine, and this budget has 5 min for it; "
        "1480s have room for one (--budget)."
    )
    assert SHARE == 0.2


def test_what_was_interrupted_is_taken_up_whatever_the_machine_does_meanwhile(tmp_path):
    given = given_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fitted_plan(Fitter(Search(error=KeyboardInterrupt()), 1, ""), given, 100.0, lambda: 1.0)
    search = Search()
    assert fitted_plan(Fitter(search, 1, ""), given, 100.0, never).plan is not None
    assert len(search.calls) == 1


def test_another_plan_in_its_place_is_refused(tmp_path):
    given, search = given_in(tmp_path), Fitter(Search(), 1, "")
    fitted_plan(search, given, 100.0, lambda: 1.0)
    given.out.write_text(make_plan(SPEC, target_length=1024, method="yarn").to_json())
    with pytest.raises(BadConfig, match="is not the plan that was fitted here"):
        fitted_plan(search, given, 100.0, never)
    assert given.out.with_name(RECORD).exists()


@pytest.mark.parametrize(("count", "sizes"), [(15, (6, 6, 3)), (16, (6, 6, 4)), (41, (16, 15, 10)), (160, (72, 72, 16))])
def test_three_sets_and_none_twice(count, sizes):
    """A quarter, and sixteen at most, are for the fit."""
    documents = [Document(str(i), (i,)) for i in range(count)]
    shares = share_out(documents, 3, fit=True)
    found = (shares.choosing, shares.reporting, shares.fitting)
    assert sorted(int(d.name) for part in found for d in part) == list(range(count))
    assert tuple(map(len, found)) == sizes
    assert share_out(documents, 3, fit=True) == shares != share_out(documents, 4, fit=True)
    assert share_out(documents, 3, fit=False).fitting == []


@pytest.mark.parametrize(
    ("documents", "engines", "names", "there", "said"),
    [
        (16, (), (), None, ""),
        (16, (), (), BEGUN, ""),
        (15, (), (), None, "three sets of texts take 16 of the target length, and there are 15"),
        (16, (), (FITTED,), None, "a plan that is given has the name fitted"),
        (16, (), (), {"choosing": []}, "this run was begun without documents for it; one in another folder (-o) has some"),
        (16, ("vllm", "llama.cpp"), (), None, "vLLM, llama.cpp cannot be given such a plan"),
    ],
)
def test_why_no_documents_are_kept_for_a_fit(documents, engines, names, there, said):
    fitter = Fitter(Search(), 1, "near-0.25-linear-log_n")
    assert why_not(fitter, documents, SPEC, 2048, CONFIG, engines, names, there) == said


def test_of_two_alike_the_one_with_a_name_that_others_know():
    plan = make_plan(SPEC, target_length=2048, method="near-0.25-linear-log_n")
    found = candidates(SPEC, 2048, CONFIG, saved={FITTED: plan})
    assert next(c for c in found if FITTED in c.alike).name == "near-0.25-linear-log_n"
    mine = candidates(SPEC, 2048, CONFIG, saved={"mine": plan})
    assert next(c for c in mine if c.plan == plan).name == "mine"


@pytest.mark.parametrize(
    ("given", "fits"),
    [({}, True), ({"methods": "yarn"}, False), ({"methods": "yarn", "fit": True}, True), ({"fit": False}, False)],
)
def test_named_methods_are_chosen_among_alone_unless_a_fit_is_asked_for(tmp_path, monkeypatch, given, fits):
    asked = []
    monkeypatch.setattr(job, "run_choose", lambda source, choice, out, progress: asked.append(choice))
    verb("ropewalk-tiny", tmp_path, to=1024, **given)
    assert (asked[0].fitter is not None) == fits


def test_a_model_with_two_kinds_of_layers_is_told_how_it_is_fitted(tmp_path):
    ((_, rope),) = SPEC.ropes
    given = replace(given_in(tmp_path), spec=replace(SPEC, ropes=(("near", rope), ("far", rope))))
    note = fitted_plan(replace(_fitter(), readings=1.0), given, 100.0, lambda: 1.0).note
    assert note == (
        "no plan was fitted: a fit moves one layer type at a time, and this model has near, far: `ropewalk fit --layers` "
        "makes such a plan, and plan (--plan) brings it in."
    )


def test_the_real_search_on_the_bundled_model(texts, tmp_path, monkeypatch):
    """At twice a window of 128 tokens: 40 s have 8 for a fit, on a slow machine too."""
    monkeypatch.setattr(fit_job, "READINGS", 1)
    given = {"to": TARGET, "original_length": WINDOW, "data": str(texts), "methods": "near-linear", "retrieval": False}
    found = ropewalk.choose("ropewalk-tiny", tmp_path, budget="40s", fit=True, **given)
    assert found.documents["fitting"] == 4
    plan = ropewalk.ScalingPlan.from_json((tmp_path / "fit" / "plan.json").read_text())
    ((_, stretch),) = plan.stretches
    assert (stretch.near > 0, stretch.log_n, stretch.dynamic.grid) == (True, True, 2)
    assert (plan.target_length, stretch.factor) == (TARGET, 2.0)
    record = json.loads((tmp_path / "fit" / RECORD).read_text())
    assert record["plan"] == plan.fingerprint
    assert record["steps"] >= 1
    assert record["seconds"] > 0
    assert [row["rounds"] > 0 for row in found.rows if row["plan"] == FITTED] == [True]
    again = ropewalk.choose("ropewalk-tiny", tmp_path, budget="40s", fit=True, **given)
    assert again.to_dict() == found.to_dict()
