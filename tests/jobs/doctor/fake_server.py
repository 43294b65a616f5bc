"""A server of a model that never was: words are tokens, each as likely as the test says, and every answer can be a lie."""

import json
import re
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = re.compile(r"pass key is (\d+)\. Remember")


def tokens_of(text):
    return re.findall(r"\w+|\W+", text)


class Fake:
    """logprob(position): of the token there, or None to offer none.  reads: the longest prompt that is not refused.
    remembers: the longest prompt in which a pass key is found.  lie(path, answer): bytes to send instead, or None.
    """

    def __init__(self, logprob=lambda at: -2.0, claimed=2048, reads=10**9, remembers=10**9, lie=None, wait=0.0, status=200):
        self.logprob, self.claimed, self.reads, self.remembers = logprob, claimed, reads, remembers
        self.lie, self.wait, self.status, self.seen = lie, wait, status, []

    def answer(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "fake", "max_model_len": self.claimed}]}
        if path != "/v1/completions":
            return 404, {"error": {"message": "no such path"}}
        words = tokens_of(body["prompt"])
        if len(words) > self.reads:
            return 400, {"error": {"message": f"{len(words)} tokens are too long"}}
        key = KEY.search(body["prompt"])
        text = key[1] if key and len(words) <= self.remembers else "nothing"
        choice = {"text": text, "logprobs": None}
        if body.get("echo") and self.logprob(1) is not None:
            values = [None, *(self.logprob(at) for at in range(1, len(words))), -1.0]
            choice["logprobs"] = {"tokens": [*words, text], "token_logprobs": values}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(words), "completion_tokens": 1}}


@contextmanager
def serving(fake):
    """Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._reply(None)

        def do_POST(self):
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body):
            fake.seen.append((self.path, body, dict(self.headers)))
            time.sleep(fake.wait if body else 0)
            status, answer = (fake.status, {"error": "no"}) if fake.status != 200 else fake.answer(self.path, body)
            data = (fake.lie(self.path, answer) if fake.lie else None) or json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(BrokenPipeError):  # who waited has gone
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
