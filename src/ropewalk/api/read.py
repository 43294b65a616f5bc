"""`ropewalk.read`: what rotary embedding a model has, and where each number was read."""

from typing import Any

from ropewalk.api.arguments import Length
from ropewalk.models.source import Source
from ropewalk.scaling.spec import ModelSpec


def read(model: Any, *, original_length: Length | None = None) -> ModelSpec:
    """The rotary embedding of a folder, a config.json, a GGUF, a hub id, a live transformers model, its config, or a dict.

    original_length: tokens that it was trained at, where the config is wrong.

    Raises NoRope where nothing rotates, BadConfig for a config that makes no sense, and BadOption for what is no model.

        spec = ropewalk.read("ropewalk-tiny")
        spec.rope("all").original_length, spec.warnings
    """
    return Source(model, original_length=original_length, weights=False).any_spec
