"""Scores by hand, and effective length."""

import random

import pytest

from ropewalk.errors import BadOption, UnknownName
from ropewalk.jobs.evaluate.scoring import (
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
