"""Every error that Ropewalk raises on purpose.

RopewalkError
├── BadLength       a length or factor that cannot stretch anything
├── BadOption       a method's option with a value it cannot have
├── UnknownName     no method, option, layer type, engine or task of that name
├── BadConfig       a config or checkpoint that cannot be read, or that contradicts itself
├── NoRope          the model has no rotary position embedding to stretch
├── CannotExpress   the place to write to has no spelling for this plan
├── CannotAttach    this live model cannot carry the plan
├── Mismatch        the live model does not do what the plan says
├── NotFinite       the model answered with NaN or infinity
├── BadAnswer       a server did not answer, or answered what cannot be believed
├── OutOfMemory     one sequence at a time does not fit either
├── Stopped         another process of the same run failed, or fell silent
├── OutputExists    the output is there already
└── CannotWrite     the output could not be written; nothing half-written was left behind

A message says what was seen, which rule it broke, the likely cause, and the way out.
"""

import difflib
from collections.abc import Iterable


class RopewalkError(Exception):
    """The root: catch this to catch everything Ropewalk raises on purpose."""


class BadLength(RopewalkError, ValueError):
    pass


class BadOption(RopewalkError, ValueError):
    pass


class BadConfig(RopewalkError, ValueError):
    pass


class NoRope(RopewalkError, ValueError):
    pass


class CannotExpress(RopewalkError, ValueError):
    pass


class CannotAttach(RopewalkError, ValueError):
    pass


class Mismatch(RopewalkError, RuntimeError):
    pass


class NotFinite(RopewalkError, RuntimeError):
    pass


class BadAnswer(RopewalkError, RuntimeError):
    pass


class OutOfMemory(RopewalkError, RuntimeError):
    pass


class Stopped(RopewalkError, RuntimeError):
    pass


class OutputExists(RopewalkError, FileExistsError):
    pass


class CannotWrite(RopewalkError, OSError):
    pass


class UnknownName(RopewalkError, ValueError):
    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"no {kind} is called {name!r}.{hint}\n  known: {', '.join(known) or 'none'}")


def first_line(error: BaseException) -> str:
    """Of somebody else's error, for a sentence of ours; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
