"""Causal dynamic YaRN against stock static YaRN, side by side on one machine: decoding, prefill and peak memory.

A Llama of the bundled model's shape with random weights, window 512, stretched 8 times. Run: python runs/bench_dynamic.py
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from ropewalk.models.attach import attach
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
    model(ids(count), past_key_values=cache, logits_to_keep=1)
    return cache


def decode(model: LlamaForCausalLM, cache: DynamicCache, count: int) -> float:
    """Seconds per token, tokens one by one."""
    one = ids(1)
    return seconds(lambda: [model(one, past_key_values=cache) for _ in range(count)]) / count


def decoding_against_static(rounds: int = 9, count: int = 12) -> tuple[float, float]:
    """Median seconds per token around 4096 tokens: (causal, stock static), in turns."""
    models = sides()
    caches = {name: _prefilled(models[name]) for name in ("causal", "static")}
    taken: dict[str, list[float]] = {"causal": [], "static": []}
    for _ in range(rounds + 1):  # the first is a warm-up
        for name, times in taken.items():
            times.append(decode(models[name], caches[name], count))
    return statistics.median(taken["causal"][1:]), statistics.median(taken["static"][1:])


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


def peak(side: str) -> float:
    """MB that one prefill of 8 L and a few decoded tokens add to this process: call it in a process of its own."""
    model = sides()[side]
    with torch.no_grad():
        model(ids(16))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cache = prefill(model)
        filled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        decode(model, cache, 4)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"before": before / 1024, "prefill": filled / 1024, "decoding": after / 1024}))
    return after / 1024


def peak_memory() -> dict[str, dict[str, float]]:
    """Peak resident MB before, after the prefill and after decoding, of each side in its own process."""
    found = {}
    for side in ("causal", "static"):
        run = subprocess.run([sys.executable, __file__, "--peak", side], check=True, capture_output=True, text=True)
        found[side] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak", choices=("causal", "static"), help="print one side's peak memory and nothing else")
    args = parser.parse_args()
    if args.peak:
        peak(args.peak)
        return
    torch.set_num_threads(1)
    for name, bench in (
        ("decoding at 4096, ms per token: causal, stock static YaRN", decoding_against_static),
        ("decoding at 4096, ms per token: causal, recompute", decoding_against_recompute),
        ("prefill of 4096, ms: causal, stock static YaRN", prefill_against_static),
    ):
        ours, theirs = bench()
        print(f"{name}: {ours * 1000:.2f}, {theirs * 1000:.2f}, times as fast: {theirs / ours:.3f}", flush=True)
    print("peak resident MB:", json.dumps(peak_memory()))


if __name__ == "__main__":
    main()
