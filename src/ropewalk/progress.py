"""How work is watched: one protocol, silent by default. The command line's bar is one implementation of it."""

from typing import Protocol


class Progress(Protocol):
    """Told what is being done. Work comes in stages; a stage's amounts are in whatever unit its total is."""

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        """The next stage.  total: of its work, where it is known.  found: is some of it done already, from an earlier run?"""

    def advance(self, amount: float) -> None:
        """So much more of this stage is done."""

    def reach(self, done: float) -> None:
        """So much of this stage is done, all in all."""

    def say(self, words: str) -> None:
        """Beside the stage, until something else is said."""

    def note(self, sentence: str) -> None:
        """What stays to be read."""


class Silent:
    """Watches without a word."""

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        pass

    def advance(self, amount: float) -> None:
        pass

    def reach(self, done: float) -> None:
        pass

    def say(self, words: str) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass


SILENT = Silent()
