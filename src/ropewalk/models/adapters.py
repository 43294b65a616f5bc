"""A LoRA adapter laid over its base model: merged into the weights, or beside them where those are packed."""

import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from ropewalk.checkpoints.adapters import WEIGHTS, Adapter, check_layable, find_adapter
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import local_checkpoint
from ropewalk.errors import BadConfig, RopewalkError, extra_parts, first_line


def with_adapter(base: Any, adapter: Adapter) -> Any:
    """The base itself, changed. Merged, the arithmetic is the base's own; packed weights cannot take a sum, and keep the
    adapter beside them.
    """
    check_layable(adapter)
    with extra_parts():
        from peft import PeftModel, set_peft_model_state_dict
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft's business with transformers
            warnings.filterwarnings("error", message="Found missing adapter keys")  # peft would leave them at their beginning
            adapted = PeftModel.from_pretrained(base, str(adapter.folder))
        found: Any = set_peft_model_state_dict(adapted, load_file(adapter.folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, UserWarning, SafetensorError) as error:
        raise _unfit(adapter, first_line(error)) from error
    if found.unexpected_keys:
        raise _unfit(adapter, f"that model has no place for {found.unexpected_keys[0]}")
    if getattr(base, "is_quantized", False):
        return adapted.get_base_model().eval()
    return adapted.merge_and_unload().eval()


def _unfit(adapter: Adapter, why: str) -> BadConfig:
    return BadConfig(f"the adapter {adapter.folder} does not fit {adapter.base}: {why}")


def tokenizer_place(model: str | Path) -> Path | str:
    """Where the tokenizer of a folder or hub id is; of an adapter without one of its own, its base's."""
    place = local_checkpoint(model)
    adapter = find_adapter(place) if place else _of_hub(str(model))
    own = adapter and any((adapter.folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return adapter.base if adapter and not own else place or str(model)


def _of_hub(model: str) -> Adapter | None:
    """None where it is none, or cannot be told: a repository may hold a tokenizer alone."""
    try:
        is_one = find_adapter(checkpoint(model, weights=False))
        return find_adapter(checkpoint(model), model) if is_one else None
    except RopewalkError:
        return None
