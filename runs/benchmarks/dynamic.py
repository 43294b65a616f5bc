"""Plans that rotate on read against stock static YaRN, side by side on one machine: decoding, prefill and peak memory.

A Llama of the bundled model's shape with random weights, window 512, stretched 8 times. Run: python runs/benchmarks/dynamic.py
"""

import argparse
import json
import statistics
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan
from timing import child, high_water, in_turns, ratio, seconds_of

WINDOW, FACTOR = 512, 8
LONG = WINDOW * FACTOR
YARN = {"rope_type": "yarn", "factor": float(FACTOR), "original_max_position_embeddings": WINDOW}
PLAIN = {"rope_type": "default"}
METHODS = {"causal": "dynamic-yarn", "near": "near-linear", "recompute": "dynamic-yarn-recompute"}


def bundled_shape(**rope: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=704,
        vocab_size=1024, max_position_embeddings=LONG if rope["rope_type"] == "yarn" else WINDOW,
        rope_parameters={"rope_theta": 1e4, **rope},
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def sides() -> dict[str, LlamaForCausalLM]:
    """Models with the same weights: stock static YaRN, causal dynamic YaRN, near distances, and recomputation."""
    made = {"static": bundled_shape(**YARN)}
    for name, method in METHODS.items():
        made[name] = bundled_shape(**PLAIN)
        attach(made[name], make_plan(read_live(made[name]), factor=FACTOR, method=method))
    return made


def ids(count: int) -> torch.Tensor:
    return torch.randint(0, 1024, (1, count), generator=torch.Generator().manual_seed(1))


def prefill(model: LlamaForCausalLM, count: int = LONG) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    model(ids(count), **cache_argument(model, cache), logits_to_keep=1)
    return cache


def decode(model: LlamaForCausalLM, cache: DynamicCache, count: int) -> None:
    """Tokens one by one."""
    one = ids(1)
    for _ in range(count):
        model(one, **cache_argument(model, cache))


Times = dict[str, list[float]]


@torch.no_grad()
def decoding_against_static(rounds: int) -> Times:
    """Around 4096 tokens, a few tokens each in turns."""
    models = sides()
    caches = {name: prefill(models[name], LONG - 5 * rounds * 4 - 16) for name in ("causal", "near", "static")}
    works = {name: lambda name=name: decode(models[name], caches[name], 4) for name in caches}
    return seconds_of(works, 5 * rounds, warm=2)


@torch.no_grad()
def decoding_against_recompute(rounds: int) -> Times:
    models = sides()
    cache = prefill(models["causal"], LONG - 16 * (rounds + 1))
    found = seconds_of(
        {
            "causal": lambda: decode(models["causal"], cache, 4),
            "recompute": lambda: models["recompute"](ids(LONG), use_cache=False, logits_to_keep=1),
        },
        min(rounds, 3),
    )
    return {"causal": [seconds / 4 for seconds in found["causal"]], "recompute": found["recompute"]}


@torch.no_grad()
def prefill_against_static(rounds: int) -> Times:
    models = sides()
    return seconds_of({name: lambda name=name: prefill(models[name]) for name in ("causal", "near", "static")}, rounds)


@torch.no_grad()
def peak(side: str) -> None:
    """Print the peak MB before a prefill of 8 L, after it, and after a few decoded tokens: call it in a process of its own."""
    model = sides()[side]
    model(ids(16))
    before = high_water()
    cache = prefill(model, LONG - 16)  # room for the tokens that follow
    filled = high_water()
    decode(model, cache, 4)
    print(json.dumps({"before": before, "prefill": filled, "decoding": high_water()}))


def peak_memory(rounds: int) -> dict[str, dict[str, float]]:
    """Median peak resident MB before, after the prefill and after decoding; each side in processes of its own, in turns.

    One run says little: where the allocator puts a few large blocks moves it by a tenth.
    """
    runs = in_turns({side: lambda side=side: child(__file__, "--peak", side) for side in ("causal", "near", "static")}, rounds)
    return {side: {when: statistics.median(one[when] for one in found) for when in found[0]} for side, found in runs.items()}


TIMES = {
    "a token after 4096": decoding_against_static,
    "a token after 4096, against recomputing": decoding_against_recompute,
    "reading 4096 tokens (8 L)": prefill_against_static,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak", choices=("causal", "near", "static"), help="print one side's peak memory and nothing else")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(args.peak)
        return
    for name, bench in TIMES.items():
        found = bench(args.rounds)
        *ours, rival = found
        for side in ours:
            a, b = (statistics.median(found[of]) * 1000 for of in (side, rival))
            print(
                f"{name}, {side} against {rival}, ms: {a:.2f}, {b:.2f}; times as fast: {ratio(found[rival], found[side])}",
                flush=True,
            )
    peaks = peak_memory(args.rounds)
    print("peak resident MB:", json.dumps(peaks))
    for side in ("causal", "near"):
        whole = peaks[side]["decoding"] / peaks["static"]["decoding"]
        added = [peaks[of]["decoding"] - peaks[of]["before"] for of in (side, "static")]
        print(f"peak, {side} against static: whole process {whole:.2f}, added by reading {added[0] / added[1]:.2f}")


if __name__ == "__main__":
    main()
