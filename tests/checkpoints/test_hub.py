"""A config from the hub without the hub's library, as the base install fetches it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ropewalk.checkpoints import hub
from ropewalk.errors import BadConfig, MissingPart


class Server(BaseHTTPRequestHandler):
    """/MODEL/resolve/main/config.json leads on to what `away` says; who asked with which key is kept in `heard`."""

    away: str
    heard: list

    def do_GET(self):
        self.heard.append((self.path, self.headers.get("Authorization")))
        if self.path.endswith("/resolve/main/config.json") and self.path.startswith("/owner/name/"):
            self.send_response(307)
            self.send_header("Location", self.away + "/stored")
            self.end_headers()
        elif self.path == "/stored":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"model_type": "llama"}).encode())
        else:
            self.send_error(404)

    def log_message(self, *_):
        pass


@contextmanager
def server(name="127.0.0.1"):
    with ThreadingHTTPServer((name, 0), type("One", (Server,), {"heard": [], "away": ""})) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://{name}:{one.server_port}", one.RequestHandlerClass
        one.shutdown()


@pytest.fixture
def light(monkeypatch):
    """The base install, and a key."""
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.mark.parametrize("same", [True, False])
def test_the_key_goes_to_the_hub_and_not_to_where_its_files_lie(light, same, monkeypatch):
    with server() as (address, handler), server() as (other, stored):
        handler.away = "" if same else other
        monkeypatch.setenv("HF_ENDPOINT", address)
        folder = hub.checkpoint("owner/name", weights=False)
        assert json.loads((folder / "config.json").read_text()) == {"model_type": "llama"}
        assert handler.heard[0] == ("/owner/name/resolve/main/config.json", "Bearer secret")
        assert [key for _, key in (handler if same else stored).heard][-1] == ("Bearer secret" if same else None)


def test_what_is_not_there_or_cannot_be_reached_is_said(light, monkeypatch):
    with server() as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadConfig, match=r"other/name .* could not be fetched from the hub: HTTPError"):
            hub.checkpoint("other/name", weights=False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(BadConfig, match="ConnectionError"):
            hub.checkpoint("owner/name", weights=False)


def test_weights_need_the_library(light):
    with pytest.raises(MissingPart, match=r"needs huggingface_hub.*ropewalk\[hub\]"):
        hub.checkpoint("owner/name")
