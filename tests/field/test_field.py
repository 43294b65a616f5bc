"""Every case of the field gauge, one test each; and the gauge itself, on answers that are wrong in each way."""

from pathlib import Path

import pytest

from field.gauge import Case, cases, judge, read, verdict_of


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_case(case):
    outcome = judge(case)
    wanted = "refused with help" if case.exit == 2 else "right"
    assert outcome.verdict == wanted, f"{outcome.why}\n{case.source}\n{outcome.output}"


CASE = Case(Path("a"), "somewhere", ["plan"], says=["128 pairs"], json={"spec.ropes.0.pairs": 128, "m": 1.5})
RIGHT = '{"spec": {"ropes": [{"pairs": 128}]}, "m": 1.5000000001}'


@pytest.mark.parametrize(
    ("code", "output", "error", "wanted"),
    [
        (0, RIGHT, "128   pairs", "right"),
        (0, RIGHT.replace("128", "120"), "128 pairs", "silently wrong"),
        (0, RIGHT.replace("1.5", "1.6"), "128 pairs", "silently wrong"),
        (0, RIGHT, "120 pairs", "silently wrong"),
        (0, "no JSON", "128 pairs", "silently wrong"),
        (1, RIGHT, "128 pairs", "silently wrong"),
        (2, RIGHT, "128 pairs", "refused"),
        (1, "", "Traceback (most recent call last)", "crashed"),
        (139, RIGHT, "128 pairs", "crashed"),
    ],
)
def test_verdicts(code, output, error, wanted):
    assert verdict_of(CASE, code, output, error).verdict == wanted


def test_a_refusal_counts_as_help_only_with_its_words():
    case = Case(Path("a"), "somewhere", ["plan"], exit=2, says=["the way out"], never=["not valid JSON"])
    assert verdict_of(case, 2, "", "seen, rule, the way out").verdict == "refused with help"
    assert verdict_of(case, 2, "", "no").verdict == "refused"
    assert verdict_of(case, 2, "", "not valid JSON, the way out").verdict == "refused"
    assert verdict_of(case, 0, "", "the way out").verdict == "silently wrong"


def test_a_case_that_cannot_fail_is_refused(tmp_path):
    (tmp_path / "case.toml").write_text('source = "x"\ncommand = ["plan"]\n')
    with pytest.raises(ValueError, match="could not fail"):
        read(tmp_path)
    (tmp_path / "case.toml").write_text('source = "x"\ncommand = ["plan"]\nsay = ["a"]\n')
    with pytest.raises(ValueError, match=r"case\.toml has say"):
        read(tmp_path)
