"""How far two stacks lie apart by rounding, and by the faults that engines have had: the table of docs/doctor.md.

    python runs/experiments/stacks_noise.py

The bundled model with YaRN at factor 4 in float32, beside itself with one thing changed. About three minutes on one core.
"""

from typing import Any

import torch

import ropewalk
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.jobs.doctor.stacks.job import compare
from ropewalk.jobs.doctor.stacks.measure import Stacks
from ropewalk.jobs.doctor.stacks.sides import ModelSide, Words
from ropewalk.models.served import open_model

TINY, L, LENGTHS = "ropewalk-tiny", 512, [512, 2048]
M = 1.138629436111989  # the attention factor of YaRN at 4
CHANGED: dict[str, tuple[str | None, float, str, dict[str, Any]]] = {
    "float16": ("yarn", 4, "float16", {}),
    "bfloat16": ("yarn", 4, "bfloat16", {}),
    "attention factor lost": ("ntk_by_parts", 4, "float32", {}),
    "attention factor squared": ("yarn", 4, "float32", {"attention_factor": M * M}),
    "`ntk` for `yarn`": ("ntk", 4, "float32", {}),
    "factor 8 for 4": ("yarn", 8, "float32", {}),
    "unscaled": (None, 1, "float32", {}),
    "factor 5 for 4": ("yarn", 5, "float32", {}),
    "`truncate: false` for true": ("yarn", 4, "float32", {"truncate": False}),
}


def side(method: str | None, factor: float, dtype: str, options: dict[str, Any]) -> ModelSide:
    spec = ropewalk.read(read_config(checkpoint(TINY)))
    plan = ropewalk.make_plan(spec, factor=factor, method=method, options=options) if method else None
    return ModelSide(TINY, open_model(TINY, plan, dtype=dtype))


def main() -> None:
    torch.set_num_threads(1)
    trainer = side("yarn", 4, "float32", {})
    words = Words(trainer.served.tokenizer)
    print("| changed | \\|d\\| at 512 | at 2,048 | k3 at 512 | at 2,048 | verdict |\n|---|---|---|---|---|---|")
    for name, how in CHANGED.items():
        found = compare(Stacks(trainer, side(*how), words), LENGTHS, L)
        near, far = found.bands
        print(f"| {name} | {near.apart.value:.3f} | {far.apart.value:.3f} | {near.kl.value:.1g} | {far.kl.value:.1g} | "
              f"{found.verdict} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
