"""The certificate's first lines, from what was made of a run: by hand, without a page."""

import pytest

from ropewalk.jobs.report.headline import NOT_READ, best_verdict, headline, tiles


def verdict(method, length):
    return {"method": method, "length": length, "sentence": f"{method} says."}


def loss(**last):
    """Two buckets; the last loss of each method, in bits."""
    rows = {name: [{"value": 9.0}, None if value is None else {"value": value}] for name, value in last.items()}
    return {"rows": rows, "buckets": [(0, 512), (2048, 4096)]}


def made(**parts):
    usual = {
        "model": "org/name", "longest": 4096, "original_length": 512, "methods": ["none", "yarn", "ntk"], "verdicts": [],
        "loss": None, "retrieval": [], "ruler": None, "tax": None,
    }  # fmt: skip
    found = {**usual, **parts}
    return {**found, "headline": headline(found)}


def test_the_furthest_reader_is_named_with_how_many_times_the_length_it_reads():
    head = made(verdicts=[verdict("ntk", 1024), verdict("yarn", 4096)], loss=loss(ntk=1.0, yarn=2.0))["headline"]
    assert head == {"title": "org/name reads to 4,096 tokens", "sentence": "yarn says.", "method": "yarn", "times": 8.0}


@pytest.mark.parametrize("turn", [1, -1])
def test_of_those_that_read_as_far_the_one_with_the_lowest_loss(turn):
    verdicts = [verdict("ntk", 4096), verdict("yarn", 4096), verdict("none", 4096)][::turn]
    assert best_verdict(made(verdicts=verdicts, loss=loss(ntk=2.1, yarn=2.0, none=None)))["method"] == "yarn"


def test_a_window_heads_the_page_only_where_it_is_all_there_is():
    """However far it reads and however low its loss: it stretches nothing."""
    window = verdict("window-512", 4096)
    both = loss(yarn=2.0, **{"window-512": 1.0})
    assert made(verdicts=[window, verdict("yarn", None)], loss=both)["headline"]["method"] == "yarn"
    assert made(verdicts=[window], loss=both)["headline"]["method"] == "window-512"


def test_without_a_length_the_title_says_what_was_measured():
    head = made(verdicts=[verdict("yarn", 0), verdict("ntk", None)], loss=loss(yarn=2.0, ntk=3.0))["headline"]
    assert (head["title"], head["times"], head["sentence"]) == ("org/name, measured to 4,096 tokens", None, "yarn says.")


@pytest.mark.parametrize(("methods", "method"), [(["none", "yarn", "ntk"], "yarn"), (["none", "ntk"], "ntk")])
def test_without_a_verdict_it_is_about_yarn_or_the_last(methods, method):
    head = made(methods=methods)["headline"]
    assert (head["method"], head["sentence"], head["times"]) == (method, NOT_READ, None)
    assert best_verdict(made()) is None


TASK = {
    "task": "passkey", "lengths": [512, 4096],
    "by_length": {"yarn": [{"value": 1.0, "low": 0.9, "high": 1.0, "tries": 40},
                           {"value": 0.5, "low": 0.25, "high": 0.75, "tries": 20}]},
}  # fmt: skip
RULER = {
    "threshold": 85.6, "relative": 0.85,
    "rows": {"yarn": {"absolute": {"value": 8192, "low": 0}, "relative": {"value": 16384}}},
}  # fmt: skip
TAX = {"rows": {"yarn": {"loss": {"value": 0.01}, "kl": {"value": 0.0123}}}}


def told(**parts):
    verdicts = parts.pop("verdicts", [verdict("yarn", 4096)])
    return [tuple(tile.values()) for tile in tiles(made(verdicts=verdicts, **parts))]


def test_a_tile_for_everything_that_was_measured_of_the_headlines_method():
    found = told(loss=loss(yarn=2.0, none=5.5), retrieval=[TASK, {**TASK, "task": "needle"}], ruler=RULER, tax=TAX)
    assert [label for label, _, _ in found] == [
        "reads to, with yarn", "loss at 2,048 to 4,096", "passkey at 4,096", "RULER, effective length",
        "short-context degradation",
    ]  # fmt: skip
    reach, lost, keys, length, tax = found
    assert reach[1:] == ("4,096", "tokens; trained at 512")
    assert lost[1:] == ("2.000", "bits per token; none 5.500")
    assert keys[1].rstrip(" %") == "50"
    assert keys[2].startswith("of 20; 25")
    assert length[1] == "8k"
    assert length[2] == "at 85.6; at 85 % of its own 16k"
    assert (tax[1], tax[2]) == ("+0.010", "bits per token; KL 0.0123")


def test_what_was_not_measured_of_it_has_no_tile():
    others = {"rows": {"ntk": {}}}
    by = {"ntk": TASK["by_length"]["yarn"], "yarn": [TASK["by_length"]["yarn"][0], None]}
    found = told(loss=loss(yarn=None, ntk=1.0), retrieval=[{**TASK, "by_length": by}], ruler=RULER | others, tax=others)
    assert [label for label, _, _ in found] == ["reads to, with yarn"]
    assert told(verdicts=[verdict("yarn", 0)], loss=loss(yarn=2.0)) == [("loss at 2,048 to 4,096", "2.000", "bits per token")]


def test_none_beside_itself_is_not_said_and_no_length_is_none():
    assert told(verdicts=[verdict("none", 512)], loss=loss(none=2.0))[1][2] == "bits per token"
    rows = {"yarn": {"absolute": {"value": 0, "low": 0}, "relative": {"value": 0}}}
    assert told(ruler=RULER | {"rows": rows}, loss=loss(yarn=2.0))[2][1] == "none"


def test_the_tile_of_a_choice_is_of_what_was_chosen_and_claims_no_more_than_its_sentence():
    """Where nothing beyond the window is shown or shown to fail, "reads to 512" would be no news of a stretch."""
    both = [{**verdict("yarn", 512), "worse_at": []}, {**verdict("ntk", 4096), "worse_at": []}]

    def reach():
        found = made(verdicts=both, choice={}, loss=loss(yarn=2.0, ntk=3.0))
        return tuple(tiles({**found, "headline": {**found["headline"], "method": "yarn"}})[0].values())

    assert reach() == ("reads to, with yarn", "not decided", "beyond the 512 tokens that it was trained at")
    both[0]["worse_at"] = [1024]
    assert reach() == ("reads to, with yarn", "512", "tokens; trained at 512")
    both[0] |= {"worse_at": [4096], "length": 2048}
    assert reach() == ("reads to, with yarn", "2,048", "tokens; trained at 512")
