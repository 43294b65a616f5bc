"""The trained model as a checkpoint that every other verb takes: gathered, adapters merged, the plan in its config."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor

from ropewalk.checkpoints.extend import CARD, PLAN, fill, model_card
from ropewalk.checkpoints.files import new_folder, title, write_file
from ropewalk.engines.transformers import write as transformers
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.errors import CannotWrite, Mismatch
from ropewalk.jobs.train.card import ADAPTER as ADAPTER_CARD
from ropewalk.jobs.train.card import Done, recipe_table, what_was_done, what_was_measured
from ropewalk.jobs.train.recipe import Recipe
from ropewalk.jobs.train.setup import Trained, adapt
from ropewalk.models.load import load_model
from ropewalk.models.source import Source
from ropewalk.scaling.plan import ScalingPlan

MODEL, ADAPTER = "model", "adapter"


def gather(trained: Trained) -> dict[str, torch.Tensor]:
    """Trained weights by name, whole, in the host's memory of the first process; empty elsewhere. All processes take part."""
    found = {}
    for name, p in trained.weights.items():
        whole = p.full_tensor() if isinstance(p, DTensor) else p
        if trained.parallel.is_first:
            found[name] = whole.detach().cpu().clone()
    return found


def export(
    source: Path, recipe: Recipe, plan: ScalingPlan, weights: dict[str, torch.Tensor], run: Path, done: Done
) -> str:  # fmt: skip
    """Write `run`/model, and `run`/adapter where there are adapters; says how it was checked. For the first process alone.

    Weights take the dtype that the source had. A causal plan has no spelling in a config: then the config is the source's, and
    the plan in ropewalk.json is what `--plan` takes. Raises Mismatch, and leaves no `run`/model, where the check fails.
    """
    given = Source(recipe.model)
    called = given.gguf.name if given.gguf else title(source)
    model = load_model(source)
    before = _sums(model)
    if recipe.lora:
        adapted = adapt(model, recipe.lora)
        _put(adapted.get_base_model(), weights)
        with _writing(run / ADAPTER) as folder:
            if "/" in called:  # a hub's id holds elsewhere, too; the place of its files in this machine's cache does not
                adapted.peft_config[adapted.active_adapter].base_model_name_or_path = called
            adapted.save_pretrained(folder)
            write_file(folder / CARD, _adapter_card(called, recipe, plan, done))
            write_file(folder / PLAN, plan.to_json())
        model = adapted.merge_and_unload()
    else:
        _put(model, weights)
    config = read_config(source)
    written = transformers.write(plan, config) if plan.is_one_table else config
    with _writing(run / MODEL) as folder:
        fill(folder, source, plan, written)
        _replace_weights(folder, model, config)
        done = replace(done, changed=[name for name, sums in _sums(model).items() if sums != before.get(name)], of=len(before))
        told = what_was_done(called, recipe, done)
        write_file(folder / CARD, model_card(called, plan, written, what_was_measured(recipe, done), told))
        return check_export(folder)


@contextmanager
def _writing(out: Path) -> Iterator[Path]:
    """`new_folder`, for safetensors as well: they have an error of their own for a full disk."""
    try:
        with new_folder(out, force=True) as folder:
            yield folder
    except SafetensorError as error:
        raise CannotWrite(
            f"{out} was not written: {error}.\n"
            "  All training is in the last checkpoint: make room and start the same command again, and it exports."
        ) from None


@torch.no_grad()
def _sums(model: Any) -> dict[str, tuple[float, float]]:
    """Of each tensor, enough to see that it changed, without keeping another copy of all."""
    return {
        name: (float(p.sum(dtype=torch.float64)), float(torch.linalg.vector_norm(p, dtype=torch.float64)))
        for name, p in model.named_parameters()
    }


def _adapter_card(called: str, recipe: Recipe, plan: ScalingPlan, done: Done) -> str:
    said = f"{done.steps:,} steps over {done.tokens:,} tokens; the base's own weights are not in here."
    return ADAPTER_CARD.format(
        source=called, target=plan.target_length, plan=plan.name, fingerprint=plan.fingerprint,
        recipe=recipe_table(recipe), done=said, measured=what_was_measured(recipe, done),
    )  # fmt: skip


def _put(model: Any, weights: dict[str, torch.Tensor]) -> None:
    mine = dict(model.named_parameters())
    for name, value in weights.items():
        mine[name].data.copy_(value)


def _replace_weights(folder: Path, model: Any, config: dict[str, Any]) -> None:
    """`fill` linked the source's weights: unlink those, and write the model's own beside everything else."""
    for path in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        path.unlink()
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    own = folder / ".weights"
    model.to(getattr(torch, dtype)).save_pretrained(own)
    for path in own.glob("*.safetensors*"):
        path.rename(folder / path.name)
    shutil.rmtree(own)


def check_export(folder: Path) -> str:
    """Load the export's rotary tables in a fresh process, by stock transformers, and measure against its config's plan."""
    command = [sys.executable, "-m", "ropewalk", "doctor", str(folder), "--numeric", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_alone())
    if done.returncode:
        raise Mismatch(f"the export does not rotate as its config says: {(done.stderr or done.stdout).strip()[:400]}")
    tables = json.loads(done.stdout)["tables"]
    return f"{len(tables)} rotary tables within {max(table['error'] for table in tables):.1e} of the plan, in a fresh process"


def _alone() -> dict[str, str]:
    """The environment without what makes a process one of several."""
    return {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
