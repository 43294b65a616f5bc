"""Compose files and Kubernetes manifests: the command lines that their containers run.

Sources: the Compose specification (services; interpolation); Kubernetes, "Define a Command and Arguments for a Container" and
"Define Dependent Environment Variables".
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ropewalk.engines.commands import counts, is_command, parse_command
from ropewalk.errors import BadConfig

LARGEST = 2**20  # bytes
COMPOSED = re.compile(r"\$(?:(?P<dollar>\$)|(?P<plain>\w+)|\{(?P<name>\w+)(?::?(?P<how>[-?+])(?P<other>[^${}]*))?\})")
DOLLAR, UNKNOWN = "\0", "\1"  # one that stands for itself; around a variable without a value
KUBERNETES = re.compile(r"\$(?P<dollar>\$)?\((?P<name>[\w.-]+)\)")


@dataclass(frozen=True, slots=True)
class Container:
    """line: what `docker run` would say.  missing: variables in it whose value is not in the file.  apart: keys of it that
    bring settings from elsewhere."""

    name: str
    image: str
    line: str
    missing: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


def command_lines(path: Path, note: Callable[[str], None]) -> str:
    """One line for each container that starts an engine, parted by semicolons."""
    found = list(_containers(path))
    engines = [container for container in found if is_command(container.line)]
    if not engines:
        seen = ", ".join(f"{one.name} ({one.image})" if one.image else one.name for one in found) or "none has a name"
        raise BadConfig(
            f"no container of {path} starts an engine that is known by its command or its image: {seen}.\n"
            '  Give the command line that runs inside, in quotes: "vllm serve ...", "llama-server ...".'
        )
    first = engines[0]  # the one that is looked at
    command = parse_command(first.line)
    if missing := [variable for variable in first.missing if counts(command, variable)]:
        raise BadConfig(
            f"{path}: the command of {first.name} takes {', '.join(missing)} from elsewhere.\n"
            "  Write the value in, or give the file with all filled in (`docker compose config`, `helm template`, "
            "`kubectl get -o yaml`)."
        )
    if first.apart:
        note(f"{first.name} takes settings from elsewhere too ({', '.join(first.apart)}), which are not read here.")
    return " ; ".join(one.line for one in engines)


def _containers(path: Path) -> Iterator[Container]:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        hint = "\n  It is a template: `helm template` fills it in." if "{{" in path.read_text(errors="replace") else ""
        raise BadConfig(f"{path} is not valid YAML: {' '.join(str(error).split())}.{hint}") from None
    beside = path.parent / ".env"
    variables = _dotenv(beside) if beside.is_file() and beside.stat().st_size <= LARGEST else {}
    for document in documents:
        services = document.get("services") if isinstance(document, dict) else None
        if isinstance(services, dict):
            yield from (_of_compose(_text(name), made, variables) for name, made in services.items() if isinstance(made, dict))
        else:
            yield from (_of_kubernetes(made) for made in _pods(document, set()))


def _dotenv(path: Path) -> dict[str, str]:
    """NAME=VALUE lines, as Compose reads them beside its file."""
    lines = (re.fullmatch(r"(?:export\s+)?(\w+)=(.*)", line.strip()) for line in path.read_text(errors="replace").splitlines())
    return {found[1]: re.sub(r"\s+#.*", "", found[2]).strip("\"' ") for found in lines if found}


def _of_compose(name: str, made: Mapping[str, Any], variables: Mapping[str, str]) -> Container:
    missing: list[str] = []

    def filled(text: str, missing: list[str]) -> str:
        """From the innermost on: a default may hold another variable."""

        def value(found: re.Match[str]) -> str:
            if found["dollar"]:
                return DOLLAR
            variable = found["plain"] or found["name"]
            known = variables.get(variable, "")
            if found["how"] == "+":
                return found["other"] if known else ""
            if known or found["how"] == "-":
                return known or found["other"]
            return f"{UNKNOWN}{variable}{UNKNOWN}"

        while (new := COMPOSED.sub(value, text)) != text:
            text = new
        missing += re.findall(f"{UNKNOWN}(\\w+){UNKNOWN}", text)  # what is left of them: an unused default counts for nothing
        return re.sub(f"{UNKNOWN}(\\w+){UNKNOWN}", r"$\1", text).replace(DOLLAR, "$")

    environment = made.get("environment") or {}
    if isinstance(environment, list):
        environment = dict(_text(line).split("=", 1) for line in environment if "=" in _text(line))
    image = filled(_text(made.get("image")), [])
    words = [_words(name, key, made.get(key), lambda text: filled(text, missing)) for key in ("entrypoint", "command")]
    given = {key: filled(_text(value), []) for key, value in _mapping(environment).items() if value is not None}
    apart = [key for key in ("env_file", "extends") if made.get(key)]
    return Container(name, image, _line(given, image, words), tuple(dict.fromkeys(missing)), tuple(apart))


def _of_kubernetes(made: Mapping[str, Any]) -> Container:
    name, image = _text(made.get("name")) or "a container", _text(made.get("image"))
    stated = made.get("env")
    listed = [one for one in stated if isinstance(one, dict)] if isinstance(stated, list) else []
    given = {_text(one.get("name")): _text(one["value"]) for one in listed if one.get("value") is not None}
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return found[0][1:]
        if found["name"] not in given:
            missing.append(found["name"])
        return given.get(found["name"], found[0])

    words = [_words(name, key, made.get(key), lambda text: KUBERNETES.sub(value, text)) for key in ("command", "args")]
    apart = ("envFrom",) if made.get("envFrom") else ()
    return Container(name, image, _line(given, image, words), tuple(dict.fromkeys(missing)), apart)


def _pods(document: Any, seen: set[int]) -> Iterator[Mapping[str, Any]]:
    """Containers at any depth: of a Pod, of the template in a Deployment, of what an operator calls its own.

    seen: an alias may hold itself, or the same part many times.
    """
    if not isinstance(document, dict | list) or id(document) in seen:
        return
    seen.add(id(document))
    if isinstance(document, dict):
        listed = document.get("containers")
        yield from (made for made in (listed if isinstance(listed, list) else []) if isinstance(made, dict))
    for inner in document.values() if isinstance(document, dict) else document:
        yield from _pods(inner, seen)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A scalar as YAML writes it: true and not True. Lists and mappings are none: aliases can make them endless."""
    if value is None or isinstance(value, dict | list | set | tuple):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(name: str, key: str, value: Any, filled: Callable[[str], str]) -> list[str]:
    """Variables are filled in before a text is split."""
    if isinstance(value, list):
        return [filled(_text(word)) for word in value]
    try:
        return shlex.split(filled(value)) if isinstance(value, str) else []
    except ValueError as error:
        raise BadConfig(f"{key} of {name} cannot be split into words: {error}.") from None


def _line(environment: Mapping[Any, str], image: str, words: Iterable[Iterable[str]]) -> str:
    variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    return shlex.join(["docker", "run", *variables, *([image] if image else []), *chain.from_iterable(words)])
