"""The certificate's ornaments, as inline SVG in the page's colours, and how its numbers are written."""

from collections.abc import Callable
from math import cos, isfinite, pi, sin
from typing import Any

from markupsafe import Markup

from ropewalk.scaling.units import human_bytes

MINUS = "\N{MINUS SIGN}"


def number(value: Any, form: str) -> str:
    """A number as the page writes it; `form` is one of the words below, or a format specification.

    An end of an interval that is not known, as with one document, is None in JSON.
    """
    if value is None or not isfinite(value):
        return "unknown"
    return _FORMS[form](value) if form in _FORMS else format(value, form).replace("-", MINUS)


def short(tokens: float) -> str:
    """4,096 but 8k: whole kibitokens from 8k on."""
    tokens = int(tokens)
    return f"{tokens // 1024}k" if tokens >= 8192 and tokens % 1024 == 0 else f"{tokens:,}"


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 1000 else f"{ratio:.1e}"


def _signed(value: float, digits: int = 3) -> str:
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", MINUS)


_FORMS: dict[str, Callable[[Any], str]] = {
    "short": short,
    "times": _times,
    "signed": _signed,
    "bytes": human_bytes,
    "hundred": lambda share: f"{100 * share:.0f}",
    "percent0": lambda share: f"{100 * share:.0f} %",
    "percent1": lambda share: f"{100 * share:.1f} %",
    "signed_percent": lambda share: f"{_signed(100 * share, 1)} %",
}


def rope() -> Markup:
    """A line of laid rope: one lay, repeated for as long as the page is wide."""
    return Markup(
        '<svg class="rope" aria-hidden="true"><defs><pattern id="lay" width="26" height="12" patternUnits="userSpaceOnUse">'
        '<path class="strand b" d="M-13 6C-8.7 0 -4.3 0 0 6S8.7 12 13 6S21.7 0 26 6S34.7 12 39 6"/>'
        '<path class="strand a" d="M-13 6C-8.7 12 -4.3 12 0 6S8.7 0 13 6S21.7 12 26 6S34.7 0 39 6"/>'
        '</pattern></defs><rect width="100%" height="12" fill="url(#lay)"/></svg>'
    )


def seal(times: str, words: tuple[str, str]) -> Markup:
    """A ring of rope around how many times the trained length was reached, with two lines below."""
    strands = "".join(f'<path class="strand {name}" d="{_ring(phase)}"/>' for name, phase in (("b", 0.0), ("a", pi)))
    return Markup(
        '<svg class="seal" viewBox="0 0 120 120" role="img" aria-label="{}: {}, {}">{}'
        '<text class="times" x="60" y="62">{}</text><text class="word" x="60" y="77">{}</text>'
        '<text class="word" x="60" y="89">{}</text></svg>'
    ).format(times, *words, Markup(strands), times, *words)


def _ring(phase: float, lays: int = 18, radius: float = 53.0, swing: float = 3.6, points: int = 216) -> str:
    path = []
    for i in range(points):
        turn = 2 * pi * i / points
        r = radius + swing * sin(lays * turn + phase)
        path.append(f"{60 + r * cos(turn):.1f} {60 + r * sin(turn):.1f}")
    return "M" + "L".join(path) + "Z"
