"""Write a checkpoint that stock transformers runs with the planned frequencies: the config changes, the weights do not."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.files import new_folder, title
from ropewalk.checkpoints.weights import PICKLES, weight_files
from ropewalk.engines.config_files import rotation_keys
from ropewalk.engines.transformers import write as transformers
from ropewalk.engines.transformers.checkpoint import CONFIG, read_config, text_of
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.method import get_method
from ropewalk.scaling.plan import ScalingPlan

CARD_TEXT = """---
library_name: transformers
base_model: {source}
tags: [ropewalk, long-context, {method}]
---
# {name}, stretched to {target:,} tokens

{done}

{table}

{rules}

## Measured

{measured}

## Use

{use}
"""

USE = """```python
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

`rope_parameters`, for engines that take it on the command line:

```json
{keys}
```"""
LIVE = """No config can say this plan: `config.json` is that of `{source}`, and whoever reads it alone has
a window of {window:,} tokens, without the stretch. The plan needs a live model:

```console
$ ropewalk serve path/to/this/folder --plan path/to/this/folder/ropewalk.json
```

```python
import ropewalk
model = ropewalk.load_model("path/to/this/folder")
ropewalk.attach(model, "path/to/this/folder/ropewalk.json")
```"""

UNTOUCHED = (
    "The weights are those of `{source}`, untouched. Only the rotary embedding in `config.json` was changed, by Ropewalk,\n"
    "following the plan in `ropewalk.json` (fingerprint `{fingerprint}`)."
)
DEQUANTISED = (
    "The weights are those of the GGUF `{source}`, dequantised to float32: the numbers that it held, not those of the model\n"
    "that it was quantised from. The rotary embedding in `config.json` was changed by Ropewalk, following the plan in\n"
    "`ropewalk.json` (fingerprint `{fingerprint}`)."
)
NOT_MEASURED = (
    "Nothing yet: stretching a window says that the model *can* be asked to read this far, not that it reads well. "
    "Static scaling also changes short inputs. Evaluate both ends before relying on it."
)


def model_card(
    source: str, plan: ScalingPlan, config: Mapping[str, Any], measured: str = NOT_MEASURED, done: str = UNTOUCHED
) -> str:
    """source: its name.  done: what was done to the weights; it may name {source} and {fingerprint}."""
    rows = ["| layers | method | factor | original length | rope_theta | attention factor |", "|---|---|---|---|---|---|"]
    rules = []
    for layer_type, stretch in plan.stretches:
        rope, method = stretch.rope, get_method(stretch.method)
        options = ", ".join(f"{name}={value}" for name, value in stretch.options if not isinstance(value, tuple))
        m = stretch.scaled_by(stretch.largest_scale).attention_factor
        softmax = stretch.softmax_factor
        rows.append(
            f"| {layer_type} | {stretch.name}{f' ({options})' if options else ''} | {stretch.factor:g} | "
            f"{rope.original_length:,} | {rope.rope_theta:g} | {m:.4f}{'' if softmax == 1 else f', softmax x{softmax:.4f}'} |"
        )
        rules.append(f"*{stretch.name}*: {method.summary} Source: {method.source}.")
    keys, window = rotation_keys(config), text_of(config).get("max_position_embeddings") or rope.original_length
    use = USE if _says(plan, config) else LIVE
    return CARD_TEXT.format(
        source=source,
        name=source,
        target=plan.target_length,
        method=plan.name,
        done=done.replace("{source}", source).replace("{fingerprint}", plan.fingerprint),
        table="\n".join(rows),
        rules="\n\n".join(dict.fromkeys(rules)),
        measured=measured,
        use=use.format(source=source, window=window, keys=json.dumps(keys.get("rope_parameters", keys), indent=2)),
    )


def _says(plan: ScalingPlan, config: Mapping[str, Any]) -> bool:
    """Whether a config says the plan: of a causal one it is the source's own."""
    if plan.is_one_table or any(stretch.near for _, stretch in plan.stretches):
        return plan.is_one_table
    try:
        transformers.prove(plan, config)
    except CannotExpress:
        return False
    return True


PLAN = "ropewalk.json"
CARD = "README.md"
# Files that state a window of their own, and the key: of the tokenizer, and of sentence-transformers.
WINDOWS = {"tokenizer_config.json": "model_max_length", "sentence_bert_config.json": "max_seq_length"}
GENERATION = "generation_config.json"  # max_length: of prompt and answer, which may be the window (Llama 2) or less on purpose
OTHER_COPIES = (*PICKLES, "*.gguf", "*.onnx", "*.onnx_data", "*.h5", "*.msgpack", "*.tflite", "*.mlmodel", "openvino*.xml")
MISTRAL = ("params.json", "consolidated*.safetensors", "consolidated*.safetensors.index.json")


def extend(source: Path, plan: ScalingPlan, out: Path, *, force: bool = False, gguf: str = "") -> dict[str, Any]:
    """Copy the checkpoint in `source` to `out` with the plan in its config. Returns the config written.

    Weights are hard-linked where the file system allows it, copied otherwise, and never loaded.
    What `write` gives has been read back and says the plan's frequencies; nothing is copied before that.
    gguf: the name of the file that `source` was made of.
    """
    check_places(source, out)
    config = read_config(source)
    written = transformers.write(plan, config)
    with new_folder(out, force=force) as folder:
        fill(folder, source, plan, written, gguf)
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


def dequantised(gguf: str) -> str:
    """What to say of a checkpoint that was made of a GGUF."""
    return f"{gguf} was dequantised to float32: 4 bytes a number, and no better than it was quantised. `export` stays a GGUF."


def fill(folder: Path, source: Path, plan: ScalingPlan, config: Mapping[str, Any], gguf: str = "") -> None:
    """Make `folder` a checkpoint: the files of `source`, with `config` in place of its own, the plan and a card."""
    skipped = {CONFIG, CARD, PLAN, *left_out(source)}
    for path in _files(source):
        name = path.relative_to(source)
        if name.as_posix() not in skipped:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _link(path, folder / name)
    _write_json(folder / CONFIG, config)
    for settings, key in WINDOWS.items():
        _widen(folder / settings, key, config)
    _widen(folder / GENERATION, "max_length", config, only=text_of(read_config(source)).get("max_position_embeddings", 0))
    (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
    card = model_card(gguf or title(source), plan, config, done=DEQUANTISED if gguf else UNTOUCHED)
    (folder / CARD).write_text(card + _said_of_code(source), encoding="utf-8")


def left_out(source: Path) -> list[str]:
    """Files that would be another copy of the model, at its old window, by their paths in the checkpoint.

    Mistral's own format: vLLM reads params.json and not config.json where consolidated*.safetensors is there (0.32.0,
    transformers_utils/config.py). Pickles, and what other programs run: their rotation is baked in.
    """
    own = {path.name for pattern in MISTRAL for path in source.glob(pattern)}
    files = (path.relative_to(source) for path in _files(source))
    return [name.as_posix() for name in files if name.as_posix() in own or any(name.match(one) for one in OTHER_COPIES)]


def code_files(source: Path) -> list[str]:
    """Python files of a checkpoint, which are copied and never run here."""
    return [path.relative_to(source).as_posix() for path in _files(source) if path.suffix == ".py"]


def file_notes(source: Path) -> tuple[str, ...]:
    """What to say of a checkpoint's files: other copies of the model that are not taken along, and code that is."""
    notes, names, code = [], left_out(source), code_files(source)
    if names:
        mistral = " vLLM would read params.json instead of config.json." if MISTRAL[0] in names else ""
        notes.append(f"left out: {', '.join(names)}: other copies of the model, at its old window.{mistral}")
    if code:
        notes.append(f"copied and not run: {', '.join(code)}, code of its authors. Read it before you let a program run it.")
    return tuple(notes)


def _said_of_code(source: Path) -> str:
    """For the card."""
    names = ", ".join(f"`{name}`" for name in code_files(source))
    return f"\nCopied from `{title(source)}` as they were, and not run by Ropewalk: {names}.\n" if names else ""


def _files(source: Path) -> list[Path]:
    """The files of a checkpoint and of its folders (an embedding model's pooling, adapters), hidden ones left out."""
    found = (path for path in source.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(source).parts))


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


def _widen(path: Path, key: str, config: Mapping[str, Any], *, only: Any = None) -> None:
    """Raise a number that is below the window, so that nothing cuts or warns at the old one.  only: this number alone."""
    if not path.is_file():
        return
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadConfig(f"{path.name} is not valid JSON: {error}") from None
    window = text_of(config).get("max_position_embeddings", 0)
    if (
        isinstance(settings, dict)
        and (said := _number(settings.get(key))) is not None
        and said < window
        and only in (None, said)
    ):
        settings[key] = window
        _write_json(path, settings)


def _number(value: Any) -> float | None:
    """A number, also one that somebody wrote as a text; None for anything else, which is left as it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
