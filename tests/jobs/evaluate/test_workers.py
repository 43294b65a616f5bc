"""Processes of one run: nobody waits for ever, and nobody is given up while it works."""

import subprocess
import sys
import threading
import time

import pytest
from torch.distributed import HashStore

from ropewalk.errors import Stopped
from ropewalk.jobs.evaluate import workers as module
from ropewalk.jobs.evaluate.workers import Workers


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.01)


def pair(silence=0.3):
    store = HashStore()
    return Workers(0, 2, store, silence), Workers(1, 2, store, silence)


def test_alone_nothing_waits():
    alone = Workers()
    alone.beat()
    alone.finish()
    alone.fail(ValueError("x"))
    assert alone.first_alone(lambda: 7) == 7
    assert alone.share([1, 2, 3]) == [1, 2, 3]


def test_shares_are_disjoint_and_complete_and_keep_groups_together():
    items = [(group, n) for n in range(5) for group in range(4)]
    three = [Workers(rank, 3, HashStore()) for rank in range(3)]
    for grouping in (None, lambda item: item[0]):
        shares = [w.share(items, grouping) for w in three]
        assert sorted(item for share in shares for item in share) == sorted(items)
        assert all(shares)
    groups = [{group for group, _ in w.share(items, lambda item: item[0])} for w in three]
    assert groups == [{0, 3}, {1}, {2}]


def test_the_first_waits_for_the_others():
    first, second = pair()
    order = []
    thread = threading.Thread(target=lambda: (time.sleep(0.1), order.append("second"), second.finish()))
    thread.start()
    first.finish()
    order.append("first")
    thread.join()
    assert order == ["second", "first"]


def test_the_others_begin_when_the_first_has_settled():
    first, second = pair()
    order = []
    thread = threading.Thread(target=lambda: second.first_alone(lambda: order.append("second")))
    thread.start()
    time.sleep(0.05)
    first.first_alone(lambda: order.append("first"))
    thread.join()
    assert order == ["first", "second"]


def test_a_silent_process_is_taken_for_dead_and_named():
    first, _ = pair(silence=0.1)
    started = time.monotonic()
    with pytest.raises(Stopped, match=r"process 1 of 2 has finished nothing for 0\.1 seconds; it is taken for dead"):
        first.finish()
    assert 0.1 <= time.monotonic() - started < 2


def test_a_slow_process_that_goes_on_is_waited_for():
    """Three times the silence in all, but never silent for long."""
    first, second = pair(silence=0.3)

    def work():
        for _ in range(9):
            time.sleep(0.1)
            second.beat()
        second.finish()

    thread = threading.Thread(target=work)
    thread.start()
    first.finish()
    thread.join()


def test_a_failure_is_told_at_once():
    first, second = pair(silence=60)
    second.fail(RuntimeError("out of ink\nand paper"))
    with pytest.raises(Stopped, match=r"process 1 of 2 failed: out of ink$"):
        first.finish()


TWO = """
import os, sys
from ropewalk.errors import Stopped
from ropewalk.jobs.evaluate.workers import workers
try:
    with workers(silence=20) as ours:
        ours.first_alone(lambda: None)
        if ours.rank == int(sys.argv[1]):
            os._exit(9)
        ours.finish()
        if not ours.is_first:
            ours._wait_for([0], "done")
except Stopped as stop:
    print(f"{ours.rank}: {stop}")
"""


def test_when_the_process_that_keeps_the_store_dies_the_others_end(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    runs = [
        subprocess.Popen([sys.executable, tmp_path / "two.py", "0"], env={**_environment(), **env, "RANK": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for rank in range(2)
    ]  # fmt: skip
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert runs[0].returncode == 9
    assert outputs[1].startswith("1: the process that keeps the run together cannot be reached")


def _free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _environment():
    import os

    return dict(os.environ)
