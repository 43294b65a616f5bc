"""A model served in this process, over a real socket on loopback, and the openai client of it."""

import threading
from contextlib import contextmanager

import openai

from ropewalk.jobs.serve.server import build_engine, build_server, listen
from support.serving import TINY


@contextmanager
def serving(served, rows=8, waiting=256):
    """Yields (client, engine)."""
    engine = build_engine(served, rows=rows, waiting=waiting)
    with listen("127.0.0.1", 0) as opened_socket:
        server = build_server(served, engine, TINY, "127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened_socket]})
        thread.start()
        url = f"http://127.0.0.1:{opened_socket.getsockname()[1]}/v1"
        try:
            yield openai.OpenAI(base_url=url, api_key="none", max_retries=0), engine
        finally:
            server.should_exit = True
            thread.join()
