"""How a stretch is written in one word: yarn, dynamic-yarn, near-256-linear-log_n-static."""

import re
from typing import NamedTuple

from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.scaling.method import far_methods, methods
from ropewalk.scaling.schedule import SEMANTICS, Dynamic
from ropewalk.scaling.units import as_length

DYNAMIC, NEAR, STATIC, LOG_N = "dynamic", "near", "static", "log_n"
HALF = 0.5  # of the original length: the near distances where a name gives none

# The field's names, with their authors' parameters: the windows as shares of the length that they were used with.
PRESETS = {
    "rerope": "near-0.125-rerope-log_n-static",  # bojone/rerope@acfe788: window 512 of 4,096
    "leaky_rerope": "near-0.125-linear-log_n-static",  # the same repository
    "self_extend": "near-0.25-self_extend-static",  # datamllab/LongLM@cdbbb06, README: window 1,024 of 4,096
}


class Named(NamedTuple):
    """What a name says.

    near: the distances that are read as trained, in tokens or as a share of the original length; None: none is set apart.
    log_n: queries grow with the logarithm of how much they read.
    """

    method: str
    dynamic: Dynamic | None = None
    near: int | float | None = None
    log_n: bool = False

    def near_tokens(self, original_length: int) -> int:
        """w, tokens; 0 where none is set apart."""
        if self.near is None:
            return 0
        return self.near if isinstance(self.near, int) else int(original_length * self.near)


def read_name(name: str) -> Named:
    """A method's own name, or one of

        dynamic[-METHOD][-SEMANTICS[-GRID]]                       over ntk, the classic, unless a method is named
        near[-W]-METHOD[-log_n][-static | -SEMANTICS[-GRID]]      W in tokens (256, 4k) or as a share (0.25), else 0.5

    Both are causal on two steps per octave unless they say otherwise. PRESETS are names for some of the second kind.
    """
    if not isinstance(name, str):
        raise BadOption(f"method is {name!r}; it must be a name, such as yarn.")
    first, *rest = PRESETS.get(name, name).split("-")
    if first == NEAR:
        return _near(rest, name)
    if first != DYNAMIC:
        return Named(_known(name, name))
    method = _known(rest.pop(0), name) if rest and rest[0] not in SEMANTICS else "ntk"
    return Named(method, _dynamic(rest, name))


def _near(rest: list[str], name: str) -> Named:
    near: int | float = _width(rest.pop(0), name) if rest and re.match(r"[\d.]", rest[0]) else HALF
    method = rest.pop(0) if rest else ""
    if method not in far_methods():
        _unknown(name)
    log_n = rest[:1] == [LOG_N]
    rest = rest[log_n:]
    return Named(method, None if rest == [STATIC] else _dynamic(rest, name), near, log_n)


def _width(text: str, name: str) -> int | float:
    try:
        if "." not in text:
            return as_length(text)
        share = float(text)
        if 0 < share < 1:
            return share
    except (ValueError, BadLength):
        pass
    raise BadLength(
        f"{name}: {text!r} is no width for the near distances. Write tokens, 1 or more (256, 4k), or a share of the original\n"
        "  length between 0 and 1 (0.25)."
    )


def _dynamic(rest: list[str], name: str) -> Dynamic:
    if not rest:
        return Dynamic()
    if rest[0] not in SEMANTICS or len(rest) > 2 or not all(grid.isdecimal() for grid in rest[1:]):
        _unknown(name)
    return Dynamic(rest[0], int(rest[1]) if rest[1:] else None)


def _known(method: str, name: str) -> str:
    if method not in methods():
        _unknown(name)
    return method


def _unknown(name: str) -> None:
    close = (f"{DYNAMIC}-{m}" for m in ("linear", "yarn", *SEMANTICS))
    near = (f"{NEAR}-{m}" for m in far_methods())
    raise UnknownName("scaling method", name, [*methods(), DYNAMIC, *close, *near, *PRESETS])


def written(named: Named, original_length: int) -> str:
    """The name of a stretch, so that reading it gives it back. near: in tokens."""
    method, dynamic, near, log_n = named
    if not near:
        return method if dynamic is None else (DYNAMIC if method == "ntk" else f"{DYNAMIC}-{method}") + dynamic.suffix
    for preset, name in PRESETS.items():
        known = read_name(name)
        if known._replace(near=known.near_tokens(original_length)) == named:
            return preset
    width = "" if near == Named(method, near=HALF).near_tokens(original_length) else f"-{near}"
    how = f"-{STATIC}" if dynamic is None else dynamic.suffix
    return f"{NEAR}{width}-{method}{f'-{LOG_N}' if log_n else ''}{how}"
