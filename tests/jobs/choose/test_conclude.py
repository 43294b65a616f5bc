"""What is said of a choice, over a run made of arithmetic: who holds how far there is known (support/synthetic.py)."""

import math
from dataclasses import replace

import pytest

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.choose.candidates import candidates
from ropewalk.jobs.choose.conclude import conclude, outcome, runner_up, speed_ratio
from ropewalk.jobs.choose.race import Race, Reading
from ropewalk.jobs.choose.result import Asked
from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.run_folder import make_run
from support import synthetic

CONFIG = read_config(bundled_model())
FOUND = candidates(read(CONFIG), 4096, CONFIG, engines=["vllm"])  # under static names
RUN = make_run(synthetic.whole_run(), synthetic.plans())
MADE = certificate(RUN)


def raced(gaps, beaten=(), alive=None, seconds=1.0, rounds=12):
    """Plans read at these gaps, alternating by 0.002 from round to round."""
    readings = {
        name: [
            Reading(3 + gap + 0.002 * ((i + k) % 2), 0.9, seconds if name == "none" else 2 * seconds) for i in range(rounds)
        ]
        for k, (name, gap) in enumerate(gaps.items())
    }
    alive = tuple(name for name in gaps if name not in beaten) if alive is None else alive
    halved = tuple(name for name in gaps if name not in alive and name not in beaten)
    return Race(readings, alive, dict.fromkeys(beaten, alive[0]), halved, {}, (), 100.0, 40, 0.01)


def concluded(race, tmp_path, engines=(), reporting=8):
    asked = Asked("ropewalk-tiny", 4096, 512, 600.0, engines, tmp_path)
    run = RUN if reporting == 8 else make_run(synthetic.whole_run(reporting), synthetic.plans())
    made = MADE if reporting == 8 else certificate(run)
    return conclude(asked, FOUND, race, run, made, {"choosing": 12, "reporting": reporting}, ["passkey"], 300.0, [])


def test_what_holds_to_the_end_is_taken(tmp_path):
    found = concluded(raced({"yarn": 0.0, "ntk": 0.3, "none": 2.0}, beaten=("none",)), tmp_path)
    assert (found.outcome, found.chosen, found.runner_up, found.held) == ("stretch", "yarn", "ntk", 4096)
    assert found.sentence.startswith(
        "Take yarn for texts of 4,096 tokens: it is shown to hold to 4,096. On 8 documents that took"
    )
    assert "not told from ntk (95 %)" in found.sentence
    assert "read at 0.50 times the speed of no stretch" in found.sentence  # 2 s against 1 s
    assert found.times == 8


def test_where_none_holds_so_far_it_is_said_how_far_the_best_does(tmp_path):
    """ntk gives up after 2,048 tokens there, and its keys are lost."""
    found = concluded(raced({"ntk": 0.0, "yarn": 0.3, "none": 2.0}, beaten=("none", "yarn")), tmp_path)
    assert found.held == 2048
    assert found.sentence.startswith("None of these is shown to hold to 4,096 tokens; ntk, the best, holds to 2,048.")
    assert "shown to be better than every other plan read (95 %, shared among the rivals)" in found.sentence


def test_the_numbers_are_of_the_documents_that_report(tmp_path):
    """The curve of ntk lies 0.05 nats below yarn's, and from 2,048 on climbs by 1.1 an octave: 0.85 bits above in the mean."""
    found = concluded(raced({"yarn": 0.0, "ntk": 0.3, "none": 2.0}, beaten=("none",)), tmp_path)
    beyond = range(512, 4096)
    gap = sum(synthetic._curve("ntk")[i - 1] - synthetic._curve("yarn")[i - 1] for i in beyond) / len(beyond) * synthetic.NAT
    assert found.reported["ntk"]["excess"]["value"] == pytest.approx(gap, abs=0.02)
    assert found.reported["yarn"]["excess"] is None
    assert found.reported["yarn"]["inside"]["value"] == pytest.approx(0.05 * synthetic.NAT, abs=0.01)
    assert found.reported["none"]["inside"] is None
    assert found.reported["yarn"]["tries"] == 8 * (5 + 3)  # pass keys at five depths and needles at three, at 4,096


@pytest.mark.parametrize("reporting", [2, 3])
def test_two_documents_have_no_interval_of_their_bits_and_one_of_their_difference(tmp_path, reporting):
    """By Student's t with one degree of freedom it would be 12.7 standard errors wide, and reach below 0 bits."""
    found = concluded(raced({"yarn": 0.0, "ntk": 0.3, "none": 2.0}, beaten=("none",)), tmp_path, reporting=reporting)
    bits = found.reported["yarn"]["bits"]
    assert math.isinf(bits["low"]) == math.isinf(bits["high"]) == (reporting == 2)
    assert math.isfinite(found.reported["ntk"]["excess"]["low"])
    (cell,) = [row[1] for row in found.reported_table.rows if row[0] == "yarn"]
    assert ("to" in cell) == (reporting == 3)
    assert any("2 documents that report give bits without an interval" in note for note in found.notes) == (reporting == 2)


@pytest.mark.parametrize(
    ("gaps", "beaten", "said"),
    [
        ({"none": 0.0, "yarn": 0.01}, (), ("do not stretch", "none")),
        ({"yarn": 0.0, "none": 0.015}, (), ("do not stretch", "none")),  # less than 0.02 is no reason
        ({"yarn": 0.0, "none": 0.05}, (), ("stretch", "yarn")),  # not beaten, but behind by an ordinary interval
        ({"yarn": 0.0, "none": 0.01}, ("none",), ("stretch", "yarn")),
        ({"window": 0.0, "yarn": 0.01, "none": 2.0}, ("none",), ("do not stretch", "window")),
        ({"yarn": 0.0, "window": 0.019, "none": 2.0}, ("none",), ("do not stretch", "window")),
        ({"yarn": 0.0, "window": 0.03, "none": 2.0}, ("none",), ("stretch", "yarn")),
        ({"yarn": 0.0, "own": 0.01, "none": 2.0}, ("none",), ("keep what is there", "own")),
        ({"yarn": 0.0, "own": 0.01, "none": 0.01}, (), ("keep what is there", "own")),
    ],
)
def test_leaving_the_model_alone_wins_what_is_not_told(gaps, beaten, said):
    assert outcome(raced(gaps, beaten)) == said


def noisy(gap, rounds):
    """`none` behind by `gap` in the mean, and by 0.3 more or less from round to round."""
    rows = {
        "yarn": [Reading(3.0, None, 1.0)] * rounds,
        "none": [Reading(3 + gap + 0.3 * (-1) ** i, None, 1.0) for i in range(rounds)],
    }
    return Race(rows, ("yarn", "none"), {}, (), {}, (), 100.0, 40, 0.05)


def test_what_few_rounds_cannot_tell_is_not_called_a_finding(tmp_path):
    """Three rounds of 0.3 deviation say nothing of 0.02 bits: t(2) 4.3 x 0.35 / 3^(1/2) is 0.9. Rounds that are alike do."""
    found = concluded(noisy(0.1, 3), tmp_path)
    assert (found.outcome, found.chosen) == ("do not stretch", "none")
    assert found.sentence.startswith("Do not stretch yet, 3 rounds do not tell whether another is better: none of 2 plans is")
    alike = concluded(raced({"yarn": 0.0, "none": 0.001}), tmp_path)
    assert alike.sentence.startswith("Do not stretch, your documents do not need it:")


def test_too_few_rounds_for_the_test_are_not_a_tie(tmp_path):
    """`none` 5 bits behind in each of three rounds was called "not told apart": the test's first interval comes later."""
    few = concluded(raced({"yarn": 0.0, "ntk": 0.0001, "none": 5.0}, rounds=3), tmp_path)
    states = {row["plan"]: row["state"] for row in few.rows}
    assert (states["yarn"], states["ntk"], states["none"]) == ("chosen", "too few rounds", "too few rounds")
    assert (
        "Where it was chosen, 3 rounds are too few for a test that holds at every look to tell it from ntk and no stretch; by "
        "an ordinary 95 % interval it is ahead of no stretch."
    ) in few.sentence
    many = concluded(raced({"yarn": 0.0, "ntk": 0.0001, "none": 5.0}, beaten=("none",)), tmp_path)
    assert {row["plan"]: row["state"] for row in many.rows}["ntk"] == "not told apart"


def test_too_few_rounds_for_the_winner_too_where_it_is_not_taken(tmp_path):
    """`none` was kept in three rounds, and the sentence then said of it what the winner did: ahead of ntk."""
    few = concluded(raced({"yarn": 0.0, "none": 0.015, "ntk": 0.016}, rounds=3), tmp_path)
    states = {row["plan"]: row["state"] for row in few.rows}
    assert (states["none"], states["yarn"], states["ntk"]) == ("chosen", "too few rounds", "too few rounds")
    assert few.sentence.count("too few") == 1
    assert "3 rounds are too few for a test that holds at every look to tell it from yarn and ntk." in few.sentence


def test_what_was_left_out_early_is_not_called_worse(tmp_path):
    found = concluded(raced({"yarn": 0.0, "ntk": 0.3, "none": 2.0}, beaten=("none",), alive=("yarn",)), tmp_path)
    states = {row["plan"]: row["state"] for row in found.rows}
    assert states["ntk"] == "left out to save time"
    assert (states["yarn"], states["none"], states["near-linear"]) == ("chosen", "worse", "not carried by vLLM")
    assert ("ntk", "left out") in {(cells[0], cells[-1]) for cells in found.table.rows}
    assert found.table.notes[0] == "Left out: to save time, and not shown to be worse."
    assert "better than every other plan read, but for 1 left out early to save time (95 %" in found.sentence


def test_the_next_commands_name_the_plan_and_the_engines(tmp_path):
    found = concluded(raced({"yarn": 0.0, "none": 2.0}, beaten=("none",)), tmp_path, engines=("vllm", "llama.cpp"))
    assert found.commands == {
        "serve": f"ropewalk serve ropewalk-tiny --plan {tmp_path}/plan.json",
        "export": f"ropewalk export ropewalk-tiny --plan {tmp_path}/plan.json --for vllm,llama.cpp -o {tmp_path}/export",
        "train": f"ropewalk train ropewalk-tiny --method yarn --to 4096 -o {tmp_path}/train",
    }


def test_the_runner_up_is_who_came_furthest():
    """Not who was left out after a round unbeaten, and not no stretch, which is read on however badly it does."""
    gaps = {"yarn": 0.0, "ntk": 0.1, "none": 2.0, "linear": 3.0}
    race = raced(gaps, beaten=("ntk", "none"), alive=("yarn",))
    race = replace(race, readings={**race.readings, "linear": race.readings["linear"][:1]})
    assert race.ranking == ["yarn", "ntk", "none", "linear"]
    assert runner_up(race) == "ntk"
    assert runner_up(raced({"yarn": 0.0, "none": 0.1, "ntk": 0.2})) == "none"  # read to the end, and not told apart
    assert runner_up(raced({"yarn": 0.0, "none": 2.0}, beaten=("none",))) is None


def test_speed_is_of_the_rounds_that_both_read():
    race = raced({"yarn": 0.0, "none": 2.0}, seconds=3.0)
    assert speed_ratio(race, "yarn") == 0.5
    assert speed_ratio(race, "none") is None
