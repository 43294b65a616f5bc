"""Sections from records made by hand: other protocols, retrieval against the base model, speed ratios, provenance."""

import json

import pytest

from ropewalk.jobs.report import sections
from ropewalk.jobs.report.markdown import markdown
from ropewalk.jobs.report.provenance import provenance
from ropewalk.jobs.report.run_folder import make_run
from ropewalk.measure.protocols import CORPUS
from ropewalk.measure.statistics import Interval
from ropewalk.measure.window import WindowPlan
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch
from support.synthetic import answer, plans, reading, timed

LN2 = 0.6931471805599453
PLANS = plans(["none", "yarn"])
NONE, YARN = PLANS["none"], PLANS["yarn"]
ASKED = {
    "methods": ["none", "yarn"], "lengths": [512, 1024], "factor": None, "original_length": None,
    "protocols": ["position:0,512,1024", "prefix:2,4"], "tasks": ["needle"], "data": ["library"], "text_field": "text",
    "strict": False, "documents": 1, "samples": 20, "depths": [0.0, 0.25], "questions": {}, "gap": True,
    "ruler_compat": False, "stop_early": False, "tax": True, "speed": True, "seed": 7, "tokenizer": None, "dtype": "float32",
    "attention": "sdpa",
}  # fmt: skip
FACTS = {
    "asked": ASKED,
    "model": "org/name",
    "tokenizer_hash": "abcd",
    "lengths": [512, 1024],
    "protocols": ["position:0,512,1024", "prefix:2,4"],
    "tasks": ["needle"],
    "samples": 20,
    "depths": [0.0, 0.25],
    "gap": True,
    "seed": 7,
    "data": ["library"],
    "documents": [{"name": "a", "sha": "1", "tokens": 9}],
    "dtype": "float32",
    "versions": {"ropewalk": "0.1.0", "torch": "2.11.0"},
}


def run(*records, **facts):
    return make_run(records, PLANS, facts)


def test_perplexity_by_prefix_by_hand():
    """Tokens 1 to 3 cost 1, 2 and 3 bits: up to 2 tokens, BOS being one, perplexity is 2; up to 4 it is 2 ** 2."""
    (table,) = sections.protocols(run(reading(YARN, "a", [LN2, 2 * LN2, 3 * LN2]), protocols=["position:0,2", "prefix:2,4"]))
    assert table["protocol"] == "prefix:2,4"
    assert [table["rows"]["yarn"][line]["value"] for line in table["lines"]] == pytest.approx([2.0, 4.0])


def test_the_ends_of_an_interval_of_perplexities_are_those_of_its_bits():
    assert sections.perplexity(Interval(2.0, 1.0, 3.0)) == Interval(4.0, 2.0, 8.0)


def test_a_protocol_that_nothing_was_read_for_has_no_table():
    assert sections.protocols(run(answer(YARN, "needle", 512, 0.5, 0, 1.0), protocols=["prefix:2,4"])) == []


def test_a_cell_is_hatched_exactly_if_its_difference_from_the_base_model_may_be_0():
    """none finds 5 of 10, [0.237, 0.763]. 10 of 10 has [0.722, 1]: 0.5 is more than hypot(0.278, 0.263) = 0.383. 9 of 10 has
    [0.596, 0.982]: 0.4 is less than hypot(0.304, 0.263) = 0.402, though 0.5 lies outside."""

    def ten(plan, length, hits):
        return [answer(plan, "needle", length, 0.5, i, float(i < hits)) for i in range(10)]

    records = [*ten(NONE, 512, 5), *ten(NONE, 1024, 5), *ten(YARN, 512, 10), *ten(YARN, 1024, 9)]
    (task,) = sections.retrieval(run(*records))
    assert [cell["same"] for cell in task["grids"]["yarn"][0]] == [False, True]
    assert [cell["same"] for cell in task["grids"]["none"][0]] == [False, False]
    assert [cell["same"] for cell in task["by_length"]["yarn"]] == [False, True]


def test_a_cell_that_was_not_measured_is_none():
    records = [answer(NONE, "needle", 512, 0.0, 0, 1.0), answer(NONE, "needle", 1024, 1.0, 0, 1.0)]
    (task,) = sections.retrieval(run(*records))
    assert [[cell is not None for cell in row] for row in task["grids"]["none"]] == [[True, False], [False, True]]


def test_speed_is_shown_as_a_ratio_to_the_model_unchanged_at_the_same_length():
    records = [
        timed(NONE, 512, 0, 200.0, 50.0, 1e6),
        timed(YARN, 512, 0, 150.0, 50.0, 1e6),
        timed(YARN, 1024, 0, 100.0, 50.0, 1e6),
    ]
    prefill, *_ = sections.speed(run(*records))["tables"]
    assert prefill["rows"]["none"] == [{"value": 200.0, "ratio": None}, None]
    assert prefill["rows"]["yarn"] == [{"value": 150.0, "ratio": 0.75}, {"value": 100.0, "ratio": None}]


def test_a_quantity_that_was_nowhere_measured_has_no_table():
    record = timed(NONE, 512, 0, 200.0, 50.0, 1e6)
    record.facts["peak_bytes"] = None
    assert [table["form"] for table in sections.speed(run(record))["tables"]] == [",.0f", ",.1f"]


def test_the_ruler_section_names_the_tasks_that_are_missing():
    ruler = sections.ruler(run(*(answer(YARN, task, 512, None, 0, 1.0) for task in ("vt", "cwe"))))
    assert ruler["tasks"] == ["vt", "cwe"]  # in the order of RULER's own table
    assert len(ruler["missing_tasks"]) == 11


def test_provenance_says_the_command_that_makes_the_records_again():
    made = provenance(make_run([reading(YARN, "a", [1.0] * 9, bos=True)], PLANS, FACTS))
    assert made["commands"][0] == (
        "ropewalk eval org/name --methods none,yarn --protocols position:0,512,1024,prefix:2,4 --tasks needle "
        "--lengths 512,1024 --depths 0,0.25 --documents 1 --samples 20 --seed 7 --dtype float32 --gap -o AGAIN"
    )
    facts = dict(made["facts"])
    assert (facts["tokenizer"], facts["torch"], facts["seed"], facts["each begins with"]) == ("abcd", "2.11.0", "7", "BOS")


def test_every_stretch_of_a_plan_is_shown():
    """Gemma 3's sliding layers keep their own base; near distances and lists of numbers are part of a plan too."""
    near, lists = Rope(8, 1e4, 512), Rope(8, 1e6, 512)
    stretched = Stretch(lists, "longrope", 4.0, (("long_factor", (1.0, 2.0, 3.0, 4.0)), ("short_factor", (1.0,) * 4)))
    causal = Stretch(near, "linear", 4.0, dynamic=Dynamic("causal"), near=256)
    given = {
        "mixed": ScalingPlan((("sliding_attention", Stretch(near)), ("full_attention", stretched)), 2048),
        "same": ScalingPlan((("sliding_attention", causal), ("full_attention", causal)), 2048),
    }
    records = [reading(plan, "a", [1.0]) for plan in given.values()]
    rows = provenance(make_run(records, given, FACTS))["plans"]
    assert [(row["name"], row["factor"], row["options"]) for row in rows] == [
        ("mixed: sliding_attention", "1", "defaults"),
        ("mixed: full_attention", "4", "long_factor = 4 numbers, short_factor = 4 numbers"),
        ("same", "1 to 4", "near = 256"),
    ]


def test_the_corpus_is_no_document_of_its_own():
    """All documents in a row are read under a name of their own; what was read is still two documents."""
    records = [reading(YARN, name, [1.0, 2.0]) for name in (CORPUS, "b", "a")]
    made = provenance(run(*records))
    assert made["documents"] == ["a", "b"]
    assert dict(made["facts"])["documents"] == "2"
    assert dict(made["facts"])["records"] == "3, with 6 scored tokens"


def test_versions_that_differ_between_records_are_all_shown():
    records = [reading(YARN, "a", [1.0], torch="2.11.0"), reading(YARN, "b", [1.0], torch="2.13.0")]
    assert dict(provenance(run(*records))["facts"])["torch"] == "2.11.0, 2.13.0"


def test_every_option_that_was_not_the_usual_is_printed_and_quoted():
    """And nothing of where it ran or how fast."""
    asked = {
        **ASKED, "data": ["my texts/*.txt", "b.jsonl"], "factor": 2.0, "original_length": 256, "tokenizer": "org/tok",
        "tax": False, "speed": False, "text_field": "body", "strict": True, "questions": {"qa_1": "q.json"},
        "ruler_compat": True, "chat": True, "stop_early": True, "attention": "eager", "lengths": [], "tasks": [],
        "depths": [0.125],
    }  # fmt: skip
    (command, *_) = provenance(make_run([reading(YARN, "a", [1.0])], PLANS, {**FACTS, "asked": asked}))["commands"]
    for words in (
        "--data 'my texts/*.txt' --data b.jsonl", "--factor 2 ", "--original-length 256", "--tokenizer org/tok", "--no-tax",
        "--no-speed", "--text-field body", "--strict", "--questions qa_1=q.json", "--ruler-compat", "--chat", "--stop-early",
        "--attention eager", "--tasks -", "--depths 0.125",
    ):  # fmt: skip
        assert words in command, words
    assert "--lengths" not in command
    assert "--device" not in command


def test_a_run_without_its_request_prints_no_command_that_would_make_another():
    (said, *_) = provenance(make_run([reading(YARN, "a", [1.0])], PLANS))["commands"]
    assert said.startswith("#")
    part = {name: value for name, value in ASKED.items() if name != "depths"}
    (same, *_) = provenance(make_run([reading(YARN, "a", [1.0])], PLANS, {**FACTS, "asked": part}))["commands"]
    assert same == said


def test_a_plan_that_is_no_method_by_name_is_made_again_from_its_file():
    facts = {**FACTS, "asked": {**ASKED, "methods": []}}
    made = provenance(make_run([reading(YARN, "a", [1.0])], {"mine": YARN}, facts))
    assert "--plan RUN/plans/mine.json" in made["commands"][0]
    assert "--methods - " in made["commands"][0]


def test_numbers_of_the_command_are_those_that_were_asked_for():
    """To the last digit; a whole one without its .0."""
    for factor, said in ((1.23456789, "1.23456789"), (2.0, "2"), (1 / 3, "0.3333333333333333"), (1e7, "1e+07")):
        asked = {**ASKED, "factor": factor}
        (command, *_) = provenance(make_run([reading(YARN, "a", [1.0])], PLANS, {**FACTS, "asked": asked}))["commands"]
        assert f" --factor {said} " in command
        assert float(said) == factor


def test_a_window_is_asked_for_as_a_method_and_has_no_file():
    window = WindowPlan(NONE.stretches, NONE.target_length, NONE.model, 512)
    facts = {**FACTS, "asked": {**ASKED, "methods": ["none", "window:512"]}}
    made = provenance(make_run([reading(YARN, "a", [1.0])], {"none": NONE, "window-512": window, "mine": YARN}, facts))
    assert "--methods none,window:512 " in made["commands"][0]
    assert made["commands"][0].count("--plan") == 1
    assert "--plan RUN/plans/mine.json" in made["commands"][0]


def test_markdown_escapes_what_would_end_a_cell():
    from ropewalk.jobs.report.headline import certificate

    plan = plans(["yarn"])["yarn"]
    made = certificate(make_run([reading(plan, "a", [1.0] * 1023)], {"a|b": plan}))
    assert "| a\\|b |" in markdown(made)
    assert json.dumps(made, allow_nan=False)
