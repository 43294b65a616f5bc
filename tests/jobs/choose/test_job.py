"""A choice on the bundled model, taken for one of 128 tokens: small enough to read every plan to the end."""

import json
import shutil
from types import SimpleNamespace

import numpy
import pytest

import ropewalk
from ropewalk.errors import BadConfig, BadLength, BadOption, UnknownName
from ropewalk.jobs.choose import job
from ropewalk.jobs.choose.race import LEAST
from ropewalk.jobs.choose.reader import Reader, chance_of
from ropewalk.jobs.choose.texts import questions
from ropewalk.jobs.report.page import MARK
from ropewalk.measure.anytime import random_order
from ropewalk.measure.material import Material
from ropewalk.measure.records import Key, Record, Records
from ropewalk.measure.texts import library_files, read_text
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.progress import Silent
from ropewalk.scaling.plan import ScalingPlan, make_plan

WINDOW, TARGET = 128, 256


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Six texts of about 1,500 tokens."""
    folder = tmp_path_factory.mktemp("texts")
    long = [text for path in library_files(held_out=True) if (text := read_text(path)) and len(text) > 6000]
    for i, text in enumerate(long[:6]):
        (folder / f"{i}.txt").write_text(text[:6000], encoding="utf-8")
    return folder


def choose(out, texts, **given):
    asked = {"to": TARGET, "original_length": WINDOW, "budget": "10m", "data": str(texts), "engines": "vllm", **given}
    return ropewalk.choose("ropewalk-tiny", out, **asked)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, texts):
    out = tmp_path_factory.mktemp("chosen")
    return out, choose(out, texts)


def test_what_chooses_is_not_reported_on(chosen):
    out, found = chosen
    facts = json.loads((out / "run.json").read_text())
    choosing, reporting = ({d["name"] for d in facts[part]} for part in ("choosing", "documents"))
    assert len(choosing) == len(reporting) == LEAST
    assert not choosing & reporting
    read = [{r.facts["document"] for r in Records(out / part) if "document" in r.facts} for part in ("choosing", "records")]
    assert read == [choosing, reporting]
    asked = [{r.key.item for r in Records(out / part) if "task" in r.facts} for part in ("choosing", "records")]
    assert all(asked)
    assert not asked[0] & asked[1]
    assert found.documents == {"choosing": 3, "reporting": 3}


def test_a_choice_among_fewer_than_two_leaves_no_run(tmp_path, texts):
    """It wrote run.json first, and the folder then refused every choice that could be made."""
    with pytest.raises(BadOption, match=r"needs two plans at least, and there is none alone\.\n  Name more methods"):
        choose(tmp_path, texts, methods="none")
    with pytest.raises(BadOption, match=r"there is none alone\.\n  near-linear: vLLM: (.|\n)*Name more methods"):
        choose(tmp_path, texts, methods="near-linear")
    assert not list(tmp_path.iterdir())


def test_a_reading_whose_seconds_were_lost_costs_what_most_did():
    """A process killed between a record and its line: not nothing, or the run that goes on has more time than the first."""
    reader = Reader.__new__(Reader)
    reader.seconds = {"a": 1.0, "b": 2.0, "c": 9.0}
    a, lost = (Key("m", "p", "none", "window", item, 4) for item in "ax")
    reader.seconds[a.name] = reader.seconds.pop("a")
    assert reader._took([a]) == 1.0
    assert reader._took([a, lost]) == 1.0 + 2.0


def test_the_model_that_needs_no_stretch_is_left_alone(chosen):
    """It was trained at 512 tokens, so 256 it reads as it is, whatever it is told its window were."""
    out, found = chosen
    assert (found.outcome, found.chosen, found.plan) == ("do not stretch", "none", None)
    assert found.sentence.startswith(
        "Do not stretch yet, 3 rounds do not tell whether another is better: none of 8 plans is shown to read 256 tokens"
    )
    assert not (out / "plan.json").exists()
    assert found.commands == {}
    linear = next(row for row in found.rows if row["plan"] == "linear")
    assert linear["behind"]["value"] > 1  # which slows the fast pairs, and fails at once (docs/choosing.md)


def test_who_is_not_carried_is_not_read_and_is_marked(chosen):
    out, found = chosen
    states = {row["plan"]: row["state"] for row in found.rows}
    assert states["near-linear"] == "not carried by vLLM"
    names = {record.key.method for record in Records(out / "choosing")}
    assert not any(name.startswith(("near", "dynamic")) for name in names)
    assert any(words.startswith("Not carried by vLLM: ") for words in found.table.notes)


def test_the_page_and_the_json_say_what_was_chosen(chosen):
    out, found = chosen
    page = (out / "report.html").read_text()
    assert MARK in page
    assert found.title == "ropewalk-tiny to 256 tokens: do not stretch"
    for words in (found.title, "What was tried", "not told apart", "Loss by position", "not finished"):
        assert (words in page) == (words != "not finished")
    said = json.loads((out / "choice.json").read_text())
    assert (said["schema"], said["sentence"]) == ("ropewalk.choice/1", found.sentence)
    assert said == json.loads(json.dumps(said))
    assert found.title in found._repr_html_()


class Stopping(Silent):
    """Interrupts after so many readings."""

    def __init__(self, after):
        self.after = after

    def reach(self, done):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def test_the_first_speed_that_a_process_measures_has_a_pass_before_it(tmp_path, monkeypatch):
    """Also where it is the second repeat: the first is on disk, of a process that is gone. Threads are made anew."""
    model, asked = load_model("ropewalk-tiny"), []
    plan = make_plan(read_live(model), method="yarn", target_length=1024)

    def measured(model, attached, key, facts, *, warm):
        asked.append((key.item, warm))
        return Record(key, numpy.zeros(0, numpy.float32), {**facts, "length": key.length})

    monkeypatch.setattr("ropewalk.jobs.choose.reader.measure_speed", measured)
    for repeats in ((0,), (0, 1, 2)):
        one = Reader(model, "m", "t", Material(load_tokenizer("ropewalk-tiny")), tmp_path, facts={})
        for repeat in repeats:
            one.speeds([plan], 64, repeat)
    assert asked == [("repeat-0", False), ("repeat-1", False), ("repeat-2", True)]
    other = make_plan(read_live(model), method="linear", target_length=1024)
    one.speeds([plan, other], 64, 0)  # one that is missing: both are measured, or an hour would be compared with another
    one.speeds([plan, other], 64, 0)
    assert asked[3:] == [("repeat-0", True), ("repeat-0", False)]


def test_the_chance_of_an_answer_is_that_of_all_its_tokens():
    """Two tokens of one half each: a quarter."""
    record = Record(Key("m", "p", "none", "passkey", "i", 4), numpy.log([2.0, 2.0]).astype(numpy.float32))
    assert chance_of(record) == pytest.approx(0.25)


def test_a_few_rounds_ask_at_several_depths():
    """Made depth by depth and asked in an order that is drawn: six of ten, two at each depth."""
    material = Material(load_tokenizer("ropewalk-tiny"))
    asked = [row[0].depth for row in questions(material, ["passkey"], 256, 6, 0)]
    assert asked == [(0.1, 0.3, 0.5, 0.7, 0.9)[i // 2] for i in random_order(10, 0)[:6]]
    assert len(set(asked[:3])) > 1


def test_no_question_that_chooses_is_reported_on_whatever_the_seed():
    """Keys of five digits in one text: six for either half, under two seeds that follow one another."""
    reader = SimpleNamespace(material=Material(load_tokenizer("ropewalk-tiny")))
    asked = [
        job._Job._samples(SimpleNamespace(asked=SimpleNamespace(seed=seed)), reader, ["passkey"], TARGET, 6, half=half)
        for seed in (0, 1)
        for half in (0, 1)
    ]
    keys = [sample.references[0] for rows in asked for (sample,) in rows]
    assert len(keys) == len(set(keys)) == 24


@pytest.mark.parametrize("after", [5, 27])  # while choosing, while reporting
def test_what_was_interrupted_goes_on(tmp_path, texts, chosen, after):
    first, whole = chosen
    shutil.copytree(first / "choosing", tmp_path / "choosing")
    if after > 24:
        shutil.copy(first / "run.json", tmp_path)
    else:
        for path in sorted((tmp_path / "choosing").glob("*.safetensors"))[::2]:
            path.unlink()
    with pytest.raises(KeyboardInterrupt):
        choose(tmp_path, texts, progress=Stopping(after))
    assert not (tmp_path / "report.html").exists()
    again = choose(tmp_path, texts)
    assert [(r["plan"], r["rounds"], r["bits"], r["chance"]) for r in again.rows] == [
        (r["plan"], r["rounds"], r["bits"], r["chance"]) for r in whole.rows
    ]
    assert again.reported.keys() == whole.reported.keys()


def test_a_document_that_not_all_have_read_is_not_reported(tmp_path, texts, monkeypatch):
    """A larger run was stopped while it read the third: the page then said 3 documents, and that it was not finished."""
    monkeypatch.setattr(job, "SLOWER", 1e9)  # no time for a third
    both = {"methods": "none,linear", "engines": "", "retrieval": False}
    monkeypatch.setattr(job, "REPORTED", 3)
    choose(tmp_path, texts, **both)
    third = json.loads((tmp_path / "run.json").read_text())["documents"][2]["name"]
    records = Records(tmp_path / "records")
    for key in [r.key for r in records if r.key.method == "linear" and r.facts["document"] == third]:
        records.path(key).unlink()
    monkeypatch.setattr(job, "REPORTED", 2)
    found = choose(tmp_path, texts, **both)
    assert found.documents["reporting"] == 2
    page = found.page.read_text()
    assert "This run is not finished" not in page
    assert "intervals over 2 documents" in page


def test_questions_beside_a_document_that_is_not_reported_are_not_counted(tmp_path, texts, monkeypatch):
    """Those of a third, which a larger run had begun for some plans, stood in `found` beside the two that all were asked."""
    both = {"methods": "none,linear", "engines": "", "budget": 20}
    monkeypatch.setattr(job, "SLOWER", 1e9)
    monkeypatch.setattr(job, "REPORTED", 3)
    three = choose(tmp_path, texts, **both)
    monkeypatch.setattr(job, "REPORTED", 2)
    two = choose(tmp_path, texts, **both)
    tries = [{name: row["tries"] for name, row in found.reported.items()} for found in (three, two)]
    assert set(tries[0].values()) == {3 * len(three.kinds)}
    assert set(tries[1].values()) == {2 * len(two.kinds)}


def test_a_second_run_measures_nothing(chosen, texts, monkeypatch):
    out, found = chosen
    monkeypatch.setattr("ropewalk.jobs.choose.reader.measure", lambda *given, **more: pytest.fail("measured again"))
    again = choose(out, texts)
    assert again.to_dict() == found.to_dict()


class Watching(Silent):
    def __init__(self):
        self.reached, self.said, self.stage = {}, {}, ""

    def begin(self, what, total=None, *, found=False):
        self.stage = what
        self.reached[what], self.said[what] = [], []

    def reach(self, done):
        self.reached[self.stage].append(done)

    def say(self, words):
        self.said[self.stage].append(words)


def test_a_run_that_goes_on_begins_where_it_was(chosen, texts):
    """What it found on disk it took for work done in no time, and an hour before the end about 0 s were left."""
    out, _ = chosen
    watching = Watching()
    choose(out, texts, progress=watching)
    stages = {what: reached for what, reached in watching.reached.items() if reached}
    assert [*stages] == ["choosing among 8 plans", "reporting"]
    for reached in stages.values():
        assert len(reached) > 3
        assert reached[0] == pytest.approx(max(reached), rel=0.01)


def test_a_long_reading_is_told_while_it_lasts(tmp_path, texts, monkeypatch):
    monkeypatch.setattr("ropewalk.measure.passes.LONG", 1)
    watching = Watching()
    found = choose(tmp_path, texts, methods="none,linear", engines="", retrieval=False, progress=watching)
    assert all("answer, %" not in table.columns and "found" not in table.columns for table in found.tables)
    assert "ight answer" not in found.page.read_text().partition('id="loss"')[0]
    assert "round 2, 2 plans, 50% read of a text under linear" in watching.said["choosing among 2 plans"]
    assert "document 1, 50% read of a text under none" in watching.said["reporting"]


def test_another_question_does_not_go_on_in_its_folder(chosen, texts):
    with pytest.raises(BadConfig, match="holds another run"):
        choose(chosen[0], texts, seed=1)


def only(monkeypatch, *names):
    """A field of these plans alone: reading all of them takes a minute."""
    whole = job.candidates
    monkeypatch.setattr(
        job, "candidates", lambda *given, **more: [c for c in whole(*given, **more) if {c.name, *c.alike} & {*names}]
    )


def test_a_saved_plan_can_win_and_is_written(tmp_path, texts, monkeypatch):
    """At twice the true window no stretch fails and linear fails (docs/choosing.md)."""
    only(monkeypatch, "none", "linear", "mine")
    plan = ropewalk.plan("ropewalk-tiny", to=1024, method="dynamic-yarn")
    found = choose(tmp_path, texts, plan={"mine": plan}, to=1024, original_length=None, engines="")
    assert (found.outcome, found.chosen, found.plan) == ("stretch", "mine", plan)
    assert ScalingPlan.from_json((tmp_path / "plan.json").read_text()) == plan
    assert found.commands["serve"] == f"ropewalk serve ropewalk-tiny --plan {tmp_path / 'plan.json'}"
    assert found.reported["mine"]["inside"] == pytest.approx({"value": 0, "low": 0, "high": 0}, abs=1e-6)  # it is causal
    assert found.reported["none"]["excess"]["value"] > 0.2
    assert "ropewalk-tiny to 1,024 tokens: take mine" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"to": 128}, BadLength, "there is nothing to choose"),
        ({"to": 100}, BadLength, "trained at 128"),
        ({"budget": "0s"}, BadOption, "more than 0"),
        ({"budget": "soon"}, BadOption, "Write 90s, 5m or 1h"),
        ({"engines": "vlm"}, UnknownName, "Did you mean 'vllm'"),
        ({"to": "64k"}, BadConfig, r"0 of 6 documents have 65,536 tokens.*\(--to 1024\)"),
        ({"budget": 0.01}, BadOption, r"The least that works is about \d+s"),
    ],
)
def test_bad_input_says_what_is_wrong_before_anything_is_measured(tmp_path, texts, given, error, words):
    with pytest.raises(error, match="(?s)" + words):
        choose(tmp_path / "out", texts, **given)
    assert not list((tmp_path / "out").glob("*/records/*.safetensors"))


def test_a_budget_that_turns_out_too_small_says_what_is_enough(tmp_path, texts, monkeypatch):
    """A machine that was faster when it was tried than it then is."""
    monkeypatch.setattr(job, "pace", lambda model: 0.0)
    with pytest.raises(
        BadOption, match=r"two plans cannot be told apart in that(?s:.*)The least that works is about \d+s \(--budget"
    ):
        choose(tmp_path, texts, budget=0.2)


def test_documents_within_the_window_need_no_stretch(tmp_path):
    (tmp_path / "short.txt").write_text("def f():\n    return 1\n" * 3, encoding="utf-8")
    found = choose(tmp_path / "out", tmp_path / "short.txt")
    assert (found.outcome, found.plan) == ("do not stretch", None)
    assert found.sentence == (
        "Do not stretch: your documents do not need it. None of the 1 is longer than the 128 tokens that the model was "
        "trained at."
    )


def test_a_model_that_can_be_asked_nothing_is_told_by_loss(tmp_path, texts, monkeypatch):
    monkeypatch.setattr(job, "SKILL", 1.1)  # nobody finds more than all
    found = choose(tmp_path, texts)
    assert found.kinds == ()
    assert any("loss alone decides" in note for note in found.notes)
    assert {row["chance"] for row in found.rows} == {None}
    assert not any(row["tries"] for row in found.reported.values())


def test_the_stretch_that_a_config_has_stays_where_nothing_is_better(tmp_path, texts, monkeypatch):
    only(monkeypatch, "none", "linear", "own")
    model = tmp_path / "model"
    ropewalk.extend("ropewalk-tiny", out=model, method="yarn", to=1024)
    found = ropewalk.choose(model, tmp_path / "out", to=1024, budget="10m", data=str(texts), engines="vllm", retrieval=False)
    assert (found.outcome, found.chosen, found.plan) == ("keep what is there", "own", None)
    assert found.sentence.startswith(
        "Keep the stretch that the config has: none of 3 plans is shown to read 1,024 tokens better."
    )


def test_documents_that_could_not_be_read_are_no_short_ones(tmp_path):
    """One short row, and eight long ones under another key: "your documents do not need it" was said of all."""
    rows = [{"text": "a short one"}, *({"body": f"line {i}\n" * 400} for i in range(8))]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = choose(tmp_path / "out", tmp_path / "rows.jsonl").sentence
    assert "those of your documents that could be read do not need it. None of the 1 is longer" in said
    assert "But 8 could not be read, such as " in said
    assert "rows.jsonl:2: no text under 'text' (there is: body)" in said
