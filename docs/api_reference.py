"""The API pages of the site, made of signatures and docstrings: one page for each verb as a Python call."""

import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import ropewalk
from ropewalk import api
from ropewalk.api.arguments import Flag

NAMED = re.compile(r"\w+(, \w+)*: ")
EXAMPLE = "    "  # docstring lines that are indented are code
BLOCKS = {"serve"}  # verbs whose example never ends: shown, not run


def verbs() -> dict[str, Callable[..., Any]]:
    """The public function of each module of `ropewalk.api` that is named like it."""
    found = {}
    for module in pkgutil.iter_modules(api.__path__):
        function = getattr(importlib.import_module(f"{api.__name__}.{module.name}"), module.name, None)
        if function and module.name in ropewalk.__all__:
            found[module.name] = function
    return found


def page(name: str, function: Callable[..., Any]) -> str:
    words, example = _split(inspect.getdoc(function) or "")
    language = "text" if name in BLOCKS else "python"
    first = "" if "import ropewalk" in example else "import ropewalk\n\n"
    parts = [
        f"# ropewalk.{name}\n\n{words}",
        f"```{language}\n{first}{example}```" if example else "",
        "| parameter | default | command line | |\n|---|---|---|---|\n" + "\n".join(map(_row, _parameters(function))),
        f"On the command line: `ropewalk {_verb(name)} --help`.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _verb(name: str) -> str:
    return "eval" if name == "evaluate" else name


def _split(doc: str) -> tuple[str, str]:
    """(prose, code): the indented lines at a docstring's end are its example."""
    lines = doc.splitlines()
    code = [line for line in lines if line.startswith(EXAMPLE)]
    prose = "\n\n".join(map(_listed, "\n".join(line for line in lines if not line.startswith(EXAMPLE)).strip().split("\n\n")))
    return prose, textwrap.dedent("\n".join(code)) + "\n" if code else ""


def _listed(paragraph: str) -> str:
    """What a docstring says of parameters, such as "plan: further plans.  tokenizer: of a live model.", as a list."""
    if not NAMED.match(paragraph):
        return paragraph
    flat = re.sub(r"\n(?!\w+(, \w+)*: )", " ", paragraph)
    parts = [part.partition(": ") for line in flat.splitlines() for part in re.split(r"  +(?=\w+(?:, \w+)*: )", line)]
    return "\n".join(f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {words}" for names, _, words in parts)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]


def _row(parameter: inspect.Parameter) -> str:
    hint = parameter.annotation
    flag = (
        next((part for part in get_args(hint)[1:] if isinstance(part, Flag)), None) if get_origin(hint) is Annotated else None
    )
    default = "needed" if parameter.default is parameter.empty else f"`{_plain(parameter.default)}`"
    spelt = ", ".join(f"`{s}`" for s in _spelt(parameter, flag)) if flag else "-"
    words = (flag.help if flag else _PYTHON.get(parameter.name, "")).replace("|", "\\|")
    return f"| `{parameter.name}` | {default} | {spelt} | {words} |"


_PYTHON = {
    "progress": "Told what is being done: any object with the methods of `ropewalk.progress.Progress`.",
    "tokenizer": "Of a live model that no folder here holds: a tokenizer, or the name of one.",
}


def _plain(value: Any) -> str:
    return "SILENT" if type(value).__name__ == "Silent" else repr(value)


def _spelt(parameter: inspect.Parameter, flag: Flag) -> tuple[str, ...]:
    if flag.spelt:
        return flag.spelt
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
        return (flag.metavar or parameter.name.upper(),)
    return ("--" + parameter.name.replace("_", "-"),)


def pages() -> dict[str, str]:
    made = {f"api/{name}.md": page(name, function) for name, function in verbs().items()}
    return {"api/index.md": _index(verbs()), **made}


def _index(functions: dict[str, Callable[..., Any]]) -> str:
    rows = "\n".join(
        f"| [`ropewalk.{name}`]({name}.md) | {(inspect.getdoc(function) or '').splitlines()[0]} |"
        for name, function in functions.items()
    )
    return f"""# Python

Every verb of the command line is also a Python function. The model may be a folder, a hub id or a live model; the plan may
be a plan, its file or a method's name; a length may be 4096 or "4k". Options are keyword-only and have the names of the
flags. A function is silent unless it is given a `progress`, and what it returns has `to_dict()` and shows itself in a
notebook.

```python
import ropewalk

run = ropewalk.evaluate(
    "ropewalk-tiny", "out/three-plans", methods=["none", "yarn", "dynamic-yarn"],
    lengths="512,1k", documents=3, samples=2,
)
run.figure().write_html("loss.html")  # in a notebook: run
```

| call | what it does |
|---|---|
{rows}

Below the verbs are the parts that they are made of. `ropewalk.read(config)` makes a `ModelSpec`,
`ropewalk.make_plan(spec, ...)` a `ScalingPlan`, `ropewalk.write(plan, config)` a config; `ropewalk.load_model` and
`ropewalk.load_tokenizer` load, `ropewalk.token_nll` and `ropewalk.rotation_tables` measure, and `ropewalk.method` registers a
method of your own ([the building](../building.md)). All errors are `ropewalk.RopewalkError`.
"""
