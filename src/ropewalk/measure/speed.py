"""How fast a model reads and writes under a plan, and how much memory that takes. Repeats are recorded one by one.

The repeats of several plans take turns, so that a machine that grows slower favours none of them.
"""

import time
from contextlib import nullcontext
from typing import Any

import numpy
import torch
from transformers import DynamicCache

from ropewalk.measure.records import Key, Record
from ropewalk.models.attach import Attached
from ropewalk.models.caches import cache_argument
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import RECOMPUTE

PROTOCOL = "speed"
REPEATS = 3
DECODED = 16  # tokens


def speed_keys(model_hash: str, plan: ScalingPlan, length: int) -> list[Key]:
    return [Key(model_hash, plan.fingerprint, plan.name, PROTOCOL, f"repeat-{i}", length) for i in range(REPEATS)]


def measure_speed(model: Any, attached: Attached, key: Key, facts: dict[str, Any], *, warm: bool = False) -> Record:
    """Tokens per second of one sequence of key.length tokens, on random token ids.

    prefill: all but the last DECODED tokens in one call.  decode: those, one by one, with a cache; None for `recompute`,
    which has none.  peak_bytes: the most that was allocated on a CUDA device, weights included; None elsewhere, since the
    memory of a process tells nothing of one call.
    warm: the same was run before; otherwise an unrecorded pass goes first.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.get_input_embeddings().num_embeddings, (1, key.length), generator=generator)
    ids = ids.to(model.device)
    if not warm:
        _once(model, attached, ids)
    return Record(key, numpy.zeros(0, numpy.float32), {**facts, "length": key.length, **_once(model, attached, ids)})


@torch.inference_mode()
def _once(model: Any, attached: Attached, ids: torch.Tensor) -> dict[str, float | None]:
    cached = all(stretch.dynamic is None or stretch.dynamic.semantics != RECOMPUTE for _, stretch in attached.plan.stretches)
    decoded = min(DECODED, ids.shape[1] // 2) if cached else 0
    cuda = ids.device if ids.device.type == "cuda" else None
    if cuda:
        torch.cuda.reset_peak_memory_stats(cuda)
    cache = DynamicCache(config=model.config) if cached else None
    with attached.request(ids.shape[1]) if cached else nullcontext():
        prompt, rest = ids[:, : ids.shape[1] - decoded], ids[:, ids.shape[1] - decoded :]
        started = _now(cuda)
        model(prompt, **cache_argument(model, cache), use_cache=cached, logits_to_keep=1)
        read = _now(cuda)
        for i in range(decoded):
            model(rest[:, i : i + 1], **cache_argument(model, cache), use_cache=True, logits_to_keep=1)
        written = _now(cuda)
    return {
        "prefill_tokens_per_second": prompt.shape[1] / (read - started),
        "decode_tokens_per_second": decoded / (written - read) if decoded else None,
        "peak_bytes": torch.cuda.max_memory_allocated(cuda) if cuda else None,
    }


def _now(cuda: torch.device | None) -> float:
    if cuda:
        torch.cuda.synchronize(cuda)
    return time.perf_counter()
