"""What several verbs share: the model's config, and printing as JSON."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.checkpoints.files import plain
from ropewalk.engines.transformers.checkpoint import local_checkpoint, read_config

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def find_config(model: str) -> tuple[dict[str, Any], Path]:
    """The model's config, and where it was found; goes to the hub only for a hub id."""
    path = local_checkpoint(model)
    if path is None:
        from ropewalk.checkpoints.hub import checkpoint

        path = checkpoint(model, weights=False)
    return read_config(path), path


def print_json(data: dict[str, Any]) -> None:
    """On stdout, as JSON that every reader takes: a number that is not finite is null."""
    json.dump(plain(data), sys.stdout, indent=2, default=str, allow_nan=False)
    print()
