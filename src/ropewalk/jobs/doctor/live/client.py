"""JSON over HTTP to a server that may be down, slow, or lying; what goes wrong is said in our words, and the key never."""

import ipaddress
import json
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ropewalk.errors import BadAnswer, BadOption

MOST_BYTES = 2**29  # of one answer: ten times what a million prompt tokens with their log-probabilities take
BUSY = (429, 503)
LONGEST_PAUSE = 30.0  # seconds
SHOWN = 200  # characters of what a server said


class RequestRefused(BadAnswer):
    """An HTTP status other than 200."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Late(BadAnswer):
    """No answer in time."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another host would be given the prompt, and perhaps the key."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def root_of(url: str) -> str:
    """http://host:port/v1/ -> http://host:port; raises BadOption for what is not a plain http or https address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadOption(f"{url!r} is not an address: {error}.") from None
    if parts.scheme not in ("http", "https"):
        raise BadOption(f"{parts.scheme}:// is not spoken here. Give the address of a server: http://127.0.0.1:8000.")
    if not parts.hostname or parts.query or parts.fragment:
        raise BadOption(f"{url!r} is not the address of a server. Write http://HOST:PORT, such as http://127.0.0.1:8000.")
    if parts.username or parts.password:
        raise BadOption(
            "the address holds a name or password, which would be seen by others.\n"
            "  Name an environment variable that holds it: api_key_env (--api-key-env)."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}"


@dataclass(frozen=True)
class Client:
    """root: from `root_of`.  timeout: seconds for one request, all its waiting included."""

    root: str
    timeout: float = 300.0
    key: str | None = field(default=None, repr=False)

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        deadline = time.monotonic() + self.timeout
        while True:
            status, headers, answer = self._in_time(path, body, deadline)
            if status not in BUSY:
                return self._read(path, status, answer)
            pause = min(_seconds(headers.get("Retry-After")), LONGEST_PAUSE)
            if time.monotonic() + pause >= deadline:
                raise Late(f"{self.root} is busy (status {status}) and stayed so for {self.timeout:g} s. Try again later.")
            time.sleep(pause)

    def _in_time(self, path: str, body: bytes | None, deadline: float) -> tuple[int, dict[str, str], bytes]:
        """One request in a thread of its own: a server that sends a byte now and then would outlast any socket's timeout."""
        found: list[Any] = []

        def fetch() -> None:
            try:
                found.append(self._fetch(path, body))
            except Exception as error:  # carried to the thread that waits
                found.append(error)

        thread = threading.Thread(target=fetch, name="ropewalk-doctor", daemon=True)
        thread.start()
        thread.join(max(deadline - time.monotonic(), 0.0))
        if not found:
            raise self._late(path)
        if isinstance(found[0], BadAnswer):
            raise found[0]
        if isinstance(found[0], Exception):
            raise self._down(path, found[0]) from None
        whole: tuple[int, dict[str, str], bytes] = found[0]
        return whole

    def _down(self, path: str, error: Exception) -> BadAnswer:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(reason, TimeoutError) or isinstance(error, TimeoutError):
            return self._late(path)
        words = getattr(reason, "strerror", None) or str(reason)
        return BadAnswer(f"{self.root} cannot be reached: {words}. Is the server running there, and is the port right?")

    def _late(self, path: str) -> Late:
        return Late(f"{self.root}{path} gave no whole answer in {self.timeout:g} s. Is it loading? Raise timeout (--timeout).")

    def _fetch(self, path: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.root + path, data=body, headers=headers)
        handlers: list[Any] = [_NoRedirect()]
        if _is_loopback(urlsplit(self.root).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            response: Any = urllib.request.build_opener(*handlers).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            answer = response.read(MOST_BYTES + 1)
            if len(answer) > MOST_BYTES:
                raise BadAnswer(
                    f"{self.root}{path} answered more than {MOST_BYTES >> 20} MiB: no answer of this kind is so long."
                )
            return response.status, dict(response.headers), answer

    def _read(self, path: str, status: int, answer: bytes) -> Any:
        if 300 <= status < 400:
            raise RequestRefused(
                f"{self.root}{path} points elsewhere (status {status}). Give the address it points to.", status
            )
        if status in (401, 403):
            raise RequestRefused(
                f"{self.root} wants a key (status {status}). Name the environment variable that holds it: "
                "api_key_env (--api-key-env).",
                status,
            )
        if status != 200:
            raise RequestRefused(f"{self.root}{path} answered status {status}: {self._said(answer)}", status)
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise BadAnswer(
                f"{self.root}{path} did not answer with JSON but with {self._said(answer)}\n"
                "  Is it the server of a model, and not a proxy or a web page?"
            ) from None

    def _said(self, answer: bytes) -> str:
        return said(answer.replace(self.key.encode(), b"KEY") if self.key else answer)


def key_from(variable: str | None) -> str | None:
    """The key that an environment variable holds. Raises BadOption where there is none that a header could carry."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise BadOption(f"api_key_env (--api-key-env) names {variable}, and that environment variable is empty or not set.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadOption(f"what {variable} holds is no key: it has characters that a header cannot carry.")
    return key


def said(answer: bytes) -> str:
    """The message of an error in any of the servers' shapes, or the first characters; nothing that steers a terminal."""
    text = answer.decode("utf-8", "replace")
    try:
        data = json.loads(text)
        inner = data.get("error", data) if isinstance(data, dict) else data
        text = inner.get("message") or inner.get("detail") or text if isinstance(inner, dict) else str(inner)
    except (ValueError, RecursionError):
        pass
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return repr(words[:SHOWN] + ("..." if len(words) > SHOWN else "")) if words else "nothing"


def _seconds(text: str | None) -> float:
    try:
        return max(float(text or 1), 0.1)
    except ValueError:
        return 1.0


def _is_loopback(host: str) -> bool:
    """A proxy is not asked for what is on this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
