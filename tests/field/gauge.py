"""The field gauge: inputs rebuilt from public reports, what Ropewalk answers, and what the right answer is.

    python -m tests.field.gauge [words]      the table; exit 1 if any case is silently wrong or crashes

A case is a folder in `tests/field/cases/` with its inputs and a `case.toml`; a new folder is all that a new case needs.
`docs/field.md` says what its keys mean.
"""

import io
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

CASES = Path(__file__).parent / "cases"
VERDICTS = ("right", "refused with help", "refused", "silently wrong", "crashed")
BAD = VERDICTS[3:]
KEYS = {"source", "command", "exit", "says", "never", "json", "env"}
REFUSED = 2


@dataclass(frozen=True)
class Case:
    """folder: its inputs.  command: argv after `ropewalk`, run in a copy of the folder.  exit: 0 an answer, 1 a finding of
    doctor or verify, 2 a refusal.  says, never: texts that must, or must not, be in the output (runs of blanks count as one).
    json: dotted path in the answer to `--json` -> value.  env: environment variables.
    """

    folder: Path
    source: str
    command: list[str]
    exit: int = 0
    says: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    json: dict[str, object] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Outcome:
    """verdict: one of VERDICTS.  why: what was expected and not found; "" where it is right."""

    verdict: str
    why: str = ""
    output: str = ""


def cases(words: str = "") -> list[Case]:
    return [read(file.parent) for file in sorted(CASES.glob("*/case.toml")) if words in file.parent.name]


def read(folder: Path) -> Case:
    said = tomllib.loads((folder / "case.toml").read_text())
    if unknown := said.keys() - KEYS:
        raise ValueError(f"{folder.name}: case.toml has {', '.join(sorted(unknown))}; known are {', '.join(sorted(KEYS))}")
    case = Case(folder, **{**said, "json": _flat(said.get("json", {}))})
    if not case.source or not (case.says or case.json or case.never):
        raise ValueError(f"{folder.name}: a case names its source and what must be there; it could not fail otherwise")
    return case


def _flat(table: dict, before: str = "") -> dict[str, object]:
    """Dotted keys that are not quoted are tables to toml: both spellings are one."""
    found: dict[str, object] = {}
    for key, value in table.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def judge(case: Case) -> Outcome:
    """Run a case and compare. Never raises for what the product does."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / case.name
        shutil.copytree(case.folder, place, ignore=shutil.ignore_patterns("case.toml"))
        code, output, error = _run(case, place)
    return verdict_of(case, code, output, error)


def verdict_of(case: Case, code: int, output: str, error: str) -> Outcome:
    everything = output + error
    if "Traceback (most recent call last)" in everything or code not in (0, 1, REFUSED):
        return Outcome("crashed", f"exit code {code}", everything)
    missed = _missed(case, output, everything)
    if code == REFUSED:
        helped = case.exit == REFUSED and not missed
        return Outcome("refused with help" if helped else "refused", "; ".join(missed) or "an answer was due", everything)
    if code != case.exit:
        missed.insert(0, f"exit code {code}, not {case.exit}")
    return Outcome("silently wrong", "; ".join(missed), everything) if missed else Outcome("right", "", everything)


def _missed(case: Case, output: str, everything: str) -> list[str]:
    text = re.sub(r"\s+", " ", everything)
    missed = [f"does not say {said!r}" for said in case.says if re.sub(r"\s+", " ", said) not in text]
    missed += [f"says {said!r}" for said in case.never if re.sub(r"\s+", " ", said) in text]
    return missed + (_missed_values(case, output) if case.json else [])


def _missed_values(case: Case, output: str) -> list[str]:
    try:
        answer = json.loads(output)
    except ValueError:
        return ["--json gave no JSON"]
    missed = []
    for path, wanted in case.json.items():
        found = _at(answer, path)
        if not _same(found, wanted):
            missed.append(f"{path} is {found!r}, not {wanted!r}")
    return missed


def _at(answer: object, path: str) -> object:
    for part in path.split("."):
        if isinstance(answer, list) and part.lstrip("-").isdigit() and -len(answer) <= int(part) < len(answer):
            answer = answer[int(part)]
        elif isinstance(answer, dict) and part in answer:
            answer = answer[part]
        else:
            return f"nothing ({part!r} is not there)"
    return answer


def _same(found: object, wanted: object) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float) and not isinstance(found, bool):
        return abs(found - wanted) <= 1e-6 * max(abs(wanted), 1e-300)
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _run(case: Case, place: Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the verb, in this process."""
    from ropewalk.cli.main import main

    argv = ["ropewalk", *case.command, *(["--json"] if case.json and "--json" not in case.command else [])]
    out, err = io.StringIO(), io.StringIO()
    with _within(place, case.env), redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", argv):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
    return code, out.getvalue(), err.getvalue()


@contextmanager
def _within(place: Path, env: dict[str, str]):
    before = Path.cwd()
    os.chdir(place)
    try:
        with mock.patch.dict(os.environ, {"COLUMNS": "200", **env}):
            yield
    finally:
        os.chdir(before)


def main() -> int:
    words = sys.argv[1] if len(sys.argv) > 1 else ""
    counts = dict.fromkeys(VERDICTS, 0)
    for case in cases(words):
        outcome = judge(case)
        counts[outcome.verdict] += 1
        if outcome.verdict in (*BAD, "refused") or words:
            print(f"{case.name}: {outcome.verdict}. {outcome.why}\n  from {case.source}")
        if words:
            print(outcome.output)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return int(any(counts[verdict] for verdict in BAD))


if __name__ == "__main__":
    sys.exit(main())
