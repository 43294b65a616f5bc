"""longrope's two lists and its m, which no two engines read alike."""

from ropewalk.engines.engine import Says
from ropewalk.engines.keys import Keys
from ropewalk.engines.quirks import Effect, stops
from ropewalk.engines.transformers.known import LONGROPE_ONLY


def is_longrope(keys: Keys) -> bool:
    return keys.rope_type in ("longrope", "su")


def long_lists_always(keys: Keys) -> Says | None:
    """longrope's long factors at every length: how far that moves the pairs of a short input."""
    long, short = keys.said.get("long_factor"), keys.said.get("short_factor")
    if not is_longrope(keys) or not isinstance(long, list) or long == short:
        return None
    if keys.longest <= keys.rope.original_length:  # where no input is long
        return Says("short_factor", keys.but(short_factor=long))
    worst = max(max(a / b, b / a) for a, b in zip(long, short or [1.0] * len(long), strict=False))
    return Says(
        f"short_factor: inputs within the original window are read with the long factors, a frequency x{worst:.3g} off"
    )


def longrope_formula(*reads: str) -> Effect:
    """longrope's m = sqrt(1 + ln(M / L) / ln L), unless one of the keys `reads` says another."""

    def effect(keys: Keys) -> Says | None:
        if not is_longrope(keys) or any(name in keys.said for name in reads):
            return None
        ratio = max(keys.longest / keys.rope.original_length, 1.0)
        stated = [name for name in ("attention_factor", "short_mscale", "long_mscale") if name in keys.said]
        if keys.said.get("factor") not in (None, ratio):
            stated.append("factor")
        if not stated:
            return None
        what = f"{' and '.join(stated)} of longrope: m is of max / original"
        return Says(what, keys.but(**{**dict.fromkeys(stated), "factor": ratio}))

    return effect


def phimoe_mscale(error: str) -> Effect:
    """PhiMoE's files open both."""

    def effect(keys: Keys) -> Says | None:
        missing = [name for name in ("short_mscale", "long_mscale") if name not in keys.said]
        if keys.kind != "phimoe" or not is_longrope(keys) or not missing:
            return None
        return Says(f"longrope of phimoe without {' and '.join(missing)} ({error})", runs=False)

    return effect


def old_name(error: str) -> Effect:
    """`su`, of which Phi's config classes make longrope."""
    stop = stops("su", because=error)
    return lambda keys: None if keys.kind in LONGROPE_ONLY else stop(keys)
