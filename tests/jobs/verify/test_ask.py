"""A process of its own may do anything; the answer is numbers, or words that say what happened."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest

from ropewalk.jobs.verify.ask import ask
from support.verifying import HERE, witness

IDS = [5, 7, 9, 11]


def asked(tmp_path, body, models=("a",), **kwargs):
    return ask(witness(tmp_path, body), HERE, [tmp_path / name for name in models], IDS, **kwargs)


def test_numbers_come_back_for_each_model_in_order(tmp_path):
    told = []
    found = asked(tmp_path, "return [float(len(model.rsplit('/', 1)[1])) * i for i in ids[1:]]", ("a", "bb"),
                  done=lambda: told.append(1))  # fmt: skip

    assert [list(answer.logprobs) for answer in found] == [[7.0, 9.0, 11.0], [14.0, 18.0, 22.0]]
    assert found[0].logprobs.dtype == numpy.float64
    assert told == [1, 1]


def test_one_model_that_fails_leaves_the_others(tmp_path):
    body = "if model.endswith('bad'):\n    raise RuntimeError('no such layer')\nreturn ids[1:]"
    bad, good = asked(tmp_path, body, ("bad", "good"))

    assert (bad.logprobs, bad.error) == (None, "RuntimeError: no such layer")
    assert list(good.logprobs) == IDS[1:]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.stderr.write('out of luck\\n'); os._exit(3)", "it ended with exit code 3:\n    out of luck"),
        ("os.kill(os.getpid(), 9)", "it ended with exit code -9"),
        ("return ids", "numbers of shape (4,); one for each of 3 tokens"),
        ("return [[1.0, 2.0, 3.0]]", "numbers of shape (1, 3)"),
        ("return ['a', 'b', 'c']", "could not convert string to float"),
        ("import ropewalk_nowhere", "No module named 'ropewalk_nowhere'"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path, body, words):
    (answer,) = asked(tmp_path, body)
    assert answer.logprobs is None
    assert words in answer.error


@pytest.mark.parametrize("forever", [math.inf, 1e12])
def test_no_time_limit_is_one_too(tmp_path, monkeypatch, forever):
    """CPython's locks wait for threading.TIMEOUT_MAX at most; a longer time is an OverflowError, and was a traceback."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    (answer,) = asked(tmp_path, "return ids[1:]", timeout=forever)

    assert list(answer.logprobs) == IDS[1:]
    assert raised == []


def test_an_engine_that_hangs_is_ended_with_its_children(tmp_path):
    body = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ntime.sleep(60)"
    )
    start = time.monotonic()
    (answer,) = asked(tmp_path, body, timeout=3.0)

    assert answer.error == "it did not answer within 3 s."
    assert time.monotonic() - start < 30
    child = int((tmp_path / "pid").read_text())
    time.sleep(0.2)
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_the_process_has_none_of_our_modules_and_is_kept_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    body = (
        "assert 'PYTHONPATH' not in os.environ and os.environ['HF_HUB_OFFLINE'] == '1'\n"
        "assert not [path for path in sys.path if path.endswith('verify')]\nreturn ids[1:]"
    )
    (answer,) = asked(tmp_path, body)
    assert answer.error == ""


def test_our_own_path_is_left_alone():
    """The worker takes its folder off the path, in its own process only."""
    code = "import sys; before = list(sys.path); import ropewalk.jobs.verify.ask; assert sys.path == before"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
