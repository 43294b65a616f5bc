"""Puts the explorer together: page, style, scripts and data become one file that asks the network for nothing."""

import json
import re
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.files import called, write_file
from ropewalk.errors import BadConfig, OutputExists
from ropewalk.jobs.explore.models import describe, known_tables, method_table, presets
from ropewalk.scaling.spec import ModelSpec

# In the order in which they run; each adds to window.ropewalk.
SCRIPTS = (
    "math spell config state draw controls ch1_rotate ch2_spectrum ch3_interpolate ch4_ntk ch5_by_parts "
    "ch6_dynamic ch7_yarn ch8_kernel ch9_near panel main"
).split()
DIALECTS = ("transformers", "vllm", "llama_cpp", "ropewalk")
MARK = '<meta name="generator" content="ropewalk explore">'


def explorer(model: Mapping[str, Any] | None = None) -> str:
    """The whole page; `model` (from `opened`) is put first and shown."""
    data = {
        "models": ([dict(model)] if model else []) + presets(),
        "methods": method_table(),
        "dialects": [json.loads(_source(f"dialects/{name}.json")) for name in DIALECTS],
        "known": known_tables(),
        "row": json.loads(_source("attention_row.json")),
    }
    parts = {
        "style": _source("style.css"),
        "data": for_script(data),
        "scripts": "\n".join(_source(f"js/{name}.js") for name in SCRIPTS),
    }
    return re.sub(r"/\* (style|data|scripts) \*/", lambda match: parts[match[1]], _source("page.html"))


def opened(name: str, config: Mapping[str, Any], spec: ModelSpec, original_length: int | None = None) -> dict[str, Any]:
    """A model of the user's as the page holds it.

    name: empty where it has none.  original_length: where it was given, and so must be to the commands that the page shows.
    """
    shown, command = called(name) or "your model", shlex.quote(name or "config.json")
    if original_length is not None:
        command += f" --original-length {original_length}"
    return {"id": "opened", "name": shown, "command": command, "source": f"the config of {shown}"} | describe(config, spec)


def for_script(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever a config says."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def write_explorer(out: Path, model: Mapping[str, Any] | None = None, *, force: bool = False) -> int:
    """Write the page and return its size in bytes. An older explorer is replaced, anything else only with `force`."""
    if out.is_dir():
        raise BadConfig(f"{out} is a folder. Give the name of the file to write, such as {out / 'explorer.html'}.")
    if out.exists() and not force and not _is_explorer(out):
        raise OutputExists(f"{out} exists and is not an explorer page. Choose another name, or replace it: force (--force).")
    page = explorer(model).encode()
    write_file(out, page)
    return len(page)


def _is_explorer(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return MARK in stream.read(2000)


def _source(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
