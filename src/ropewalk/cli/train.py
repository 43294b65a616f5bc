"""Train a model briefly under a plan: prove first, evaluate by context length on the way, go on after a kill.

Example: `ropewalk train ropewalk-tiny --recipe tiny-cpu --steps 20 -o out/train`
"""

import inspect
import os
from typing import Annotated, Any

import typer
from rich.text import Text

from ropewalk.api.train import LENGTHS, train
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import parameters, with_flags
from ropewalk.cli.parts.progress import Bar
from ropewalk.jobs.train.recipe import Recipe, fields, shipped

STYLES = {"ok  ": "green", "FAIL": "red", "-   ": "dim", "note": "yellow", "alarm": "red"}  # of a sentence's first word


def _run(json: bool = False, **given: Any) -> None:
    with _Teller("starting", Console(stderr=True, highlight=False)) as bar:
        result = train(**given, progress=bar)
    if os.environ.get("RANK", "0") != "0":
        return
    if json:
        print_json(result.to_dict())
    elif result.model:
        print(f"{result.model}: {result.steps:,} steps, {result.tokens:,} tokens" + _thrown(result.thrown_away))
    else:
        print(f"{len(result.proofs)} proofs: all passed; nothing was trained.")


def _thrown(count: int) -> str:
    return f", {count} steps thrown away" if count else ""


class _Teller(Bar):
    """Prints what happens in colours, with a bar for the time left; a stage without a known end only renames it."""

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        if total is None and not what.startswith("loading"):
            self.say("", what)
        else:
            super().begin(what, total, found=found)

    def note(self, sentence: str) -> None:
        if self._shown:
            style = next((style for word, style in STYLES.items() if sentence.startswith(word)), "")
            text = Text(sentence)
            text.stylize(style, 0, len(sentence.split(" ", 1)[0]))
            text.highlight_regex(r"\(\d+\.\d s\)$", "dim")
            self._console.print(text)


def _flags() -> list[inspect.Parameter]:
    """Those of the call, and one for every field of a recipe, of its stages and of its adapters."""
    model, out, preflight = parameters(train)
    own = {
        "recipe": Annotated[
            str | None, typer.Option("--recipe", help=f"One of {', '.join(shipped())}, or a YAML file.")
        ],
        "lora": Annotated[bool | None, typer.Option("--lora/--no-lora", help=Recipe.model_fields["lora"].description)],
        **{name: _option(name, field) for name, field in fields().items()},
    }  # fmt: skip
    more = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=v) for k, v in own.items()]
    return [model, out, preflight, *more]


def _option(name: str, field: Any) -> Any:
    flag = "--" + name.replace("_", "-")
    if name == "precision":  # the word of the other verbs for it
        return Annotated[str | None, typer.Option(flag, "--dtype", help=f"{field.description} [default: {field.default}]")]
    if name == "options":
        return Annotated[list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help=field.description)]
    kind = field.annotation
    if kind in (tuple[str, ...],):
        return Annotated[list[str] | None, typer.Option(flag, help=f"{field.description} Again for more.")]
    if kind is bool:
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=field.description)]
    inner = next((t for t in (int, float) if kind in (t, t | None)), str)
    shown: Any = str if name in LENGTHS else inner
    default = "" if field.is_required() or field.default in (None, ()) else f" [default: {field.default}]"
    return Annotated[
        shown | None, typer.Option(flag, metavar="TOKENS" if name in LENGTHS else None, help=f"{field.description}{default}")
    ]


run = with_flags(_run, _flags())
