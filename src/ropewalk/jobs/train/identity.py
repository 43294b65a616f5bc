"""What a run is: written when it begins, compared when it is begun again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.files import write_file

RUN = "run.json"
# What may change between a run and its continuation: where it runs and what is watched, not what is computed.
FREE = (
    "device", "checkpointing", "offload", "tiles", "context", "exchange", "replicate", "evaluate_every", "save_every", "keep",
    "track",
)  # fmt: skip


def begin_or_compare(out: Path, mine: dict[str, Any], *, done: bool, write: bool) -> str:
    """A word for what a run computes.  mine: JSON.  done: there are checkpoints; without, what was begun counts for nothing.
    write: record it where nothing that counts is recorded yet.

    Raises BadConfig where `out` holds another run, and names the differences.
    """
    path = out / RUN
    if done and path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadConfig(
                f"{path} is not JSON: {error}\n"
                "  It was changed or copied in part: what was begun is not known. Choose another -o, or remove the folder."
            ) from None
        if different := _differences(before, mine):
            raise BadConfig(
                f"{out} holds another run: " + "; ".join(different) + ".\n"
                "  Going on with it would train something that neither recipe says. Choose another -o, or remove it."
            )
    elif write:
        write_file(path, json.dumps(mine, indent=1) + "\n")
    return hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()[:16]


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Where two records of a run differ, as "recipe.stages.0.rate: it was 2e-05, now 1e-05"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [d for key in keys for d in _differences(before.get(key), now.get(key), f"{path}.{key}".strip("."))]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            d for i, pair in enumerate(zip(before, now, strict=True)) for d in _differences(*pair, f"{path}.{i}".strip("."))
        ]
    return [] if before == now else [f"{path}: it was {before!r}, now {now!r}"]
