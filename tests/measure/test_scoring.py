"""Scores by hand, and effective length."""

import random

import pytest

from ropewalk.errors import BadOption, UnknownName
from ropewalk.measure.scoring import (
    cleaned,
    decided,
    effective_length,
    exact,
    scoring,
    string_match_all,
    string_match_part,
)


def test_string_match_all_is_the_share_that_is_found_in_any_case():
    assert string_match_all("It is ABC, and def.", ["abc", "DEF", "ghi", "jkl"]) == 0.5


def test_string_match_part_is_any_and_is_not_divided():
    """Three aliases, one found: 1.0 in NVIDIA/RULER@c3f5e3b, 0.33 in lm-eval 0.4.13."""
    assert string_match_part("in Normandy", ["Normandy", "France", "Rouen"]) == 1.0
    assert string_match_part("elsewhere", ["Normandy", "France"]) == 0.0


@pytest.mark.parametrize(("said", "right"), [(" 123. Yes", 1), ("123", 1), ("1234", 0), ("12", 0), ("a 123", 0), ("123a", 0)])
def test_exact_is_the_whole_number_first(said, right):
    assert exact(said, ["123"]) == right


def test_cleaned_as_in_the_reference():
    assert cleaned(" a\tb\x00c\n") == "a\nb\nc"
    for code in range(32):  # [\x00-\x1f] of NVIDIA/RULER's scripts/eval/evaluate.py
        assert cleaned(f"a{chr(code)}b") == "a\nb", code
    assert cleaned("a b\x7f") == "a b\x7f"


def test_generation_may_stop_once_nothing_can_change():
    assert decided("all", "a then B", ["a", "b"])
    assert not decided("all", "a then", ["a", "b"])
    assert decided("part", "a then", ["a", "b"])
    assert not decided("exact", "a", ["a"])  # "ab" would be wrong


def test_an_unknown_scoring():
    with pytest.raises(UnknownName, match="Did you mean 'exact'"):
        scoring("exakt")


def cell(right, tasks=13, n=100):
    return {f"t{i}": [1.0] * round(right * n) + [0.0] * (n - round(right * n)) for i in range(tasks)}


def test_the_absolute_definition_takes_the_longest_length_above_the_bar():
    scores = {4096: cell(0.95), 8192: cell(0.90), 16384: cell(0.86), 32768: cell(0.85), 65536: cell(0.4)}
    found = effective_length(scores)
    assert found.value == 16384
    assert found.low == 8192  # 86.0 +- 1.9 points against 85.6: nobody knows
    assert found.high in (16384, 32768)


def test_a_length_right_at_the_bar_has_not_passed_it():
    assert effective_length({4096: cell(0.856, n=1000)}, draws=10).value == 0


def test_the_relative_definition_asks_for_a_share_of_ones_own_best():
    scores = {512: cell(0.40), 1024: cell(0.38), 2048: cell(0.35), 4096: cell(0.20)}
    assert effective_length(scores).value == 0
    assert effective_length(scores, relative=0.85).value == 2048
    assert effective_length(scores, relative=0.85, base_lengths=[4096]).value == 4096


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Truth: 90 % at 1024, 80 % at 2048; the effective length is 1024. 40 samples of 2 tasks, two hundred times."""
    rng, covered = random.Random(0), 0
    for _ in range(200):
        scores = {n: {t: [float(rng.random() < p) for _ in range(40)] for t in "ab"} for n, p in [(1024, 0.9), (2048, 0.8)]}
        found = effective_length(scores, draws=200)
        covered += found.low <= 1024 <= found.high
    assert covered >= 180


def test_an_empty_cell_is_an_error():
    with pytest.raises(BadOption, match="at least one sample"):
        effective_length({1024: {"a": []}})


def test_a_model_that_can_do_nothing_has_no_relative_effective_length():
    """0 is 85 % of 0: everywhere 0 is nowhere, and its interval too."""
    found = effective_length({512: cell(0.0), 2048: cell(0.0)}, relative=0.85)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_nor_has_one_that_can_do_nothing_inside_its_window():
    scores = {512: cell(0.0), 1024: cell(0.0), 2048: cell(0.3)}
    assert effective_length(scores, relative=0.85, inside=512).value == 0
    assert effective_length(scores, relative=0.85, inside=100).value == 2048  # nothing was asked that short
    assert effective_length(scores, relative=0.85).value == 2048
    assert effective_length({512: cell(0.3), 2048: cell(0.3)}, relative=0.85, inside=512).value == 2048


def test_a_length_at_which_nothing_is_right_is_not_reached():
    assert effective_length({512: cell(0.4), 2048: cell(0.0)}, relative=0.0, inside=512).value == 512


def test_the_best_is_the_best_and_not_the_mean():
    """Own best 0.9: the bar is 0.765, which 0.75 does not reach. The mean of the three is 0.7, and its bar 0.595."""
    scores = {512: cell(0.9), 1024: cell(0.75), 2048: cell(0.45)}
    assert effective_length(scores, relative=0.85).value == 512


def test_a_length_right_at_its_own_bar_has_reached_it():
    assert effective_length({512: cell(1.0), 1024: cell(0.5)}, relative=0.5).value == 1024


def test_the_ends_are_those_of_ninety_five_of_a_hundred_draws():
    """One task, 50 samples, a share p at 2,048: a draw passes the bar of 50 % if Binomial(50, p) > 25.

    By the binomial distribution: p = 0.64 fails in 2.9 % of draws, p = 0.66 in 1.4 %; 1 - 0.36 and so on for the other end.
    So at 0.64 the lower 2.5 % end is the shorter length, and at 0.66 it is not; a 75 % interval would say 2,048 for both.
    """

    def ends(p):
        found = effective_length({1024: cell(1.0, 1, 50), 2048: cell(p, 1, 50)}, threshold=50.0, draws=20_000)
        return found.low, found.high

    assert ends(0.62) == (1024, 2048)
    assert ends(0.70) == (2048, 2048)
    assert ends(0.38) == (1024, 2048)
    assert ends(0.30) == (1024, 1024)


def test_the_mean_is_over_tasks_and_not_over_samples():
    """Ten samples of one task and ninety of another: (0 + 1) / 2 = 50 %, though 90 % of the samples are right."""
    scores = {1024: {"a": [0.0] * 10, "b": [1.0] * 90}}
    assert effective_length(scores, threshold=49.9).value == 1024
    assert effective_length(scores, threshold=50.0).value == 0


def test_samples_are_drawn_within_their_task():
    """Each task is all right or all wrong: whatever is drawn, the mean is 50 %."""
    found = effective_length({1024: {"a": [0.0] * 5, "b": [1.0] * 5}}, threshold=49.0)
    assert (found.low, found.high) == (1024, 1024)


def test_a_seed_gives_the_same_interval_and_base_lengths_must_be_tested():
    scores = {1024: cell(0.8, 2, 7), 2048: cell(0.7, 2, 7)}
    assert effective_length(scores, threshold=70, seed=3) == effective_length(scores, threshold=70, seed=3)
    with pytest.raises(BadOption, match=r"none of base_lengths was tested; tested were \[1024, 2048\]"):
        effective_length(scores, relative=0.85, base_lengths=[512])
    with pytest.raises(BadOption, match="at least one sample"):
        effective_length({})


def test_prefixes_and_line_breaks_of_answers():
    assert exact("12.5", ["12"]) == 1  # goes on with no letter and no digit
    assert exact("12_", ["12"]) == 0
    assert exact("a.c", ["a.c"]) == 1
    assert exact("abc", ["a.c"]) == 0  # a reference is text, not a pattern
    assert exact("b", ["a", "b"]) == 1
    assert exact("  12\n", [" 12 "]) == 1
    for said in ("", " ", ". no", "-"):  # begins with nothing, as everything does
        assert exact(said, [" \n", ""]) == 0
    assert string_match_all("x", ["x"]) == 1.0
    assert decided("all", "A\x00B", ["a\nb"])
    assert not decided("all", "a", [])
    assert decided("part", "a", ["a", "b"])
    assert {name: scoring(name) for name in ("all", "part", "exact")} == {
        "all": string_match_all, "part": string_match_part, "exact": exact,
    }  # fmt: skip
