"""The study of how good choices are, over a pool whose truth is known: what chooses is never what judges."""

import importlib.util
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[3] / "runs" / "choose_regret.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("choose_regret", STUDY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pool(study):
    """Forty documents and as many questions of each kind, five to a haystack: `good` is 0.05 bits ahead, `bad` 2 behind."""
    gaps = {"none": 1.0, "good": 0.0, "fair": 0.05, "bad": 2.0}
    bits = {
        name: {f"d{i}": (3 + gap + 0.01 * (i * k % 7), 1.0) for i in range(40)} for k, (name, gap) in enumerate(gaps.items())
    }
    chances = {**dict.fromkeys(gaps, 0.9), "bad": 0.5}
    found = {kind: {name: {f"{kind}{i}": (chances[name], 0.5) for i in range(40)} for name in gaps} for kind in study.KINDS}
    return study.Pool(bits, found, {f"{kind}{i}": i // 5 for kind in study.KINDS for i in range(40)})


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_never_judges_by_what_it_chose_on(study, pool, seed):
    drawn = study.draw(pool, seed)
    assert not {*drawn.documents} & {*drawn.held_documents}
    assert len(drawn.documents) == len(drawn.held_documents) == 20
    for k in range(len(study.KINDS)):
        chose, judge = ({pool.haystack[turn[k]] for turn in turns} for turns in (drawn.questions, drawn.held_questions))
        assert not chose & judge
    assert study.draw(pool, seed) == drawn
    assert study.draw(pool, seed + 1) != drawn


def test_the_clock_is_what_readings_took(study, pool):
    """A round takes 1 s for the document and 0.5 s for each of two questions."""
    raced = study.choice(pool, study.draw(pool, 0), list(pool.bits), 60.0)
    assert raced.seconds == 2.0 * sum(map(len, raced.readings.values()))
    assert raced.seconds <= study.SHARE * 60.0
    assert raced.winner == "good"


def test_who_chooses_the_best_is_not_behind(study, pool):
    rows = list(study._rows(pool, list(pool.bits), 600.0))
    assert len(rows) == study.SEEDS
    for row in rows:
        assert row["chosen"] == "good"
        assert (row["bits"], row["points"], row["most"]) == (0.0, 0.0, 0.0)
        assert row["open"]
        assert row["wrong"] == 0
        assert row["worse"] >= 2  # none and bad


def test_who_chooses_another_is_behind_by_what_it_is(study, pool, monkeypatch):
    monkeypatch.setattr(study, "outcome", lambda raced: ("stretch", "bad"))
    for row in study._rows(pool, list(pool.bits), 600.0):
        assert row["bits"] == pytest.approx(2.0, abs=0.05)
        assert row["points"] == pytest.approx(40.0)  # 0.9 and 0.5
        assert row["most"] == pytest.approx(2.0 + 40 * 0.02 / 3, abs=0.05)
