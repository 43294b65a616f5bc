"""The model that an argument names: a checkpoint on this machine or on a hub, or a live transformers model."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from ropewalk.engines.transformers.checkpoint import local_checkpoint, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadOption, RopewalkError
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.units import as_length, human_bytes


class Source:
    """Nothing heavy is imported before a model is loaded, and of a hub id only the config is fetched until then.

    original_length: tokens that the model was trained at, where its config is wrong.
    """

    def __init__(self, model: Any, *, tokenizer: Any = None, original_length: int | str | None = None):
        self.given, self._tokenizer = model, tokenizer
        self.original_length = None if original_length is None else as_length(original_length)
        self.is_live = not isinstance(model, str | Path)
        if self.is_live and not hasattr(getattr(model, "config", None), "to_dict"):
            raise BadOption(
                f"a {type(model).__name__} is no model: name a folder, a hub id or ropewalk-tiny,\n"
                "  or give a live model of the transformers library."
            )

    @property
    def name(self) -> str:
        """For people; of a live model what it was loaded from."""
        return str(getattr(self.given, "name_or_path", "") or type(self.given).__name__) if self.is_live else str(self.given)

    @property
    def loading(self) -> str:
        """What to say while it is loaded."""
        return loading(self.given) if isinstance(self.given, str | Path) else self.name

    @cached_property
    def config(self) -> dict[str, Any]:
        if self.is_live:
            found: dict[str, Any] = self.given.config.to_dict()
            return found
        path = local_checkpoint(self.given)
        if path is None:
            from ropewalk.checkpoints.hub import checkpoint

            path = checkpoint(self.given, weights=False)
        return read_config(path)

    @cached_property
    def spec(self) -> ModelSpec:
        return read(self.config, original_length=self.original_length)

    @cached_property
    def folder(self) -> Path:
        """The checkpoint with its weights. Raises BadOption for a live model that no folder here holds."""
        from ropewalk.checkpoints.hub import checkpoint

        if self.is_live and local_checkpoint(self.name) is None:
            raise BadOption(f"{self.name} is a live model, and no folder here holds it. Save it and give the folder.")
        return checkpoint(self.name)

    def load(self, *, device: str = "auto", dtype: str = "auto", attention: str = "sdpa") -> Any:
        """The live model: as it is given, or loaded (float32 on a CPU, bfloat16 on accelerators, unless said otherwise)."""
        if self.is_live:
            return self.given.eval()
        import torch

        from ropewalk.models.load import load_model
        from ropewalk.models.placement import own_device

        place, kind = self.placement(device, dtype)
        return load_model(self.folder, dtype=getattr(torch, kind), device=own_device(place), attention=attention)

    def placement(self, device: str = "auto", dtype: str = "auto") -> tuple[str, str]:
        """(device, dtype) by name: those asked for, or those that a live model has."""
        from ropewalk.models.placement import find_device, find_dtype

        if self.is_live:
            return str(self.given.device), str(self.given.dtype).removeprefix("torch.")
        place = find_device(device)
        return place, find_dtype(dtype, place)

    def tokenizer(self) -> Any:
        """As given, by name or as an object; else the model's own."""
        if self._tokenizer is not None and not isinstance(self._tokenizer, str | Path):
            return self._tokenizer
        from ropewalk.models.load import load_tokenizer

        return load_tokenizer(self._tokenizer or self.name)

    def fingerprint(self, note: Callable[[str], None] = lambda sentence: None) -> str:
        """Of every byte that decides what the model answers.  note: told where reading them will take a while."""
        if self.is_live:
            from ropewalk.models.live import live_fingerprint

            return live_fingerprint(self.given)
        from ropewalk.checkpoints.fingerprint import model_fingerprint

        return model_fingerprint(self.folder, note)


def loading(model: str | Path) -> str:
    """What to say while a model is loaded."""
    try:
        found = local_checkpoint(model)
    except RopewalkError:  # whoever loads it says why it cannot be
        found = None
    folder = found.parent if found and found.is_file() else found or Path("/nowhere")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return f"loading {model}" + (f" ({human_bytes(size)} of weights)" if size else "")
