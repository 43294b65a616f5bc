"""What several verbs share: --json."""

import json
import sys
from typing import Annotated, Any

import typer

from ropewalk.checkpoints.files import plain

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def print_json(data: dict[str, Any]) -> None:
    """On stdout, as JSON that every reader takes: a number that is not finite is null."""
    json.dump(plain(data), sys.stdout, indent=2, default=str, allow_nan=False)
    print()
