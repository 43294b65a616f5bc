"""Run a function in several processes of one gloo group, forked from this one: half a second; torchrun takes eighteen."""

import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def run(world: int, work: Callable[..., Any], *args: Any, seconds: float = 120, may_die: bool = False) -> list[Any]:
    """What `work(*args)` returns in every process, by rank. The first exception of any of them is raised here.

    may_die: None for a process that answered nothing, in place of an error.
    """
    context = get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = context.SimpleQueue()
    processes = [context.Process(target=_one, args=(rank, world, port, results, work, args)) for rank in range(world)]
    for process in processes:
        process.start()
    found: dict[int, Any] = {}
    for process in processes:
        process.join(seconds)
    while not results.empty():
        rank, ok, value = results.get()
        if not ok:
            raise AssertionError(f"process {rank}:\n{value}")
        found[rank] = value
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
    assert not hung, "a process never ended"
    assert may_die or len(found) == world, "a process died"
    return [found.get(rank) for rank in range(world)]


def _one(rank: int, world: int, port: int, results: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    try:
        results.put((rank, True, work(*args)))
    except BaseException:
        results.put((rank, False, traceback.format_exc()))
