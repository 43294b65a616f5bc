"""Serve a model over HTTP as OpenAI's API does: /v1/completions and, with a chat template, /v1/chat/completions.

Example: `ropewalk serve ropewalk-tiny --dynamic yarn --port 8000`
"""

import sys
from typing import Any

from ropewalk.api.serve import serve
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import parameters, with_flags
from ropewalk.cli.parts.progress import Bar
from ropewalk.progress import Silent

UNTOLD = 2.0  # seconds that the reading of a prompt may take without a line


def _run(**given: Any) -> None:
    teller = _Teller()
    try:
        serve(**given, progress=teller)
    finally:
        teller.stop()


class _Teller(Silent):
    """A bar while the model is loaded, then a line for each request, and now and then one while a prompt is read."""

    def __init__(self) -> None:
        self._bar, self._total = Bar("starting", transient=True), 0.0
        self._bar.__enter__()

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        self._total = total or 0.0
        if total is not None:
            self.stop()
            self._bar = Bar("reading a prompt", Console(stderr=True, force_terminal=False), after=UNTOLD)
            self._bar.__enter__()
        self._bar.begin(what, total)

    def reach(self, done: float) -> None:
        self._bar.reach(done)
        if done == self._total:
            self._bar.stop()

    def note(self, sentence: str) -> None:
        if not self._total:
            self.stop()  # the model is loaded
        print(sentence, file=sys.stderr, flush=True)

    def stop(self) -> None:
        self._bar.stop()


run = with_flags(_run, parameters(serve), as_json=False)
