"""The program around the app: its engine and its memory, a socket, and an end in which open requests are answered."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from ropewalk.errors import BadOption
from ropewalk.jobs.serve.answer import Answer
from ropewalk.jobs.serve.app import build_app
from ropewalk.jobs.serve.batch import DecodingBatch
from ropewalk.jobs.serve.engine import Scheduler
from ropewalk.models.limits import available_bytes, cache_bytes
from ropewalk.models.served import Served
from ropewalk.progress import SILENT, Progress

SHARE_OF_MEMORY = 0.5  # of what is free at the start, for the caches of rows that are written together
GRACE = 30  # seconds that open requests have to end when the server is told to stop


def build_engine(served: Served, *, rows: int, waiting: int, progress: Progress = SILENT) -> Scheduler:
    """rows: answers written together, at most.  waiting: requests in the queue, at most."""
    budget = SHARE_OF_MEMORY * available_bytes(served.model.device)

    def fits(answers: Sequence[Answer]) -> bool:
        longest = max(answer.length for answer in answers)
        return cache_bytes(served.spec, served.plan, longest, served.model.dtype, len(answers)) <= budget

    return Scheduler(DecodingBatch(served.model, served.attached, rows), waiting, fits, progress)


class Server(uvicorn.Server):
    """Told to stop, it takes no more requests, and those that are open get GRACE seconds; then, or when it is told a second
    time, they are answered that it is stopping, instead of being cut off."""

    def __init__(self, config: uvicorn.Config, engine: Scheduler, grace: float = GRACE):
        super().__init__(config)
        self._engine, self._grace = engine, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(self._grace, self._engine.end)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            threading.Thread(target=self._engine.end).start()  # a signal's handler must not wait for a lock
        else:
            super().handle_exit(sig, frame)


def build_server(
    served: Served, engine: Scheduler, name: str, host: str, tell: Callable[[str], None] = lambda line: None
) -> Server:
    app = build_app(served, engine, name, host, tell)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=None, server_header=False)
    return Server(config, engine)


def listen(host: str, port: int) -> socket.socket:
    """An open socket; port 0 takes any that is free. Raises BadOption where it cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise BadOption(
            f"cannot listen on {host} port {port}: {error.strerror}. Another server may; try another: port (--port)."
        ) from None
    return opened


def serve(
    served: Served, name: str, host: str, port: int, *, rows: int, waiting: int, ready: Callable[[str], None],
    progress: Progress = SILENT,
) -> None:  # fmt: skip
    """Serve until SIGINT or SIGTERM. ready: told the address once connections are taken.  progress: told of each request, and
    of each prompt that is read.
    """
    with listen(host, port) as opened:
        engine = build_engine(served, rows=rows, waiting=waiting, progress=progress)
        server = build_server(served, engine, name, host, progress.note)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{opened.getsockname()[1]}/v1")
        _run(server, opened)


def _run(server: Server, opened: socket.socket) -> None:
    """Here; beside a loop that runs already, as a notebook has one, in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        server.run(sockets=[opened])
        return
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, name="ropewalk-serve")
    thread.start()
    try:
        thread.join()
    finally:  # an interrupt comes to this thread
        server.should_exit = True
        thread.join()
