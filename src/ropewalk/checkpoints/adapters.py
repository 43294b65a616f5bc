"""An adapter's folder (PEFT): a few small weights over a base model, which decides the window and the rotation."""

import json
from dataclasses import dataclass
from pathlib import Path

from ropewalk.checkpoints.extend import PLAN
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import ADAPTER, CONFIG, no_config
from ropewalk.errors import BadConfig, RopewalkError, first_line
from ropewalk.scaling.plan import ScalingPlan

WEIGHTS = "adapter_model.safetensors"
KIND = "LORA"  # the one kind that is laid over a base here


@dataclass(frozen=True, slots=True)
class Adapter:
    """base: the model under it, as its config names it; a folder beside the adapter by its own path.  name: for people."""

    folder: Path
    base: str
    name: str

    @property
    def note(self) -> str:
        return f"{self.name} is an adapter for {self.base}: window and rotation are those of that base. {self._trained}"

    @property
    def _trained(self) -> str:
        file = self.folder / PLAN
        if not file.is_file():
            return "Under which rotation it was trained, it does not say."
        try:
            plan = ScalingPlan.from_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # RopewalkError's too
            return f"Under which rotation it was trained, {PLAN} there does not say: {first_line(error)}"
        return f"It was trained under {plan.name} to {plan.target_length:,} tokens: give {file} as plan (--plan)."


def find_adapter(path: Path | None, name: str = "") -> Adapter | None:
    """What a folder holds, where it is an adapter and no model. BadConfig for one that cannot be read, or names no base.

    name: of an adapter of a hub, whose folder here has none for people.
    """
    if path is None or (path / CONFIG).is_file() or not (path / ADAPTER).is_file():
        return None
    return Adapter(path, str(_beside(path, _said(path)["base_model_name_or_path"])), name or path.name)


def base_place(path: Path) -> Path:
    """Where the config lies that decides the rotation: `path` itself, or the base's place where it is an adapter."""
    adapter = find_adapter(path)
    if adapter is None:
        return path
    return base_checkpoint(adapter, weights=False)


def base_checkpoint(adapter: Adapter, *, weights: bool = True) -> Path:
    """The base's folder, fetched where it is not here. Raises BadConfig where it cannot be had, or is an adapter again."""
    try:
        found = checkpoint(adapter.base, weights=weights)
    except RopewalkError as error:
        raise BadConfig(
            f"{no_config(adapter.folder)}\n  That model was looked for: {first_line(error)}\n"
            f"  Where it lies elsewhere, write its place into {ADAPTER}, as base_model_name_or_path."
        ) from None
    if found.is_dir() and find_adapter(found):
        raise BadConfig(
            f"{adapter.folder} is an adapter for {adapter.base}, which is an adapter too: merge that one into a model first."
        )
    return found


def check_layable(adapter: Adapter) -> None:
    """Raises BadConfig for what is not laid over a base here: other kinds than LoRA, and weights in a pickle."""
    kind = str(_said(adapter.folder).get("peft_type"))
    if kind.upper() != KIND:
        raise BadConfig(
            f"{adapter.folder} is an adapter of type {kind}; LoRA alone is laid over a base here.\n"
            "  Where peft can merge it, give the merged model."
        )
    if not (adapter.folder / WEIGHTS).is_file():
        raise BadConfig(
            f"{adapter.folder} has no {WEIGHTS}. A pickle (adapter_model.bin) can run code when opened, and is not.\n"
            '  On a machine you trust: python -c "from peft import AutoPeftModel as A; '
            f"A.from_pretrained('{adapter.folder}').save_pretrained('{adapter.folder}')\""
        )


def _said(path: Path) -> dict[str, object]:
    file = path / ADAPTER
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadConfig(f"{file} cannot be read: {error}") from None
    base = said.get("base_model_name_or_path") if isinstance(said, dict) else None
    if not isinstance(base, str) or not base:
        raise BadConfig(f"{file} does not say which model it was trained on: write it there, as base_model_name_or_path.")
    return dict(said)


def _beside(path: Path, base: object) -> Path | str:
    """A base that is named by a relative path is looked for from here, then from the adapter: both are in use."""
    name = str(base)
    beside = path / name
    return beside if not (Path(name).expanduser() / CONFIG).is_file() and beside.is_dir() else name
