"""Causal dynamic YaRN against stock static YaRN, side by side on one machine: decoding, prefill and peak memory.

A Llama of the bundled model's shape with random weights, window 512, stretched 8 times. Run: python runs/bench_dynamic.py
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan

WINDOW, FACTOR = 512, 8
LONG = WINDOW * FACTOR
YARN = {"rope_type": "yarn", "factor": float(FACTOR), "original_max_position_embeddings": WINDOW}
PLAIN = {"rope_type": "default"}


def bundled_shape(**rope: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=704,
        vocab_size=1024, max_position_embeddings=LONG if rope["rope_type"] == "yarn" else WINDOW,
        rope_parameters={"rope_theta": 1e4, **rope},
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def sides() -> dict[str, LlamaForCausalLM]:
    """Three models with the same weights: stock static YaRN, causal dynamic YaRN, and recomputation."""
    made = {"static": bundled_shape(**YARN), "causal": bundled_shape(**PLAIN), "recompute": bundled_shape(**PLAIN)}
    for name, method in (("causal", "dynamic-yarn"), ("recompute", "dynamic-yarn-recompute")):
        attach(made[name], make_plan(read_live(made[name]), factor=FACTOR, method=method))
    return made


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    with torch.no_grad():
        work()
    return time.perf_counter() - began


def ids(count: int) -> torch.Tensor:
    return torch.randint(0, 1024, (1, count), generator=torch.Generator().manual_seed(1))


def prefill(model: LlamaForCausalLM, count: int = LONG) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model(ids(count), **cache_argument(model, cache), logits_to_keep=1)
    return cache


def decode(model: LlamaForCausalLM, cache: DynamicCache, count: int) -> float:
    """Seconds per token, tokens one by one."""
    one = ids(1)
    return seconds(lambda: [model(one, **cache_argument(model, cache)) for _ in range(count)]) / count


def decoding_against_static(rounds: int = 36, count: int = 4) -> tuple[float, float]:
    """Median seconds per token around 4096 tokens: (causal, stock static), a few tokens each in turns."""
    models = sides()
    caches = {name: _prefilled(models[name]) for name in ("causal", "static")}
    pairs = [[decode(models[name], cache, count) for name, cache in caches.items()] for _ in range(rounds + 2)][2:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _prefilled(model: LlamaForCausalLM) -> DynamicCache:
    with torch.no_grad():
        return prefill(model, LONG - 160)


def decoding_against_recompute() -> tuple[float, float]:
    models = sides()
    cached = decode(models["causal"], _prefilled(models["causal"]), 12)
    anew = min(seconds(lambda: models["recompute"](ids(LONG), use_cache=False, logits_to_keep=1)) for _ in range(3))
    return cached, anew


def prefill_against_static(rounds: int = 7) -> tuple[float, float]:
    models = sides()
    pairs = [[seconds(lambda m=models[name]: prefill(m)) for name in ("causal", "static")] for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def high_water() -> float:
    """This program's own peak resident memory, MB. `ru_maxrss` would do, but it survives exec: a child has its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def peak(side: str) -> None:
    """Print the peak MB before a prefill of 8 L, after it, and after a few decoded tokens: call it in a process of its own."""
    model = sides()[side]
    with torch.no_grad():
        model(ids(16))
        before = high_water()
        cache = prefill(model, LONG - 16)  # room for the tokens that follow
        filled = high_water()
        decode(model, cache, 4)
    print(json.dumps({"before": before, "prefill": filled, "decoding": high_water()}))


def peak_memory(rounds: int = 7) -> dict[str, dict[str, float]]:
    """Median peak resident MB before, after the prefill and after decoding; each side in processes of its own, in turns.

    One run says little: where the allocator puts a few large blocks moves it by a tenth.
    """
    runs: dict[str, list[dict[str, float]]] = {"causal": [], "static": []}
    for _ in range(rounds):
        for side, found in runs.items():
            run = subprocess.run([sys.executable, __file__, "--peak", side], check=True, capture_output=True, text=True)
            found.append(json.loads(run.stdout.splitlines()[-1]))
    return {side: {when: statistics.median(one[when] for one in found) for when in found[0]} for side, found in runs.items()}


TIMES = {
    "decoding a token after 4096, causal dynamic against stock static YaRN": decoding_against_static,
    "decoding a token after 4096, causal dynamic against recomputing": decoding_against_recompute,
    "reading 4096 tokens (8 L), causal dynamic against stock static YaRN": prefill_against_static,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak", choices=("causal", "static"), help="print one side's peak memory and nothing else")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(args.peak)
        return
    for name, bench in TIMES.items():
        ours, theirs = bench()
        print(f"{name}, ms: {ours * 1000:.2f}, {theirs * 1000:.2f}, times as fast: {theirs / ours:.3f}", flush=True)
    found = peak_memory()
    print("peak resident MB:", json.dumps(found))
    whole = found["causal"]["decoding"] / found["static"]["decoding"]
    added = [found[side]["decoding"] - found[side]["before"] for side in ("causal", "static")]
    print(f"peak, causal against static: whole process {whole:.2f}, added by reading {added[0] / added[1]:.2f}")


if __name__ == "__main__":
    main()
