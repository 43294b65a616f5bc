"""The model that an argument names: a checkpoint on this machine or on a hub, or a live transformers model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.adapters import Adapter, base_place, find_adapter
from ropewalk.engines.transformers.checkpoint import is_gguf, is_hub_gguf, local_checkpoint, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadOption, RopewalkError
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.units import as_length, human_bytes


class Source:
    """Nothing heavy is imported before a model is loaded, and of a hub id only the config is fetched until then.

    model: a folder, a config.json, a GGUF (of a hub: owner/name:FILE), a hub id, ropewalk-tiny, a live transformers model;
    or, where only its rotation is asked for, a config (transformers' own, or a dict) or a ModelSpec.
    original_length: tokens that the model was trained at, where its config is wrong.
    progress: told while a GGUF is dequantised, or its header is fetched.
    weights: False where config and spec alone are asked for: of a hub's GGUF the header is fetched, and no more.
    """

    def __init__(
        self, model: Any, *, tokenizer: Any = None, original_length: int | str | None = None, progress: Progress = SILENT,
        weights: bool = True,
    ):  # fmt: skip
        self.given, self._tokenizer, self.progress, self._weights = model, tokenizer, progress, weights
        self.original_length = None if original_length is None else as_length(original_length)
        self.is_named = isinstance(model, str | Path)
        self.is_live = not self.is_named and hasattr(getattr(model, "config", None), "to_dict")
        if isinstance(model, ModelSpec):
            if original_length is not None:
                raise BadOption("original_length is for reading a config, and a ModelSpec is read already.")
            self.spec = model
        elif not (self.is_named or self.is_live or isinstance(model, Mapping) or hasattr(model, "to_dict")):
            raise BadOption(
                f"this is no model, but of type {type(model).__name__}: name a folder, a hub id or ropewalk-tiny,\n"
                "  or give a live model of the transformers library."
            )

    @property
    def name(self) -> str:
        """For people; of a live model or a config what it was loaded from, and empty where that is not known."""
        if self.is_named:
            return str(self.given)
        return str(getattr(self.given, "name_or_path", "") or (type(self.given).__name__ if self.is_live else ""))

    @property
    def loading(self) -> str:
        """What to say while it is loaded."""
        return loading(self.given) if self.is_named else self.name

    @cached_property
    def gguf(self) -> Path | None:
        """Its file, where it is a GGUF; of one in parts the first."""
        from ropewalk.checkpoints.gguf_places import find_gguf

        if not self.is_named:
            return None
        path = Path(self.given).expanduser()  # by its name it is one, there or not: whoever opens it says that it is not
        missing = path.suffix.lower() == ".gguf" and not path.exists() and not is_hub_gguf(self.given)
        return path if missing else find_gguf(self.given, weights=self._weights, progress=self.progress)

    @property
    def is_gguf(self) -> bool:
        """Whether it is one; nothing is fetched to tell."""
        return (
            self.is_named and not Path(self.given).expanduser().exists() and is_hub_gguf(self.given)
        ) or self.gguf is not None

    @cached_property
    def adapter(self) -> Adapter | None:
        """Where it is an adapter, whose base is what is read and loaded."""
        if not self.is_named or self.is_gguf:
            return None
        found = local_checkpoint(self.given)
        return find_adapter(found) if found else find_adapter(self._of_hub, str(self.given))

    @cached_property
    def place(self) -> Path:
        """The folder or config.json on this machine that the config is read from."""
        return base_place(self.gguf or local_checkpoint(self.given) or self._of_hub)

    @cached_property
    def _of_hub(self) -> Path:
        from ropewalk.checkpoints.hub import checkpoint

        return checkpoint(self.given, weights=False)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Of a GGUF as its header says it: BadConfig for an architecture whose weights are not read."""
        if self.gguf is not None:
            from ropewalk.models.from_gguf.checkpoint import opened
            from ropewalk.models.from_gguf.config import config_of

            return config_of(opened(self.gguf), self.original_length)
        if self.is_named:
            return read_config(self.place)
        if isinstance(self.given, ModelSpec):
            raise BadOption("a ModelSpec does not hold the model's config: name the model.")
        if self.is_live:
            from ropewalk.models.carried import own_config

            return own_config(self.given)
        found = self.given
        return dict(found) if isinstance(found, Mapping) else dict(found.to_dict())

    @cached_property
    def spec(self) -> ModelSpec:
        if self.gguf is None:
            spec = read(self.config, original_length=self.original_length)
            return replace(spec, warnings=(*spec.warnings, self.adapter.note)) if self.adapter else spec
        from ropewalk.models.from_gguf.checkpoint import opened
        from ropewalk.models.from_gguf.config import spec_of

        return spec_of(opened(self.gguf), self.original_length)

    @property
    def any_spec(self) -> ModelSpec:
        """Of a GGUF whose weights are not read too."""
        if self.gguf is not None:
            from ropewalk.checkpoints.gguf import open_gguf
            from ropewalk.models.from_gguf.checkpoint import opened
            from ropewalk.models.from_gguf.config import is_readable

            if not is_readable(opened(self.gguf).arch):
                return open_gguf(self.gguf).spec(self.original_length)
        return self.spec

    @cached_property
    def folder(self) -> Path:
        """The checkpoint with its weights. Raises BadOption for a live model that no folder here holds, or not any more."""
        from ropewalk.checkpoints.hub import checkpoint

        if not (self.is_named or self.is_live):
            raise BadOption("a config holds no weights, and they are needed here: name the model, or give it live.")
        if self.gguf is not None:
            from ropewalk.models.from_gguf.checkpoint import folder_of

            return folder_of(self.gguf, progress=self.progress)
        if self.is_live and local_checkpoint(self.name) is None:
            raise BadOption(f"{self.name} is a live model, and no folder here holds it. Save it and give the folder.")
        folder = checkpoint(self.name)
        if self.is_live:
            from ropewalk.models.same_weights import check_same

            check_same(self.given, folder)
        return folder

    @property
    def weights_notes(self) -> tuple[str, ...]:
        """What to say where files are written for a live model: they are its folder's."""
        how = "with which a few rows of each of the live model's tensors were compared"
        return (f"the weights are those of {self.name}, {how}",) if self.is_live else ()

    def load(self, *, device: str = "auto", dtype: str = "auto", attention: str = "sdpa") -> Any:
        """The live model: as it is given, or loaded (float32 on a CPU, bfloat16 on accelerators, unless said otherwise)."""
        if self.is_live:
            return self.given.eval()
        import torch

        from ropewalk.models.load import load_model
        from ropewalk.models.placement import own_device

        place, kind = self.placement(device, dtype)
        named = self.folder if self.gguf is None else self.gguf
        return load_model(
            named, dtype=getattr(torch, kind), device=own_device(place), attention=attention, progress=self.progress
        )

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
        from ropewalk.checkpoints.fingerprint import adapted_fingerprint, model_fingerprint

        if self.gguf is not None:
            from ropewalk.checkpoints.gguf_places import parts_of
            from ropewalk.checkpoints.hub_header import check_whole
            from ropewalk.models.from_gguf.store import content_of

            check_whole(self.gguf)
            return content_of(parts_of(self.gguf))
        adapter = find_adapter(self.folder)
        return adapted_fingerprint(adapter, note) if adapter else model_fingerprint(self.folder, note)


def loading(model: str | Path) -> str:
    """What to say while a model is loaded."""
    try:
        found = local_checkpoint(model)
    except RopewalkError:  # whoever loads it says why it cannot be
        found = None
    if adapter := find_adapter(found):
        return f"loading {adapter.base}, and the adapter {adapter.folder.name} into it"
    folder = found.parent if found and found.is_file() else found or Path("/nowhere")
    weights = [found] if found and is_gguf(found) else folder.glob("*.safetensors")
    size = sum(path.stat().st_size for path in weights)
    return f"loading {model}" + (f" ({human_bytes(size)} of weights)" if size else "")
