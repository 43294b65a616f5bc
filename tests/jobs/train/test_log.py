"""The log keeps what is still true when a run goes on, and trackers get numbers."""

import json
import sys
import types

import pytest

from ropewalk.errors import MissingPart
from ropewalk.jobs.train.log import LOG, open_log, read_log


def test_lines_after_the_checkpoint_and_half_lines_go(tmp_path):
    lines = [{"stage": 0, "at": 0}, {"stage": 0, "at": 2}, {"stage": 1, "at": 2}, {"stage": 1, "at": 3}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"stage": 1, "at"'
    for before, kept in (((-1, 0), 0), ((0, 1), 1), ((0, 2), 2), ((1, 2), 3), ((1, 9), 4)):
        (tmp_path / LOG).write_text(text)
        log = open_log(tmp_path, before)
        assert read_log(tmp_path) == lines[:kept]
        log({"stage": 1, "at": 4, "loss": float("inf")})
        assert read_log(tmp_path) == [*lines[:kept], {"stage": 1, "at": 4, "loss": None}]


def test_a_tracker_gets_every_number(tmp_path, monkeypatch):
    said = []
    fake = types.SimpleNamespace(
        init=lambda project, name: said.append((project, name)), log=lambda numbers, step: said.append((step, numbers))
    )
    monkeypatch.setitem(sys.modules, "trackio", fake)
    open_log(tmp_path / "mine", (-1, 0), ["trackio"])(
        {"stage": 0, "at": 5, "loss": 1.5, "loss_by_length": {"0-16": 2.0}, "skipped": "why", "ok": True}
    )
    assert said == [("ropewalk", "mine"), (5, {"stage": 0.0, "at": 5.0, "loss": 1.5, "loss_by_length/0-16": 2.0})]


def test_a_tracker_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPart, match=r"pip install 'ropewalk\[wandb\]'"):
        open_log(tmp_path, (-1, 0), ["wandb"])
