"""What a verb shows while it works: never silence, and a time left that forgets nothing."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import ropewalk
from ropewalk.cli.parts.progress import Bar, Estimate
from ropewalk.models.source import loading
from support.command import run

TINY = "ropewalk-tiny"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_measurements_of_half_an_hour_have_a_time_left():
    """rich's own column forgets what is older than 30 s, and said -:--:-- for as long as one measurement took longer."""
    clock = Clock()
    estimate = Estimate(10, clock=clock)
    assert estimate.left is None
    for done in range(1, 10):
        clock.now += 1800
        estimate.advance(1)
        assert estimate.left == pytest.approx(1800 * (10 - done))
    clock.now += 600
    assert estimate.left == pytest.approx(1200)  # it goes down between two measurements
    clock.now += 2000
    assert estimate.left == 0  # and not below
    estimate.advance(1)
    assert estimate.left is None


def test_all_that_was_done_counts():
    clock = Clock()
    estimate = Estimate(100, clock=clock)
    for seconds, cost in ((10, 10), (50, 10), (60, 20)):
        clock.now += seconds
        estimate.advance(cost)
    assert estimate.left == pytest.approx(60 * 120 / 40)


def test_what_was_found_on_disk_says_nothing_of_the_speed():
    clock = Clock()
    estimate = Estimate(100, found=True, clock=clock)
    clock.now += 90  # the weights are loaded
    estimate.advance(40)
    assert estimate.left is None
    for _ in range(2):
        clock.now += 1e-4
        estimate.advance(10)
    clock.now += 50
    estimate.advance(5)
    assert estimate.left == pytest.approx(35 * 10)


def test_a_bar_on_a_terminal_says_hours():
    clock, file = Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    with Bar("loading", console, clock=clock) as bar:
        bar.begin("measuring", 10)
        clock.now += 7200
        bar.advance(2)
        assert bar.rest == "20%, about 8 h 00 min left"
        bar.say("loss 2.5")
        assert bar.rest == "20%, about 8 h 00 min left, loss 2.5"
    assert "8 h 00 min left" in file.getvalue()


def test_a_file_gets_a_line_at_once_and_one_now_and_then():
    clock, file = Clock(), io.StringIO()

    def eventually(words):
        end = time.monotonic() + 10
        while words not in file.getvalue():
            assert time.monotonic() < end, file.getvalue()
            time.sleep(0.02)

    with Bar("loading x", Console(file=file), clock=clock) as bar:
        assert file.getvalue() == "loading x ...\n"
        clock.now += 11
        eventually("loading x: 11 s so far\n")
        bar.begin("measuring x", 4)
        assert file.getvalue().endswith("measuring x ...\n")
        clock.now += 3600
        bar.advance(1)
        eventually("measuring x: 25%, about 3 h 00 min left, 60 min so far\n")
        lines = file.getvalue().count("\n")
        clock.now += 30  # long runs have a line a minute, no more
        time.sleep(1.2)
        assert file.getvalue().count("\n") == lines
        clock.now += 31
        eventually("2 h 59 min left, 61 min so far\n")


def test_what_is_short_gets_no_line():
    clock, file = Clock(), io.StringIO()
    with Bar("reading a prompt", Console(file=file), after=2.0, clock=clock) as bar:
        bar.begin("reading a prompt of 9 tokens", 9)
        time.sleep(0.7)
        assert file.getvalue() == ""
        clock.now += 2
        time.sleep(0.7)
        assert file.getvalue() == "reading a prompt of 9 tokens: 0%, 2 s so far\n"


def test_one_process_of_several_shows_it(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    file = io.StringIO()
    with Bar("measuring", Console(file=file)) as bar:
        bar.begin("measuring", 10)
        bar.advance(5)
    assert file.getvalue() == ""


def test_loading_says_how_much():
    assert loading(TINY) == "loading ropewalk-tiny (10.9 MiB of weights)" or "MiB of weights)" in loading(TINY)


SLOW = """
import runpy, sys, time
import importlib.abc
class Slow(importlib.abc.MetaPathFinder):  # a loaded machine: torch takes long to import
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            time.sleep(30)
sys.meta_path.insert(0, Slow())
sys.argv = ["ropewalk", *sys.argv[1:]]
runpy.run_module("ropewalk", run_name="__main__")
"""


@pytest.mark.parametrize(
    "args",
    [
        ["generate", TINY, "--prompt", "a"], ["serve", TINY, "--port", "0"], ["eval", TINY], ["demo"],
        ["choose", TINY, "--to", "1k"],
        ["fit", TINY, "-o", "plan.json"], ["train", TINY, "--recipe", "tiny-cpu"], ["verify", TINY],
        ["doctor", "--trainer", TINY, "--rollout", "http://127.0.0.1:9"],
    ],
    ids=lambda args: args[0],
)  # fmt: skip
def test_there_is_a_line_before_anything_heavy_is_imported(args, tmp_path):
    """Also where standard error is a file."""
    env = {**os.environ, "PYTHONPATH": str(Path(ropewalk.__file__).parent.parent), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *args], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=tmp_path
    )
    os.set_blocking(process.stderr.fileno(), False)
    said, end = b"", time.monotonic() + 25
    while not said and process.poll() is None and time.monotonic() < end:
        said = process.stderr.read() or b""
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert said.strip(), "silence"
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    "verb", [["generate", "--prompt", "a"], ["eval"], ["serve"], ["fit", "-o", "plan.json"], ["choose", "--to", "1k"]]
)
def test_what_is_not_there_is_told_before_torch_is_imported(verb, tmp_path):
    (tmp_path / "empty").mkdir()
    probe = "import sys; from ropewalk.cli.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(ropewalk.__file__).parent.parent)}
    for model in ("./nowhere", "empty"):
        command = [sys.executable, "-c", probe, verb[0], model, *verb[1:]]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
        assert model.strip("./") in done.stderr


def test_verify_looks_for_the_engines_first(capsys, monkeypatch, tmp_path):
    """Nothing is read: there is no model in the folder. One that is not there is told first."""
    monkeypatch.setenv("ROPEWALK_ENGINES", str(tmp_path))
    (tmp_path / "empty").mkdir()
    code, out, _ = run(capsys, monkeypatch, "verify", tmp_path / "empty", "--engines", "vllm")
    assert code == 3
    assert "skip  vLLM is not here: neither in" in out
    code, out, _ = run(capsys, monkeypatch, "verify", tmp_path / "empty", "--engines", "vllm", "--json")
    assert code == 3
    assert '"status": "is not here"' in out
    code, _, err = run(capsys, monkeypatch, "verify", tmp_path / "none", "--engines", "vllm")
    assert code == 2
    assert "no such folder" in err
