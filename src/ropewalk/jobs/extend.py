"""Write a checkpoint that stock transformers runs with the planned frequencies: the config changes, the weights do not."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.jobs.card import model_card
from ropewalk.jobs.files import new_folder
from ropewalk.jobs.weights import PICKLES, weight_files
from ropewalk.scaling.checkpoint import CONFIG, read_config, text_of
from ropewalk.scaling.dialects import transformers
from ropewalk.scaling.plan import ScalingPlan

PLAN = "ropewalk.json"
CARD = "README.md"
TOKENIZER = "tokenizer_config.json"
MISTRAL = ("params.json", "consolidated*.safetensors", "consolidated*.safetensors.index.json")


def extend(source: Path, plan: ScalingPlan, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Copy the checkpoint in `source` to `out` with the plan in its config. Returns the config written.

    Weights are hard-linked where the file system allows it, copied otherwise, and never loaded.
    What `write` gives has been read back and says the plan's frequencies; nothing is copied before that.
    """
    check_places(source, out)
    config = read_config(source)
    written = transformers.write(plan, config)
    with new_folder(out, force=force) as folder:
        fill(folder, source, plan, written)
    return written


def check_places(source: Path, out: Path) -> None:
    """Raise BadConfig unless `source` is a whole checkpoint and `out` lies outside it."""
    if not source.is_dir():
        raise BadConfig(f"{source} is not a folder: to write a checkpoint, the weights are needed and not the config alone.")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise BadConfig(f"{out} is the source checkpoint, or inside it. Choose another place.")
    others = left_out(source)
    if all(file.name in others for file in weight_files(source)):
        raise BadConfig(
            f"{source} has its weights in Mistral's own format alone (consolidated*.safetensors), which transformers does not "
            "read.\n  Take the files that are named model*.safetensors, or write params.json: `ropewalk export --for mistral`."
        )


def fill(folder: Path, source: Path, plan: ScalingPlan, config: Mapping[str, Any]) -> None:
    """Make `folder` a checkpoint: the files of `source`, with `config` in place of its own, the plan and a card."""
    others = left_out(source)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in (CONFIG, CARD, PLAN, *others) and not _is_pickle(path):
            _link(path, folder / path.name)
    _write_json(folder / CONFIG, config)
    _widen_tokenizer(folder / TOKENIZER, config)
    (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
    (folder / CARD).write_text(model_card(source, plan, config), encoding="utf-8")


def left_out(source: Path) -> list[str]:
    """Files of Mistral's own format beside transformers': the same weights, and the old window.

    vLLM reads params.json and not config.json where consolidated*.safetensors is there (0.32.0, transformers_utils/config.py).
    """
    return [path.name for pattern in MISTRAL for path in sorted(source.glob(pattern))]


def _is_pickle(path: Path) -> bool:
    return any(path.match(pattern) for pattern in PICKLES)


def _link(source: Path, target: Path) -> None:
    """Weights are linked, since nothing here changes them; small files are copied, since people edit them."""
    if source.suffix == ".safetensors":
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copy2(source, target)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a surrogate pair, which JSON may hold


def _widen_tokenizer(path: Path, config: Mapping[str, Any]) -> None:
    """Raise model_max_length with the window, so that tokenizers do not cut or warn at the old one."""
    if not path.is_file():
        return
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadConfig(f"{path.name} is not valid JSON: {error}") from None
    window = text_of(config).get("max_position_embeddings", 0)
    if isinstance(settings, dict) and settings.get("model_max_length", window) < window:
        settings["model_max_length"] = window
        _write_json(path, settings)
