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
    tells: how it does: "echo", "prompt_logprobs" as vLLM where echo is refused, "forced" as llama.cpp's server.
    ids: whether prompts may be ids.  late: echoes what it makes of each token after having read it.
    """

    def __init__(self, logprob=lambda at: -2.0, claimed=2048, reads=10**9, remembers=10**9, lie=None, wait=0.0, status=200,
                 tells="echo", ids=True, late=False):  # fmt: skip
        self.logprob, self.claimed, self.reads, self.remembers = logprob, claimed, reads, remembers
        self.lie, self.wait, self.status, self.tells, self.ids = lie, wait, status, tells, ids
        self.late, self.seen, self.vocabulary = late, [], {}

    def number(self, word):
        return self.vocabulary.setdefault(word, len(self.vocabulary))

    def spelled(self, prompt):
        return tokens_of(prompt) if isinstance(prompt, str) else [f"<{token}>" for token in prompt]

    def answer(self, path, body):
        if path == "/v1/models":
            card = {"id": "fake"} if self.tells == "forced" else {"id": "fake", "max_model_len": self.claimed}
            return 200, {"data": [card]}
        if path == "/v1/completions":
            return self.complete(body)
        if self.tells == "forced" and path in ("/props", "/tokenize", "/completion"):
            return self.llama_cpp(path, body)
        return 404, {"error": {"message": "no such path"}}

    def complete(self, body):
        prompt = body["prompt"]
        if not isinstance(prompt, str) and not self.ids:
            return 422, {"error": {"message": "prompt must be a string"}}
        if body.get("echo") and self.tells != "echo":
            return 400, {"error": {"message": "no echo here"}}
        words = self.spelled(prompt)
        if len(words) > self.reads:
            return 400, {"error": {"message": f"{len(words)} tokens are too long"}}
        key = KEY.search(prompt) if isinstance(prompt, str) else None
        text = key[1] if key and len(words) <= self.remembers else "nothing"
        choice = {"text": text, "logprobs": None}
        values = [None, *(self.logprob(at) for at in range(1, len(words)))]
        if body.get("echo") and self.logprob(1) is not None:
            best = [{f"after {word}": -ord(word[-1]) / 10} for word in words]  # what is expected depends on what is before
            choice["logprobs"] = {
                "tokens": [*words, text],
                "token_logprobs": [*values, -1.0],
                "top_logprobs": [*best, {text: -1.0}] if self.late else [None, *best],
            }
        if "prompt_logprobs" in body and self.tells == "prompt_logprobs":
            numbers = [self.number(word) for word in words] if isinstance(prompt, str) else prompt
            told = [
                {str(n): {"logprob": v, "rank": 1, "decoded_token": w}} for n, v, w in zip(numbers, values, words, strict=True)
            ]
            choice["prompt_logprobs"] = [None, *told[1:]]
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(words), "completion_tokens": 1}}

    def llama_cpp(self, path, body):
        """tools/server of llama.cpp 0c1e570: README.md, and what it answered on 2026-11-24."""
        if path == "/props":
            return 200, {"default_generation_settings": {"n_ctx": self.claimed}}
        if path == "/tokenize":
            return 200, {"tokens": [self.number(word) for word in tokens_of(body["content"])]}
        if len(body["prompt"]) >= self.reads:
            return 400, {"error": {"message": "the request exceeds the available context size"}}
        ((forced, bias),) = body["logit_bias"]
        written = {
            "id": forced if bias > 100 else 0,
            "token": "x",
            "bytes": [120],
            "logprob": self.logprob(len(body["prompt"])),
        }
        return 200, {"content": "x", "completion_probabilities": [{**written, "top_logprobs": []}]}


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
