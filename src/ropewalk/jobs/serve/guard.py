"""What stands before the application: no body larger than any request needs is kept, every request leaves a line, and one that
fails is answered, as what gets past the application closes the connection, and with it the client's next request.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from ropewalk.jobs.serve.requests import TOLD, error_response

log = logging.getLogger("ropewalk.serve")
DRAINED = 2**28  # bytes of a body that is refused, read and thrown away so that its sender hears why


class Guard:
    """most: bytes of a body.  tell: called with one line for each request that is done.  words: for a failure."""

    def __init__(self, app: Any, most: int, tell: Callable[[str], None], words: Callable[[Exception], str]):
        self.app, self.most, self.tell, self.words = app, most, tell, words

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, note = time.monotonic(), 0, scope.setdefault("state", {})

        async def sent(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._answer(scope, receive, sent)
        except Exception as error:
            if status:  # an answer has begun: that it breaks off is all that can be said
                raise
            log.error("a request failed", exc_info=error)
            await error_response(500, self.words(error), kind="server_error")(scope, receive, sent)
        finally:
            path = scope.get("raw_path", b"").decode("ascii", "backslashreplace")  # as it came: nothing that a terminal obeys
            said = f": {note[TOLD]}" if TOLD in note else ""
            took = time.monotonic() - started
            self.tell(f"{time.strftime('%H:%M:%S')} {scope['method']} {path} {status or 'gone'}, {took:.1f} s{said}")

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """The body is read whole before anything looks at it: it is small, or it is refused."""
        messages, size = [], 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if size <= self.most:
                messages.append(message)
            if message["type"] != "http.request" or not message.get("more_body") or size > DRAINED:
                break
        if size > self.most:
            refusal = error_response(
                413, f"the body has more than {self.most:,} bytes, and no request to this model needs so many."
            )
            await refusal(scope, receive, send)
            return

        async def replayed() -> Any:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, replayed, send)
