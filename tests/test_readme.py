"""The README says what the commands say."""

import re
import sys
from pathlib import Path

import pytest

import ropewalk
from ropewalk.cli.main import main

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def block(language: str, having: str) -> str:
    found = [body for body in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if having in body]
    assert len(found) == 1, having
    return found[0]


def test_the_python_runs_and_prints_what_it_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block("python", "attach")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == re.findall(r"# (\d+)$", code, re.MULTILINE)


def test_the_plan_block_is_what_the_command_prints(capsys, monkeypatch):
    command, _, printed = block("console", "ropewalk plan ropewalk-tiny").partition("\n")
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.rstrip() for line in printed.splitlines()] == lines


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_public_names_are_what_they_say():
    assert sorted(ropewalk.__all__) == ropewalk.__all__
    for name in ropewalk.__all__:
        assert getattr(ropewalk, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'stretch_it'"):
        ropewalk.stretch_it  # noqa: B018
