"""Ratios, measured side by side in one run: `make bench`. Absolute times mean nothing on somebody else's machine.

Every comparison alternates its two sides and quotes the median of each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

Side = Callable[[], object]


def seconds(side: Side) -> float:
    began = time.perf_counter()
    side()
    return time.perf_counter() - began


def compare(ours: Side, theirs: Side, rounds: int) -> tuple[float, float]:
    """Median seconds of each, taken in turns after one warm-up."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def plan_against_autoconfig() -> tuple[float, float]:
    def run(*command: str) -> Side:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    ropewalk = str(Path(sys.executable).with_name("ropewalk"))
    ours = run(ropewalk, "plan", "ropewalk-tiny", "--to", "4096")
    return compare(ours, run(sys.executable, "-c", "from transformers import AutoConfig"), rounds=5)


def tables_against_transformers() -> tuple[float, float]:
    """cos and sin of 131072 positions x 64 pairs: float64 angles here, float32 angles there."""
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from ropewalk.models.tables import rotation_tables
    from ropewalk.scaling.rope import Rope
    from ropewalk.scaling.stretch import Stretch

    keys = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}
    module = LlamaRotaryEmbedding(LlamaConfig(head_dim=128, max_position_embeddings=131072, rope_parameters=keys))
    scaled, like = Stretch(Rope(128, 1e6, 32768), "yarn", 4.0).scaled(), torch.zeros(1)
    positions = torch.arange(131072)
    return compare(lambda: rotation_tables(scaled, positions), lambda: module(like, positions[None]), rounds=9)


def dynamic(name: str) -> Callable[[], tuple[float, float]]:
    """One of runs/bench_dynamic.py's comparisons; it loads torch and transformers, so only when its turn comes."""

    def bench() -> tuple[float, float]:
        import torch

        import bench_dynamic

        torch.set_num_threads(1)
        return getattr(bench_dynamic, name)()

    return bench


def peak_of_reading() -> dict[str, tuple[float, float]]:
    """Peak resident MB of whole processes: (causal, stock static YaRN)."""
    import bench_dynamic

    found = bench_dynamic.peak_memory()
    return {when: (found["causal"][when], found["static"][when]) for when in ("prefill", "decoding")}


BENCHES = {
    "`ropewalk plan` against `from transformers import AutoConfig`": plan_against_autoconfig,
    "tables of 131072 positions, float64 inside, against transformers' float32 module": tables_against_transformers,
    "a token after 4096, causal dynamic YaRN against stock static YaRN": dynamic("decoding_against_static"),
    "a token after 4096, causal dynamic YaRN against recomputing": dynamic("decoding_against_recompute"),
    "reading 8 L = 4096 tokens, causal dynamic YaRN against stock static YaRN": dynamic("prefill_against_static"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    args = parser.parse_args()
    console = Console(stderr=args.json)
    results = {name: bench() for name, bench in track(BENCHES.items(), "measuring", console=console)}
    peaks = peak_of_reading()
    if args.json:
        times = {name: {"ours": a, "theirs": b, "times_faster": b / a} for name, (a, b) in results.items()}
        print(json.dumps({**times, "peak_mb": {when: {"causal": a, "static": b} for when, (a, b) in peaks.items()}}, indent=2))
        return
    table = Table("what", "ours", "theirs", "times faster", box=None)
    for name, (a, b) in results.items():
        table.add_row(name, f"{a * 1000:.1f} ms", f"{b * 1000:.1f} ms", f"{b / a:.2f}")
    for when, (a, b) in peaks.items():
        table.add_row(
            f"peak memory, 8 L, {when}: causal dynamic, stock static YaRN", f"{a:.0f} MB", f"{b:.0f} MB", f"{b / a:.2f}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
