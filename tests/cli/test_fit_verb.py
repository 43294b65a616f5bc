"""`ropewalk fit`: what it prints, what it writes, and what it says to bad input."""

import json

import pytest

from cli.test_cli import run
from ropewalk.errors import BadOption
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.units import as_seconds


def documents(folder, count, words):
    for i in range(count):
        (folder / f"{i}.txt").write_text("".join(f"word {i * k % 97} and " for k in range(words)))


def test_it_fits_own_documents_and_says_what_it_found(tmp_path, capsys, monkeypatch):
    (tmp_path / "data").mkdir()
    documents(tmp_path / "data", 6, 200)
    out = tmp_path / "plan.json"
    code, said, err = run(
        capsys, monkeypatch, "fit", "ropewalk-tiny", "--factor", "1.25", "--family", "yarn", "--data", str(tmp_path / "data"),
        "--budget", "5s", "-o", str(out), "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(said)
    assert told["documents"] == {"fit": 2, "choose": 2, "report": 2}
    assert told["winner"] == min(told["losses"], key=told["losses"].get)
    assert ScalingPlan.from_json(out.read_text()).to_dict() == told["plan"]


def test_documents_that_are_too_short(tmp_path, capsys, monkeypatch):
    documents(tmp_path, 7, 2)
    code, _, err = run(capsys, monkeypatch, "fit", "ropewalk-tiny", "--data", str(tmp_path), "-o", str(tmp_path / "plan.json"))
    assert code == 2
    assert "0 of 7 texts have 4,096 tokens, the target length" in err
    assert not (tmp_path / "plan.json").exists()


def test_near_distances_are_fitted_causally(tmp_path, capsys, monkeypatch):
    code, _, err = run(capsys, monkeypatch, "fit", "ropewalk-tiny", "--family", "near", "-o", str(tmp_path / "plan.json"))
    assert code == 2
    assert "near is searched under the causal schedule alone" in err
    assert "Add causal (--causal)" in err
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("5m", 300.0), ("1.5h", 5400.0), ("2h15m", 8100.0), ("1m30s", 90.0)]
)
def test_budgets(text, seconds):
    assert as_seconds(text) == seconds


@pytest.mark.parametrize("text", ["5", "m", "-5m", "5 m", "", "30m1h", "1h30"])
def test_what_is_not_a_time(text):
    with pytest.raises(BadOption, match=r"is not a time\. Write 90s, 5m or 1h30m"):
        as_seconds(text)
