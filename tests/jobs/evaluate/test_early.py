"""Stopping early in a run: after few documents where plans differ much, never where they do not; again at the same place."""

from functools import partial

import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.records import Records
from ropewalk.jobs.evaluate.request import Request
from ropewalk.jobs.evaluate.workers import Workers

small = partial(Request, "ropewalk-tiny", lengths=(256,), factor=2.0, documents=16, tax=False, speed=False, stop_early=True)


def go(out, request):
    told = []
    outcome = evaluate(out, request, lambda total, pieces, found: lambda cost: None, told.append)
    return outcome, told[-1]


def test_it_stops_where_plans_differ_much_and_goes_on_from_there(tmp_path):
    """linear without training is 3 bits worse everywhere: each of the first documents says so."""
    outcome, told = go(tmp_path, small(methods=("none", "linear")))
    read = {r.facts["document"] for r in outcome.records}
    assert 3 <= len(read) < 16
    assert told == f"every plan is told from none after {len(read)} of 16 documents; the rest is not read."
    again, same = go(tmp_path, small(methods=("none", "linear")))
    assert same == told
    assert len(list(Records(tmp_path / "records"))) == len(again.records) == 2 * len(read)


def test_it_reads_all_where_there_is_nothing_to_find(tmp_path):
    """Inside the window a causal plan is the model itself."""
    outcome, told = go(tmp_path, small(methods=("none", "linear", "dynamic-yarn")))
    assert len({r.facts["document"] for r in outcome.records}) == 16
    assert told == "16 documents were read, and not every plan is told from none."


@pytest.mark.parametrize(
    ("request_", "workers", "words"),
    [
        (small(methods=("none",)), Workers(), "name two or more methods"),
        (small(methods=("none", "yarn"), protocols=("llama.cpp:128",)), Workers(), "protocols that read documents one by one"),
        (small(methods=("none", "yarn")), Workers(0, 2), "without torchrun"),
    ],
)
def test_what_cannot_stop_early_says_why(tmp_path, request_, workers, words):
    with pytest.raises(BadOption, match=words):
        evaluate(tmp_path, request_, lambda *_: lambda cost: None, workers=workers)
    assert not any(tmp_path.iterdir())
