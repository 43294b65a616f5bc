"""Whose folder is it? One run goes on, another is told apart, and one process at a time writes."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import ropewalk
from ropewalk.checkpoints import runs
from ropewalk.checkpoints.runs import LOCK, one_writer
from ropewalk.errors import BadConfig, CannotWrite

SCHEMA = "ropewalk.run/1"


def settle(path, wanted, **more):
    runs.settle(path, SCHEMA, wanted, **more)


def test_the_same_request_goes_on_and_another_is_told_apart(tmp_path):
    path = tmp_path / "run" / "run.json"
    wanted = {"model": "m", "lengths": [512, 1024], "seed": 0, "depths": (0.5,)}
    settle(path, wanted)
    written = path.read_bytes()
    assert json.loads(written)["schema"] == "ropewalk.run/1"
    settle(path, dict(wanted))
    assert path.read_bytes() == written
    with pytest.raises(BadConfig) as stop:
        settle(path, {**wanted, "lengths": [512], "gap": True})
    assert "lengths: [512, 1024] there, [512] asked for" in str(stop.value)
    assert "gap: null there, true asked for" in str(stop.value)
    assert "seed" not in str(stop.value)
    assert path.read_bytes() == written


def test_names_may_differ_and_stay_as_they_are(tmp_path):
    path = tmp_path / "run.json"
    settle(path, {"model": "./m", "checkpoint": "1"})
    settle(path, {"model": "/there/m", "checkpoint": "1"}, names=("model",))
    assert json.loads(path.read_text())["model"] == "./m"
    with pytest.raises(BadConfig, match=r"differs:\n  checkpoint: "):
        settle(path, {"model": "/there/m", "checkpoint": "2"}, names=("model",))
    with pytest.raises(BadConfig, match=r"differs:\n  model: "):
        settle(path, {"model": "/there/m", "checkpoint": "1"})


def test_a_run_may_be_asked_for_more_of_what_grows_and_of_nothing_else(tmp_path):
    path, wanted = tmp_path / "run.json", {"plans": {"a": "1"}, "documents": ["x", "y"], "samples": 2, "tax": False, "seed": 0}
    grows = ("plans", "documents", "samples", "tax")
    more = {"plans": {"b": "2", "a": "1"}, "documents": ["y", "z", "x"], "samples": 3, "tax": True, "seed": 0}
    settle(path, wanted)
    for name in grows:
        with pytest.raises(BadConfig, match=rf"{name}: .* there, .* asked for\n  Ask for the same to go on"):
            settle(path, {**wanted, name: more[name]})
    settle(path, more, grows=grows, write=False)
    assert json.loads(path.read_text()) == {"schema": SCHEMA, **wanted}
    settle(path, more, grows=grows)
    assert json.loads(path.read_text()) == {"schema": SCHEMA, **more}
    for other in (
        wanted,
        {**more, "plans": {"a": "9", "b": "2"}},
        {**more, "documents": ["x", "y", "w"]},
        {**more, "seed": 1},
    ):
        with pytest.raises(BadConfig, match="or, with the rest as it is, for more, to go on"):
            settle(path, other, grows=grows)


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\0"])
def test_a_broken_run_json_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadConfig, match=r"run\.json cannot be read"):
        settle(tmp_path / "run.json", {"model": "m"})


def test_a_run_of_another_kind_is_told_apart_whatever_was_begun(tmp_path):
    settle(tmp_path / "run.json", {"seed": 0})
    with pytest.raises(BadConfig, match=r'schema: "ropewalk\.run/1" there, "ropewalk\.train/1" asked for'):
        runs.settle(tmp_path / "run.json", "ropewalk.train/1", {"seed": 0}, begun=False)
    (tmp_path / "old.json").write_text('{"seed": 0}')  # as training wrote it once
    runs.settle(tmp_path / "old.json", "ropewalk.train/1", {"seed": 0})
    with pytest.raises(BadConfig, match="seed: 0 there, 1 asked for"):
        runs.settle(tmp_path / "old.json", "ropewalk.train/1", {"seed": 1})
    runs.settle(tmp_path / "old.json", "ropewalk.train/1", {"seed": 1}, begun=False)
    assert json.loads((tmp_path / "old.json").read_text()) == {"schema": "ropewalk.train/1", "seed": 1}


def lock_of(folder, **changed):
    with one_writer(folder / LOCK):
        said = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps(said | changed))


def test_the_lock_is_there_while_it_is_held_and_names_who_holds_it(tmp_path):
    with one_writer(tmp_path / "run" / LOCK):
        said = json.loads((tmp_path / "run" / LOCK).read_text())
        assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
        with (
            pytest.raises(CannotWrite, match=rf"run is being written by another run: process {os.getpid()} on this machine"),
            one_writer(tmp_path / "run" / LOCK),
        ):
            pass
        assert (tmp_path / "run" / LOCK).exists(), "who is refused leaves it"
    assert not (tmp_path / "run" / LOCK).exists()


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_a_dead_process_left_is_taken_over(tmp_path):
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.5)  # over, and not waited for
    left = [{"pid": dead_process()}, {"pid": zombie.pid, "began": None}, {"began": "1"}, {"pid": 2**70}]
    for changed in left:  # "began": the number belongs to another process by now
        lock_of(tmp_path, **changed)
        with one_writer(tmp_path / LOCK):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    zombie.wait()
    for content in ("", "{", "[]", '{"pid": "x"}', "\0"):
        (tmp_path / LOCK).write_text(content)
        with one_writer(tmp_path / LOCK):
            pass
    assert not list(tmp_path.iterdir())


def test_of_another_machine_nobody_can_say(tmp_path):
    lock_of(tmp_path, host="elsewhere", pid=dead_process())
    with (
        pytest.raises(CannotWrite, match=rf"on elsewhere, since .*\n.*\n  If that process is gone, delete {tmp_path / LOCK}"),
        one_writer(tmp_path / LOCK),
    ):
        pass


@pytest.mark.parametrize("round_", range(20))  # who comes between whom is another each time
def test_of_many_who_find_a_dead_lock_one_gets_it(tmp_path, round_):
    lock_of(tmp_path, pid=dead_process())
    start, got = threading.Barrier(8), []

    def one():
        start.wait()
        try:
            with one_writer(tmp_path / LOCK):
                got.append(1)
                time.sleep(0.2)
        except CannotWrite:
            pass

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1]


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / LOCK, tmp_path / "file" / "below" / LOCK):
        with pytest.raises(CannotWrite, match=r"is a file|cannot be written: Not a directory"), one_writer(place):
            pass


HOLD = """
import sys, time
from pathlib import Path
from ropewalk.checkpoints.runs import LOCK, one_writer
with one_writer(Path(sys.argv[1]) / LOCK):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "args",
    [
        ["eval", "ropewalk-tiny", "--methods", "none", "--lengths", "128", "--documents", "2", "--tasks", "-", "-o"],
        ["train", "ropewalk-tiny", "--recipe", "tiny-cpu", "--preflight", "-o"],
    ],
)
def test_a_verb_refuses_a_folder_that_a_living_process_writes(tmp_path, args):
    env = {**os.environ, "PYTHONPATH": str(Path(ropewalk.__file__).parent.parent)}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        done = subprocess.run(
            [sys.executable, "-m", "ropewalk", *args, tmp_path], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert re.search(rf"is being written by another run: process {holder.pid} on this machine", done.stderr)
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    finally:
        holder.kill()
        holder.wait()
