"""Serve until told to stop: the engine, the application and uvicorn put together."""

import socket
from collections.abc import Callable, Sequence

import uvicorn

from ropewalk.errors import BadOption
from ropewalk.jobs.serve.answer import Answer
from ropewalk.jobs.serve.app import build_app
from ropewalk.jobs.serve.batch import Batch
from ropewalk.jobs.serve.engine import Engine
from ropewalk.jobs.serve.served import Served
from ropewalk.models.limits import available_bytes, cache_bytes

SHARE_OF_MEMORY = 0.5  # of what is free at the start, for the caches of rows that are written together
GRACE = 30  # seconds that open requests have to end when the server is told to stop


def build_engine(served: Served, *, rows: int, waiting: int) -> Engine:
    """rows: answers written together, at most.  waiting: requests in the queue, at most."""
    budget = SHARE_OF_MEMORY * available_bytes(served.model.device)

    def fits(answers: Sequence[Answer]) -> bool:
        longest = max(answer.length for answer in answers)
        return cache_bytes(served.spec, served.plan, longest, served.model.dtype, len(answers)) <= budget

    return Engine(Batch(served.model, served.attached, rows), waiting, fits)


def build_server(served: Served, engine: Engine, name: str, host: str) -> uvicorn.Server:
    app = build_app(served, engine, name, host)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE, server_header=False))


def listen(host: str, port: int) -> socket.socket:
    """An open socket; port 0 takes any that is free. Raises BadOption where it cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise BadOption(f"cannot listen on {host} port {port}: {error.strerror}. Another server may; try --port.") from None
    return opened


def serve(served: Served, name: str, host: str, port: int, *, rows: int, waiting: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. ready: told the address once connections are taken."""
    with listen(host, port) as opened:
        server = build_server(served, build_engine(served, rows=rows, waiting=waiting), name, host)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{opened.getsockname()[1]}/v1")
        server.run(sockets=[opened])
