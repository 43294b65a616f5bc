"""Reading a run folder: order, names, what is missing, and every way in which a folder can be wrong."""

import json
from dataclasses import replace

import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.report.provenance import provenance
from ropewalk.jobs.report.run_folder import make_run, missing, read_run
from support.synthetic import answer, plans, reading, taxed, timed, write

PLANS = plans()
NONE, YARN = PLANS["none"], PLANS["yarn"]


def test_the_model_unchanged_comes_first_and_dynamic_methods_last(tmp_path):
    run = read_run(write(tmp_path, [reading(YARN, "a", [1.0])], PLANS))
    assert list(run.plans) == ["none", "linear", "ntk", "yarn", "dynamic-yarn"]
    assert (run.model, run.model_hash) == ("ropewalk-tiny", "feedfacefeedface")
    assert (run.original_length, run.target_length) == (512, 4096)


def test_a_record_is_named_by_its_plan_not_by_what_it_was_called(tmp_path):
    """Two yarns of different factors share a method's name; their files tell them apart."""
    other = plans(["yarn"], factor=4)["yarn"]
    run = make_run([reading(YARN, "a", [1.0]), reading(other, "a", [2.0])], {"yarn@8": YARN, "yarn@4": other})
    assert {r.key.method: float(r.nll[0]) for r in run.records} == {"yarn@8": 1.0, "yarn@4": 2.0}


def test_records_of_a_plan_that_is_not_there_are_left_out_and_counted():
    run = make_run([reading(YARN, "a", [1.0]), reading(NONE, "a", [1.0]), reading(NONE, "b", [1.0])], {"yarn": YARN})
    assert [r.key.method for r in run.records] == ["yarn"]
    assert run.notes == ["2 records of another plan called none were left out; its plan is not in plans/."]


@pytest.mark.parametrize("made", [(), ("records",), ("plans",)])
def test_a_folder_that_is_no_run_says_what_a_run_is(tmp_path, made):
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(BadConfig, match=r"is not a run: it needs the folders records/ and plans/.\n.*ropewalk eval"):
        read_run(tmp_path)


def test_a_run_without_records_or_plans_says_so(tmp_path):
    write(tmp_path / "no-records", [], PLANS)
    write(tmp_path / "no-plans", [reading(YARN, "a", [1.0])], {})
    with pytest.raises(BadConfig, match="nothing has been measured yet"):
        read_run(tmp_path / "no-records")
    with pytest.raises(BadConfig, match="holds no plan"):
        read_run(tmp_path / "no-plans")


def test_records_of_two_models_are_refused_and_both_are_named(tmp_path):
    folder = write(tmp_path, [reading(YARN, "a", [1.0]), reading(NONE, "a", [1.0])], PLANS)
    stranger = reading(NONE, "b", [1.0])
    other = write(tmp_path / "other", [replace(stranger, key=replace(stranger.key, model="0123456789abcdef"))], PLANS)
    for path in (other / "records").iterdir():
        path.rename(folder / "records" / path.name)
    with pytest.raises(BadConfig, match=r"2 models: feedfacefeedface \(2 records\), 0123456789abcdef \(1 record\)"):
        read_run(folder)


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    folder = write(tmp_path, [reading(YARN, "a", [1.0])], PLANS)
    (path,) = (folder / "records").iterdir()
    path.write_bytes(b"half a rec")
    with pytest.raises(BadConfig, match=path.name):
        read_run(folder)


def test_a_record_that_names_no_document_is_named():
    nameless = reading(YARN, "a", [1.0])
    del nameless.facts["document"]
    with pytest.raises(BadConfig, match=rf"{nameless.key.name}.*names no document"):
        make_run([nameless], PLANS)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_broken_run_json_is_named_and_can_be_done_without(tmp_path, text):
    folder = write(tmp_path, [reading(YARN, "a", [1.0])], PLANS)
    (folder / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadConfig, match=r"run.json.*Delete it"):
        read_run(folder)


@pytest.mark.parametrize("facts", [{"protocols": "position"}, {"tasks": 5}, {"data": None}, {"asked": []}, {"versions": 3}])
def test_a_run_json_with_another_kind_of_thing_is_named(tmp_path, facts):
    folder = write(tmp_path, [reading(YARN, "a", [1.0])], PLANS)
    (folder / "run.json").write_text(json.dumps(facts))
    (name,) = facts
    with pytest.raises(BadConfig, match=rf"run\.json: {name} is \w+, not (list|dict)\. Delete it"):
        read_run(folder)


SHAPES = [{"tasks": [["passkey"]]}, {"protocols": [5]}, *({"documents": [one]} for one in ({}, "a.txt", {"name": None}))]


@pytest.mark.parametrize("facts", SHAPES)
def test_a_run_json_whose_lists_hold_something_else_is_named(tmp_path, facts):
    folder = write(tmp_path, [reading(YARN, "a", [1.0])], PLANS)
    (folder / "run.json").write_text(json.dumps(facts))
    (name,) = facts
    with pytest.raises(BadConfig, match=rf"run\.json: {name} has one without a name\. Delete it"):
        read_run(folder)


ASKED = {"methods": None, "lengths": 512, "depths": ["deep"], "data": [5], "questions": []}


@pytest.mark.parametrize("name", ASKED)
def test_what_was_asked_for_in_another_shape_is_no_command(tmp_path, name):
    """Every other part is as `eval` writes it."""
    right = {"methods": ["none"], "protocols": [], "tasks": [], "lengths": [512], "depths": [0.5], "factor": None,
             "original_length": None, "documents": 1, "samples": 1, "seed": 0, "tokenizer": None, "dtype": "float32",
             "text_field": "text", "attention": "sdpa", "data": ["library"], "questions": {}, "tax": True,
             "speed": True}  # fmt: skip
    run = make_run([reading(YARN, "a", [1.0])], PLANS, {"model": "m", "asked": right})
    assert provenance(run)["commands"][0].startswith("ropewalk eval m --methods none")
    other = make_run([reading(YARN, "a", [1.0])], PLANS, {"model": "m", "asked": {**right, name: ASKED[name]}})
    assert provenance(other)["commands"][0] == "# run.json does not say how this run was asked for"


@pytest.mark.parametrize("text", ["{", "{}", "\xff"])
def test_a_broken_plan_is_named(tmp_path, text):
    folder = write(tmp_path, [reading(YARN, "a", [1.0])], PLANS)
    (folder / "plans" / "yarn.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadConfig, match=r"yarn\.json"):
        read_run(folder)


def test_plans_that_were_changed_after_the_run_say_so():
    with pytest.raises(BadConfig, match=r"no record in .* of 1, belongs to a plan .*none.*\n.*changed after the run"):
        make_run([reading(YARN, "a", [1.0])], {"none": NONE})


def test_a_complete_run_lacks_nothing():
    """A method may need several readings of a document (dynamic per request), and the model unchanged pays no tax."""
    records = [
        reading(NONE, "a", [1.0] * 9),
        reading(YARN, "a", [1.0] * 9),
        reading(YARN, "a", [1.0] * 4),
        taxed(YARN, "a", [1.0], [1.0], [0.0]),
        *(answer(plan, "needle", 512, 0.5, 0, 1.0) for plan in (NONE, YARN)),
        *(timed(plan, 512, 0, 1.0, 1.0, 1.0) for plan in (NONE, YARN)),
    ]
    assert missing(make_run(records, {"none": NONE, "yarn": YARN})) == []


def test_a_half_finished_run_names_what_it_lacks():
    records = [reading(NONE, name, [1.0] * 9) for name in ("a", "b", "c")] + [reading(YARN, "a", [1.0] * 9)]
    records += [answer(NONE, "needle", n, 0.5, i, 1.0) for n in (512, 1024) for i in range(2)]
    records += [answer(YARN, "needle", 512, 0.5, i, 1.0) for i in range(2)]
    assert missing(make_run(records, {"none": NONE, "yarn": YARN})) == [
        "yarn lacks 2 of 4 of needle, at 1,024 tokens",
        "yarn has not read 2 of 3 documents to the end: b, c",
    ]


def test_a_document_of_which_only_the_shorter_readings_are_there_is_not_read_to_the_end():
    """A scale for each request needs one reading for each length, the shortest first: a killed run may have those alone."""
    records = [reading(NONE, name, [1.0] * 9) for name in ("a", "b")]
    records += [reading(YARN, name, [1.0] * n) for name, n in (("a", 4), ("b", 4), ("a", 9))]
    assert missing(make_run(records, {"none": NONE, "yarn": YARN})) == ["yarn has not read 1 of 2 documents to the end: b"]


def test_what_run_json_asked_for_and_nobody_has_begun_is_missing_too():
    facts = {
        "protocols": ["position:0,512", "random_window:512,4,0"],
        "documents": [{"name": "a", "sha": "1", "tokens": 9}, {"name": "b", "sha": "2", "tokens": 9}],
        "tasks": ["needle", "vt"],
        "tax": True,  # which the model unchanged does not pay
        "speed": True,
    }
    records = [reading(NONE, "a", [1.0] * 9), answer(NONE, "needle", 512, 0.5, 0, 1.0)]
    assert missing(make_run(records, {"none": NONE}, facts)) == [
        "nothing of vt was measured yet",
        "nothing of speed was measured yet",
        "none has not read 1 of 2 documents to the end: b",
    ]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("org/name", "org/name"),
        ("/home/me/models/tiny", "tiny"),
        ("./tiny", "tiny"),
        ("~/models/tiny.gguf", "tiny.gguf"),
        ("/home/me/hub/models--org--name/snapshots/0a1b", "org/name"),
        ("ropewalk-tiny", "ropewalk-tiny"),
    ],
)
def test_a_model_is_called_by_its_name_and_not_by_where_it_is(asked, shown):
    assert make_run([reading(YARN, "a", [1.0])], PLANS, {"model": asked}).model == shown
