"""How far a method reads, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from ropewalk.jobs.evaluate.comparisons import Comparison
from ropewalk.jobs.evaluate.paired_tables import bucket_sums, compare_sums
from ropewalk.jobs.evaluate.readings import Readings
from ropewalk.jobs.evaluate.tables import BITS, Sums
from ropewalk.jobs.report.loss import TRAINED, coarse_edges
from ropewalk.jobs.report.plain import plain
from ropewalk.jobs.report.run_folder import REFERENCE, Run

UNKNOWN = "No verdict: it needs two documents at least that were read with the method and by its judge, better ten."
NOISE = 1e-4  # nats: what float32 and the order of additions may do to a mean is no loss


def verdicts(run: Run) -> list[dict[str, Any]]:
    """A verdict for each method that read anything: the longest length whose last stretch is not significantly worse.

    Worse than what: than the model unchanged where it was trained, L/2 to L, on the same documents; where the run has no
    such reading, than the method itself there. So a method that spoils everything evenly does not pass. A length of 0 is a
    method for which no stretch passes, None one for which too few documents were read to tell.
    """
    edges = coarse_edges(run.original_length, run.reach)
    sums = bucket_sums(Readings(run.records), edges)
    return [_verdict(method, sums, edges) for method in run.plans if method in sums]


def _verdict(method: str, sums: Mapping[str, Sequence[Sums | None]], edges: Sequence[int]) -> dict[str, Any]:
    judge = REFERENCE if REFERENCE in sums else method
    trained, buckets = sums[judge][TRAINED], range(TRAINED, len(edges) - 1)
    found = [(i, compare_sums(sums[method][i], trained, same_tokens=i == TRAINED)) for i in buckets]
    tried = {edges[i + 1]: comparison for i, comparison in found if comparison is not None and comparison.documents > 1}
    good = [length for length, comparison in tried.items() if not is_worse(comparison)]
    length = max(good, default=0) if tried else None
    return {
        "method": method,
        "against": judge,
        "length": length,
        "worse_at": [n for n, comparison in tried.items() if is_worse(comparison)],
        "stretches": {n: plain(comparison) for n, comparison in tried.items()},
        "sentence": UNKNOWN if length is None else _sentence(method, judge, length, tried, edges) + _price(length, tried),
    }


def is_worse(comparison: Comparison) -> bool:
    """Significantly, and by more than rounding."""
    return comparison.difference.low > 0 and comparison.difference.value > NOISE


def _sentence(method: str, judge: str, length: int, tried: Mapping[int, Comparison], edges: Sequence[int]) -> str:
    whose = "the model unchanged" if judge == REFERENCE and method != REFERENCE else "it"
    place = f"{whose} was at {edges[TRAINED]:,} to {edges[TRAINED + 1]:,}"
    if not length:
        return f"Every stretch is significantly worse than {place}."
    at = f"{max(length // 2, edges[TRAINED]):,} to {length:,}"
    if whose == "it" and length == edges[TRAINED + 1]:
        return f"Past {length:,} tokens every stretch is significantly worse than {place}."
    found = tried[length]
    bits = found.difference.value * BITS
    how = f"{abs(bits):.3f} bits per token {'better' if bits < 0 else 'worse'}" if abs(bits) > NOISE else "the same"
    seen = f"{found.documents} documents, which would have shown {found.detectable * BITS:.2f} bits worse"
    return f"The last stretch, {at}, is not significantly worse than {place}: {how} on the same {seen}."


def _price(length: int, tried: Mapping[int, Comparison]) -> str:
    """What a longer reading must not hide: shorter lengths at which the method is worse."""
    worse = [n for n, comparison in tried.items() if n < length and is_worse(comparison)]
    if not worse:
        return ""
    bits = ", ".join(f"{tried[n].difference.value * BITS:.2f} bits at {n:,}" for n in worse)
    return f" Shorter, it is significantly worse: by {bits}."
