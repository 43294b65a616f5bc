"""Command lines of engines, as people paste them: which engine, which model, and what is said of the rotary embedding."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ropewalk.errors import BadConfig

PROGRAMS = {
    "vllm": "vllm", "vllm.entrypoints.openai.api_server": "vllm", "sglang.launch_server": "sglang", "sglang": "sglang",
    "mlx_lm.generate": "mlx_lm", "mlx_lm.server": "mlx_lm", "mlx_lm.chat": "mlx_lm", "trtllm-serve": "tensorrt_llm",
    "ollama": "ollama",
}  # fmt: skip
MODEL_OPTIONS = ("model", "model-path", "m")
# Long names of short options, and options that stand alone.
SHORT = {"m": "model", "c": "ctx-size"}
ALONE = frozenset({"context-shift", "no-context-shift", "trust-remote-code", "flash-attn", "enforce-eager", "jinja"})


@dataclass(frozen=True, slots=True)
class Command:
    """A pasted command line.

    options: by long name; None where one stands alone.  environment: NAME=VALUE words in front.
    """

    engine: str
    model: str
    options: Mapping[str, str | None]
    environment: Mapping[str, str]


def is_command(text: str) -> bool:
    """Whether a text is a command line of a known engine rather than a path."""
    try:
        return len(text.split()) > 1 and _engine(shlex.split(text)) is not None
    except ValueError:
        return any(_program(word) for word in text.split()[:4])


def _program(word: str) -> str | None:
    name = PurePath(word).name
    return PROGRAMS.get(name) or ("llama_cpp" if re.match(r"llama-[a-z]", name) else None)


def _engine(words: list[str]) -> tuple[int, str] | None:
    for index, word in enumerate(words):
        if engine := _program(word):
            return index, engine
        if word.startswith("-") and word != "-m":
            return None
    return None


def parse_command(text: str) -> Command:
    try:
        words = [word for word in shlex.split(text, comments=False) if word != "\n"]
    except ValueError as error:
        raise BadConfig(f"this command line cannot be split into words: {error}.\n  Paste it with its quotes.") from None
    found = _engine(words)
    if found is None:
        raise BadConfig("this is not a command line of an engine that Ropewalk knows.")
    start, engine = found
    environment = dict(word.split("=", 1) for word in words[:start] if re.fullmatch(r"\w+=.*", word))
    options: dict[str, str | None] = {}
    plain: list[str] = []
    rest = iter(words[start + 1 :])
    for word in rest:
        if not re.match(r"--?[A-Za-z]", word):
            plain.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = SHORT.get(name, name).replace("_", "-")
        options[name] = value if equals else None if name in ALONE else next(rest, None)
    model = options.get("model") or options.get("model-path") or _positional(plain)
    if not model:
        raise BadConfig("the command line names no model.\n  Give one, or the config it serves as --config.")
    return Command(engine, model, options, environment)


def _positional(plain: list[str]) -> str | None:
    words = [word for word in plain if word not in ("serve", "run", "create")]
    return words[0] if words else None


def json_option(command: Command, name: str) -> dict[str, Any]:
    """An option whose value is a JSON object; empty where it is absent."""
    text = command.options.get(name)
    if name in command.options and text is None:
        raise BadConfig(f"--{name} has no value.")
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"--{name} is not JSON: {error}.\n  Put it in single quotes, with double quotes inside.") from None
    if not isinstance(value, dict):
        raise BadConfig(f"--{name} is {text}; it must be a JSON object.")
    return value


def number_option(command: Command, name: str) -> float | None:
    text = command.options.get(name)
    if name not in command.options:
        return None
    try:
        return float(text or "")
    except ValueError:
        raise BadConfig(f"--{name} is {text!r}; it must be a number.") from None


def length_option(command: Command, *names: str) -> int | None:
    """Tokens, as engines take them: 131072, 128k (1000s, vLLM) or 128K (1024s)."""
    for name in names:
        if name in command.options:
            found = re.fullmatch(r"(\d{1,12})([kKmM]?)", command.options[name] or "")
            if not found:
                raise BadConfig(f"--{name} is {command.options[name]!r}; it must be a number of tokens.")
            units = {"": 1, "k": 1000, "K": 1024, "m": 10**6, "M": 2**20}
            return int(found.group(1)) * units[found.group(2)]
    return None
