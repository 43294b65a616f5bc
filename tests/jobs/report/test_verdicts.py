"""How far a method reads, and what the page says first: runs whose answer is known because they were made for it."""

import math

import numpy
import pytest

from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.loss import coarse_edges, fine_edges, found_by_length, loss, prefix_ratios, verdicts
from ropewalk.jobs.report.page import render
from ropewalk.jobs.report.run_folder import make_run
from ropewalk.measure.statistics import Interval, kind
from support.synthetic import answer, plans, reading

PLANS = plans(["none", "linear", "yarn"])
EDGES = [0, 256, 512, 1024, 2048, 4096]
DOCUMENTS = range(8)


def steps(*levels):
    """A loss of levels[i] bits per token in the bucket i."""
    return numpy.concatenate(
        [numpy.full(high - max(low, 1), level) for low, high, level in zip(EDGES, EDGES[1:], levels, strict=False)]
    )


def run(**methods):
    """Eight documents, some harder than others; a method differs from its steps by at most 0.02 bits."""
    records = []
    for name, levels in methods.items():
        wobble = numpy.random.default_rng(len(name)).uniform(-0.02, 0.02, len(DOCUMENTS))
        for d in DOCUMENTS:
            nll = (steps(*levels) + d / 4 + wobble[d]) * math.log(2)
            records.append(reading(PLANS[name], f"document {d}", nll))
    return make_run(records, {name: PLANS[name] for name in methods})


NONE = (3.0, 3.0, 4.0, 5.0, 6.0)


def asked(plan, length, hits, tries=10, task="passkey"):
    return [answer(plan, task, length, 0.5, i, float(i < hits)) for i in range(tries)]


def with_keys(keys, tries=10, task="passkey", **methods):
    """keys: method to {length: hits}."""
    plain = run(**methods)
    more = [
        one
        for name, lengths in keys.items()
        for n, hits in lengths.items()
        for one in asked(PLANS[name], n, hits, tries, task)
    ]
    return make_run([*plain.records, *more], dict(plain.plans))


def reach(made):
    return {verdict["method"]: verdict["length"] for verdict in verdicts(made)}


GOOD = (3.0, 3.0, 3.0, 2.9, 2.8)


def test_keys_that_are_lost_end_a_reading_whose_loss_is_fine():
    found = {"none": {512: 10}, "yarn": {1024: 10, 2048: 10, 4096: 0}}
    made = with_keys(found, none=NONE, yarn=GOOD)
    assert reach(made) == {"none": 512, "yarn": 2048}
    sentence = verdicts(made)[1]["sentence"]
    assert "passkey at 4,096 is found in 0% of 10, in 100% inside the trained length." in sentence
    assert "and passkey at 2,048 is found in 100% of 10." in sentence


def test_what_is_found_inside_the_window_says_nothing_of_a_length_beyond_it():
    made = with_keys({"none": {512: 10}, "yarn": {512: 10, 1024: 9, 1500: 8}}, none=NONE, yarn=GOOD)
    assert list(found_by_length(made, "yarn", EDGES)) == [1024, 2048]


def test_keys_that_are_still_found_do_not_end_it():
    assert reach(with_keys({"none": {512: 10}, "yarn": {4096: 9}}, none=NONE, yarn=GOOD))["yarn"] == 4096


def test_keys_too_few_to_tell_decide_nothing():
    """2 of 2: Wilson's interval begins at 34 %, by hand 1 / (1 + 1.96^2 / 2)."""
    made = with_keys({"none": {512: 2}, "yarn": {4096: 2}}, tries=2, none=NONE, yarn=GOOD)
    assert reach(made)["yarn"] == 2048
    assert (
        "is found in 100% of 2 (34% to 100%), too few to tell: about 4 samples would decide" in verdicts(made)[1]["sentence"]
    )


def test_a_share_below_85_of_a_hundred_of_that_inside_is_not_enough():
    """9 of 10 stands and 8 of 10 does not, against 10 of 10; against 9 of 10, 8 of 10 does: 0.85 x 0.9 = 0.765."""
    assert reach(with_keys({"none": {512: 10}, "yarn": {4096: 8}}, none=NONE, yarn=GOOD))["yarn"] == 2048
    assert reach(with_keys({"none": {512: 9}, "yarn": {4096: 8}}, none=NONE, yarn=GOOD))["yarn"] == 4096
    assert reach(with_keys({"none": {512: 100}, "yarn": {4096: 84}}, tries=100, none=NONE, yarn=GOOD))["yarn"] == 2048


def test_a_task_that_the_model_cannot_do_inside_its_window_says_nothing():
    assert reach(with_keys({"none": {512: 4}, "yarn": {4096: 0}}, none=NONE, yarn=GOOD))["yarn"] == 4096
    assert reach(with_keys({"none": {512: 5}, "yarn": {4096: 0}}, none=NONE, yarn=GOOD))["yarn"] == 2048


def test_who_was_not_asked_inside_must_find_nearly_everything():
    assert reach(with_keys({"yarn": {4096: 10}}, none=NONE, yarn=GOOD))["yarn"] == 4096
    assert reach(with_keys({"yarn": {4096: 4}}, none=NONE, yarn=GOOD))["yarn"] == 2048


def test_keys_between_two_lengths_belong_to_the_longer_one():
    assert reach(with_keys({"none": {512: 10}, "yarn": {1500: 0}}, none=NONE, yarn=GOOD))["yarn"] == 1024
    assert reach(with_keys({"none": {512: 10}, "yarn": {256: 0}}, none=NONE, yarn=GOOD))["yarn"] == 4096


def test_without_the_model_unchanged_a_method_is_measured_by_its_own_share():
    assert reach(with_keys({"yarn": {512: 6, 4096: 5}}, yarn=GOOD))["yarn"] == 2048  # 0.5 is below 0.85 x 0.6
    assert reach(with_keys({"yarn": {512: 6, 4096: 6}}, yarn=GOOD))["yarn"] == 4096
    assert reach(with_keys({"yarn": {512: 60, 4096: 60}}, tries=100, yarn=GOOD))["yarn"] == 4096


def test_the_worst_task_decides():
    made = with_keys({"none": {512: 10}, "yarn": {4096: 10}}, none=NONE, yarn=GOOD)
    needles = [*asked(PLANS["none"], 512, 10, task="needle"), *asked(PLANS["yarn"], 4096, 0, task="needle")]
    lost = make_run([*made.records, *needles], dict(made.plans))
    assert reach(lost)["yarn"] == 2048
    assert "needle at 4,096" in verdicts(lost)[1]["sentence"]


def test_four_documents_never_certify_the_model_unchanged_beyond_its_window():
    """The documentation's own run: four documents, `none` loses half a bit on average and is not significantly worse."""
    levels = (-0.6, 0.2, 0.9, 1.4)
    records = [reading(PLANS["none"], f"{d}", steps(3.0, 3.0, 3.0 + level)) for d, level in enumerate(levels)]
    (none,) = verdicts(make_run(records, {"none": PLANS["none"]}))
    assert none["length"] == 512
    assert none["worse_at"] == []
    assert "At 1,024 it is not decided" in none["sentence"]


def test_the_margin_can_be_chosen_and_is_said():
    made = run(none=NONE, yarn=(3.0, 3.0, 3.3, 3.3, 3.3))
    assert verdicts(made)[1]["length"] == 512
    wide = verdicts(made, margin=0.5)[1]
    assert (wide["length"], wide["margin"]) == (4096, 0.5)
    assert "shown to lose less than 0.5 bits" in wide["sentence"]


def lengths(**methods):
    return {verdict["method"]: verdict["length"] for verdict in verdicts(run(**methods))}


def test_edges():
    assert coarse_edges(512, 4096) == EDGES
    assert fine_edges(512, 4096)[:6] == [0, 128, 256, 384, 512, 736]
    assert fine_edges(512, 4096)[-1] == 4096
    assert fine_edges(512, 1024)[-1] == 1024


def test_the_model_unchanged_reads_as_far_as_it_was_trained():
    assert lengths(none=NONE) == {"none": 512}


def test_a_method_reads_to_where_it_is_no_longer_shown_to_be_as_good_as_the_model_was():
    assert lengths(none=NONE, yarn=(3.0, 3.0, 3.0, 2.9, 4.0)) == {"none": 512, "yarn": 2048}
    assert lengths(none=NONE, yarn=(3.0, 3.0, 3.0, 2.9, 2.8)) == {"none": 512, "yarn": 4096}


def test_a_method_that_is_evenly_bad_reads_nowhere():
    """Flat, and as good at 4,096 as at 512: but twice as bad as the model unchanged was."""
    (_, linear) = verdicts(run(none=NONE, linear=(6.0,) * 5))
    assert linear["length"] == 0
    assert linear["open"] is False
    assert linear["worse_at"] == [512, 1024, 2048, 4096]
    said = "linear is not shown to read any length tested as the unstretched model reads 512: at 512 it loses +2.999"
    assert linear["sentence"].startswith(said)


def test_a_longer_reading_does_not_hide_a_worse_shorter_one():
    """Half a bit worse at 512 and 1,024, better at 4,096."""
    (_, yarn) = verdicts(run(none=NONE, yarn=(3.5, 3.5, 3.5, 2.5, 2.5)))
    assert (yarn["length"], yarn["worse_at"]) == (0, [512, 1024])
    assert yarn["sentence"].startswith("yarn is not shown to read any length tested")
    assert "At 1,024 it is worse: +0.5" in yarn["sentence"]
    assert yarn["steps"][0]["difference"]["value"] == pytest.approx(0.5, abs=0.03)  # bits


def test_rounding_is_no_loss():
    """5e-6 bits worse in every document alike: an interval without width, and a difference that means nothing."""
    base = [reading(PLANS["none"], f"{d}", steps(*NONE) + d) for d in DOCUMENTS]
    same = [reading(PLANS["yarn"], f"{d}", steps(*(3.0 + 5e-6,) * 5) + d) for d in DOCUMENTS]
    found = verdicts(make_run(base + same, {name: PLANS[name] for name in ("none", "yarn")}))
    assert found[1]["worse_at"] == []
    assert [step["difference"]["value"] for step in found[1]["steps"]] == [0.0] * 4


def test_twice_what_rounding_may_do_is_a_difference():
    """2e-5 nats a token are 2.885e-5 bits; and on one document of eight alone, an eighth of that."""
    base = [reading(PLANS["none"], f"{d}", steps(*NONE)) for d in DOCUMENTS]
    for spoiled, share in (DOCUMENTS, 1), ([3], 1 / 8):
        same = [reading(PLANS["yarn"], f"{d}", steps(*(3.0 + 2e-5 * (d in spoiled),) * 5)) for d in DOCUMENTS]
        found = verdicts(make_run(base + same, {name: PLANS[name] for name in ("none", "yarn")}))
        values = [step["difference"]["value"] for step in found[1]["steps"]]
        assert values == pytest.approx([share * 2e-5 / math.log(2)] * 4, rel=0.02)


@pytest.mark.parametrize(("inside", "beyond", "is_open"), [("worse", "not decided", True), ("not decided", "worse", False)])
def test_more_documents_would_decide_where_the_first_length_beyond_is_not_decided(inside, beyond, is_open):
    """What was found inside the window is no answer to how far it reads."""
    levels = {"worse": [3.5] * 6, "not decided": [3.5 + shift for shift in (-2, 2, -1, 1.5, -1.5, 1)]}
    base = [reading(PLANS["none"], f"{d}", steps(*NONE)) for d in range(6)]
    other = [
        reading(PLANS["yarn"], f"{d}", steps(levels[inside][d], levels[inside][d], *[levels[beyond][d]] * 3)) for d in range(6)
    ]
    (_, yarn) = verdicts(make_run(base + other, {name: PLANS[name] for name in ("none", "yarn")}))
    assert [step["loss"] for step in yarn["steps"][:2]] == [inside, beyond]
    assert (yarn["length"], yarn["open"]) == (0, is_open)


def test_without_the_model_unchanged_a_method_is_its_own_judge():
    (yarn,) = verdicts(run(yarn=(3.0, 3.0, 3.0, 4.0, 5.0)))
    assert (yarn["length"], yarn["against"]) == (1024, "yarn")
    assert "is shown to lose less than 0.1 bits against its own at 512" in yarn["sentence"]
    (linear,) = verdicts(run(linear=(3.0, 3.0, 4.0, 5.0, 6.0)))
    assert "unstretched" not in linear["sentence"]


def test_a_difference_too_small_for_the_documents_is_called_what_it_is():
    """Where documents disagree by more than a bit, nothing is certified, and it is told what would decide."""
    base = [reading(PLANS["none"], f"{d}", steps(*NONE)) for d in range(6)]
    other = [reading(PLANS["yarn"], f"{d}", steps(*(3.5 + shift,) * 5)) for d, shift in enumerate((-2, 2, -1, 1.5, -1.5, 1))]
    (_, yarn) = verdicts(make_run(base + other, {name: PLANS[name] for name in ("none", "yarn")}))
    assert (yarn["length"], yarn["worse_at"], yarn["open"]) == (0, [], True)
    assert "At 1,024 it is not decided: " in yarn["sentence"]
    assert "documents would show whether that is less than 0.1" in yarn["sentence"]


def test_the_headline_is_the_method_that_reads_furthest_and_of_two_the_one_with_less_loss():
    made = certificate(run(none=NONE, linear=(3.0, 3.0, 3.0, 3.0, 2.9), yarn=(3.0, 3.0, 3.0, 3.0, 2.5)))
    assert made["headline"]["title"] == "ropewalk-tiny reads to 4,096 tokens"
    assert made["headline"]["method"] == "yarn"
    assert made["headline"]["times"] == 8
    assert made["headline"]["sentence"].startswith("yarn reads to 4,096 tokens")
    assert (made["tiles"][0]["label"], made["tiles"][0]["value"]) == ("reads to, with yarn", "4,096")


def test_a_run_where_nothing_reads_says_so():
    made = certificate(run(none=NONE, yarn=(6.0,) * 5))
    assert (made["headline"]["title"], made["headline"]["times"]) == ("ropewalk-tiny reads to 512 tokens", 1)


def test_rows_are_bits_and_the_lowest_of_a_column_is_marked_as_it_is_written():
    rows = loss(run(none=NONE, yarn=(3.0, 3.0, 3.0, 3.0, 2.5)))["rows"]
    assert rows["yarn"][-1]["value"] == pytest.approx(2.5 + 3.5 / 4, abs=0.02)  # documents 0 to 7 add 7 / 8 on average
    assert [cell["best"] for cell in rows["yarn"]][2:] == [True, True, True]
    assert [cell["best"] for cell in rows["none"]][2:] == [False, False, False]


def test_ratios_of_perplexity_are_paired_and_coloured_by_their_interval():
    """yarn is 3.5 bits better than none in the last stretch (2^-3.5 = 0.088), and half a bit than none where trained."""
    compared = loss(run(none=NONE, yarn=(3.0, 3.0, 3.0, 3.0, 2.5)))["compared"]
    assert [(other["method"], other["bucket"]) for other in compared["against"]] == [("none", 1), ("none", 4), ("yarn", 4)]
    trained, here, itself = compared["rows"]["yarn"]
    assert here["ratio"]["value"] == pytest.approx(2**-3.5, rel=0.03)
    assert trained["ratio"]["value"] == pytest.approx(2**-0.5, rel=0.03)
    assert (trained["kind"], here["kind"], itself) == ("better", "better", None)
    assert compared["rows"]["none"][2]["kind"] == "worse"
    assert compared["rows"]["none"][2]["ratio"]["value"] == pytest.approx(2**3.5, rel=0.03)


def test_an_interval_that_holds_1_has_no_colour():
    assert [kind(Interval(1.0, *ends), 1.0) for ends in ((0.9, 1.1), (1.01, 1.1), (0.9, 0.99))] == ["", "worse", "better"]


def test_prefix_ratios_are_means_over_all_tokens_up_to_a_length():
    """4 bits for 511 tokens, then 2 for the next 512: (511 * 4 + 512 * 2) / 1023 / 4 = 0.7498 at 1,024; documents alike."""
    records = [reading(PLANS["yarn"], name, steps(4.0, 4.0, 2.0, 2.0, 2.0)) for name in "ab"]
    found = prefix_ratios(make_run(records, {"yarn": PLANS["yarn"]}), [512, 1024])
    assert found["yarn"] == {512: 1.0, 1024: pytest.approx((511 * 4 + 512 * 2) / 1023 / 4, abs=1e-6)}


def test_one_document_has_no_interval_and_the_page_says_why():
    records = [reading(plan, "only", steps(*NONE)) for plan in PLANS.values()]
    made = certificate(make_run(records, PLANS))
    assert made["loss"]["rows"]["yarn"][0]["low"] is None
    assert made["verdicts"][0]["length"] is None
    assert made["headline"]["title"] == "ropewalk-tiny, measured to 4,096 tokens"
    assert made["headline"]["sentence"].startswith("No verdict: it needs two documents")
    page = render(made)
    assert "one document, no interval" in page
    assert "unknown to unknown" not in page
    assert "e+304" not in page


def test_marks_are_only_over_documents_that_all_have_read():
    """yarn has read one easy document of eight: its 2.5 bits are no lower loss than the other's mean."""
    made = run(none=NONE, yarn=GOOD)
    records = [r for r in made.records if r.key.method == "none" or r.facts["document"] == "document 0"]
    half = make_run(records, dict(made.plans))
    table = loss(half)
    assert not any(cell["best"] for row in table["rows"].values() for cell in row)
    assert [other["best"] for other in table["compared"]["against"]] == [False, False]
    (none, yarn) = verdicts(half)
    assert (none["length"], yarn["length"]) == (512, None)
    assert any(cell["best"] for row in loss(made)["rows"].values() for cell in row)


def test_a_tenth_of_a_nat_is_a_loss():
    """0.05 bits worse in every document, give or take a thousandth, is 0.05 bits worse: no rounding is so large."""
    base = [reading(PLANS["none"], f"{d}", steps(*NONE) * math.log(2) + d) for d in DOCUMENTS]
    other = [reading(PLANS["yarn"], f"{d}", steps(*(3.05 + (d % 3 - 1) / 1000,) * 5) * math.log(2) + d) for d in DOCUMENTS]
    (_, yarn) = verdicts(make_run(base + other, {name: PLANS[name] for name in ("none", "yarn")}))
    assert [step["difference"]["value"] for step in yarn["steps"]] == pytest.approx([0.05] * 4, abs=1e-3)
    assert yarn["length"] == 4096
    (_, yarn) = verdicts(make_run(base + other, {name: PLANS[name] for name in ("none", "yarn")}), margin=0.04)
    assert (yarn["length"], yarn["worse_at"]) == (0, [512, 1024, 2048, 4096])


def test_documents_that_only_one_side_has_read_take_no_part():
    base = [reading(PLANS["none"], f"{d}", steps(*NONE) * math.log(2)) for d in range(8)]
    other = [reading(PLANS["yarn"], f"{d}", steps(*GOOD) * math.log(2) + (100 if d > 7 else 0)) for d in range(10)]
    (_, yarn) = verdicts(make_run(base + other, {name: PLANS[name] for name in ("none", "yarn")}))
    assert yarn["steps"][-1]["difference"]["value"] == pytest.approx(-0.2, abs=1e-4)
    assert yarn["against"] == "none"


def test_a_method_is_told_from_the_window_beside_it():
    """The strongest plain rival: half a bit less in the last stretch, on the same documents."""
    from ropewalk.measure.window import WindowPlan

    plain = PLANS["none"]
    window = WindowPlan(plain.stretches, plain.target_length, plain.model, 512)
    made = run(none=NONE, yarn=GOOD)
    records = [reading(window, r.facts["document"], r.nll - 0.5 * math.log(2)) for r in made.records if r.key.method == "yarn"]
    all_ = make_run([*made.records, *records], {**made.plans, "window-512": window})
    by = {verdict["method"]: verdict for verdict in verdicts(all_)}
    assert list(by) == ["none", "window-512", "yarn"]
    assert by["window-512"]["length"] == 512
    assert by["window-512"]["sentence"].startswith("window-512 sees 512 tokens at a time")
    assert "It loses more in the last stretch than window-512" in by["yarn"]["sentence"]
    assert "(+0.500 bits, +0.500 to +0.500)" in by["yarn"]["sentence"]
    assert "window-512" not in by["none"]["sentence"]
    assert certificate(all_)["headline"]["method"] == "yarn"
    assert [other["method"] for other in loss(all_)["compared"]["against"]] == ["none", "none", "window-512"]


@pytest.mark.parametrize(("mean", "word"), [(-0.5, "less"), (-0.05, "neither less nor more"), (0.05, "neither less nor more")])
def test_less_than_the_window_is_said_only_where_the_whole_interval_says_so(mean, word):
    """Documents that differ by 0.3 bits: eight of them have an interval of about a quarter to each side."""
    from ropewalk.measure.window import WindowPlan

    plain = PLANS["none"]
    window = WindowPlan(plain.stretches, plain.target_length, plain.model, 512)
    made, shifts = run(none=NONE, yarn=GOOD), [-0.3, 0.3] * 4
    yarn = [r for r in made.records if r.key.method == "yarn"]
    records = [
        reading(window, r.facts["document"], r.nll - (mean + shift) * math.log(2))
        for r, shift in zip(yarn, shifts, strict=True)
    ]
    all_ = make_run([*made.records, *records], {**made.plans, "window-512": window})
    sentence = next(verdict["sentence"] for verdict in verdicts(all_) if verdict["method"] == "yarn")
    assert f"It loses {word} in the last stretch than window-512" in sentence
    assert f"({mean:+.3f} bits, " in sentence
