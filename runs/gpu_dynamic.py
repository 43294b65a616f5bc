"""Causal dynamic YaRN and near distances against stock static YaRN on one GPU: a long prompt, then token by token.

python runs/gpu_dynamic.py           2 B parameters, bfloat16, 32512 tokens and 256 more; flash attention must be in use
python runs/gpu_dynamic.py --tiny    the same steps at a size for the CPU, under SDPA: shows only that they run

--block: under SDPA, queries beyond the window that go into one attention call, in place of those that the library takes.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.utils import is_flash_attn_2_available

from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.dynamic import read as on_read
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan

FACTOR = 8
METHODS = {"causal": "dynamic-yarn", "near": "near-linear", "static": None}
BIG = dict(
    hidden_size=2048, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
    intermediate_size=8192, vocab_size=32000,
)  # fmt: skip
TINY = dict(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=96,
    vocab_size=100,
)  # fmt: skip


def build(shape: dict[str, int], window: int, method: str | None, attention: str, device: str) -> LlamaForCausalLM:
    """method: on read; None for stock static YaRN."""
    torch.manual_seed(0)
    stretched = method is None
    yarn = {"rope_type": "yarn", "factor": float(FACTOR), "original_max_position_embeddings": window}
    rope = {"rope_theta": 5e5, **(yarn if stretched else {"rope_type": "default"})}
    config = LlamaConfig(**shape, max_position_embeddings=window * (FACTOR if stretched else 1), rope_parameters=rope)
    with torch.device(device):
        model = LlamaForCausalLM._from_config(config, attn_implementation=attention)
    table = model.model.rotary_emb.inv_freq
    model = model.to(torch.bfloat16 if device == "cuda" else torch.float32).eval()
    model.model.rotary_emb.inv_freq = table  # float32, as from_pretrained leaves it
    if method is not None:
        attach(model, make_plan(read_live(model), factor=FACTOR, method=method))
    return model


def wait(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def once(model: LlamaForCausalLM, prompt: torch.Tensor, new: int, device: str) -> dict[str, float]:
    """Seconds of the prefill and of each new token, and peak GiB on the device."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    cache, began = DynamicCache(config=model.config), wait(device)
    model(prompt, **cache_argument(model, cache), logits_to_keep=1)
    read = wait(device)
    for _ in range(new):
        model(prompt[:, :1], **cache_argument(model, cache))
    done = wait(device)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {"prefill": read - began, "token": (done - read) / new, "peak_gib": peak}


def kernels(model: LlamaForCausalLM, prompt: torch.Tensor, device: str) -> dict[str, int]:
    """How often each attention kernel ran in a prefill and one token, by the profiler's names."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with profile(activities=activities) as seen:
        once(model, prompt, 1, device)
    names = Counter({event.key: event.count for event in seen.key_averages()})
    return {name: count for name, count in names.items() if "flash" in name.lower() or "fmha" in name.lower()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a size for the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=256, help="tokens written after the prompt")
    parser.add_argument("--block", type=int, default=2**30)
    args = parser.parse_args()
    on_read.block_of = lambda query: args.block
    device = "cpu" if args.tiny else "cuda"
    attention = "flash_attention_2" if not args.tiny and is_flash_attn_2_available() else "sdpa"
    shape, window, count, new = (TINY, 64, 500, 4) if args.tiny else (BIG, 4096, 32768 - 256, args.new)
    sides = {name: build(shape, window, method, attention, device) for name, method in METHODS.items()}
    prompt = torch.randint(0, shape["vocab_size"], (1, count), device=device)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with torch.no_grad():
        for _ in range(args.rounds + 1):  # the first is a warm-up
            for name, model in sides.items():
                found[name].append(once(model, prompt, new, device))
        used = {name: kernels(model, prompt, device) for name, model in sides.items()}
    middle = {
        name: {what: statistics.median(run[what] for run in runs[1:]) for what in runs[0]} for name, runs in found.items()
    }
    print(json.dumps({**report(middle, used, attention, sides["causal"]), "block": args.block}, indent=2))
    if not args.tiny:
        for side, names in used.items():
            assert any("flash" in name.lower() for name in names), f"no flash attention among {names} of {side}"


def report(middle: Any, used: Any, attention: str, model: LlamaForCausalLM) -> dict[str, Any]:
    static = middle["static"]

    def against(side: dict[str, float]) -> dict[str, float | None]:
        memory = side["peak_gib"] / static["peak_gib"] if static["peak_gib"] else None
        fast = {f"{what}_times_as_fast": static[what] / side[what] for what in ("prefill", "token")}
        return {**fast, "peak_memory_times": memory}

    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "attention": attention,
        "median": middle,
        "against_static": {name: against(side) for name, side in middle.items() if name != "static"},
        "kernels": used,
    }


if __name__ == "__main__":
    main()
