"""The command line, run in this process as a person would run it."""

import sys

import pytest

from ropewalk.cli.main import main


def run(capsys, monkeypatch, *args):
    """(exit code, standard output, standard error)"""
    monkeypatch.setattr(sys, "argv", ["ropewalk", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        main()
        sys.exit(0)
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err
