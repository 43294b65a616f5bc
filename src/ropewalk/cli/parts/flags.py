"""A verb's flags, made of the parameters of its function in `ropewalk.api`: one signature says both."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from ropewalk.api import arguments
from ropewalk.api.arguments import Flag
from ropewalk.cli.parts.common import Json, print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.progress import Bar

# What is typed for each kind of argument; the function reads it.
TYPED = {
    arguments.Length: str, arguments.Lengths: str, arguments.Names: str, arguments.Numbers: str, arguments.Place: Path,
    arguments.Options: list[str], arguments.Plan: Path, arguments.Model: str, arguments.Time: str,
    arguments.Chat: bool,
    arguments.Pairs: str,
}  # fmt: skip
LATER = 5.0  # seconds: of verbs that are done at once, but for slow disks and networks
Show = Callable[[Console, Any], int | None]


def verb(
    function: Callable[..., Any], show: Show, *, transient: bool = True,
    after: float | Callable[[Mapping[str, Any]], float] = 0.0,
) -> Callable[..., None]:  # fmt: skip
    """The command of `function`: its flags, a bar where it takes one, and what it returns, as JSON or as `show` prints it.

    show: answers the exit code, where that is not 0.  transient: the bar leaves nothing of itself on a terminal.
    after: as of a `Bar`, or made of the arguments.
    """
    watched = "progress" in inspect.signature(function).parameters

    def run(json: bool = False, **given: Any) -> None:
        if watched:
            seconds = after(given) if callable(after) else after
            with Bar("starting", transient=transient, after=seconds) as bar:
                result = function(**given, progress=bar)
        else:
            result = function(**given)
        if json:
            print_json(result.to_dict())
            code = getattr(result, "exit_code", 0)
        else:
            code = show(Console(highlight=False), result)
        if code:
            raise typer.Exit(code)

    return with_flags(run, parameters(function))


def with_flags(
    run: Callable[..., None], flags: Sequence[inspect.Parameter], *, as_json: bool = True
) -> Callable[..., None]:  # fmt: skip
    """`run(**given)` as typer reads it: with these flags, those that `run` itself has, and --json.

    What is not given has the function's own default.
    """

    def call(**given: Any) -> None:
        run(**{name: value for name, value in given.items() if value not in (None, [])})

    own = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(run).parameters.values() if _is_flag(p)]
    json = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    found = [*flags, *own, json] if as_json else [*flags, *own]
    call.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in found}
    return call


def _is_flag(parameter: inspect.Parameter) -> bool:
    return get_origin(parameter.annotation) is Annotated


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Of a function, as typer reads them; those without a Flag are Python's alone."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        hint = parameter.annotation
        flags = [part for part in get_args(hint)[1:] if isinstance(part, Flag)] if get_origin(hint) is Annotated else []
        found += [_parameter(parameter, get_args(hint)[0], flag) for flag in flags]
    return found


def _parameter(parameter: inspect.Parameter, kind: Any, flag: Flag) -> inspect.Parameter:
    typed, default = list[str] if flag.many else _typed(kind), parameter.default
    needed = default is inspect.Parameter.empty
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not flag.spelt:
        said: Any = typer.Argument(metavar=flag.metavar, help=flag.help)
    else:
        name = parameter.name.replace("_", "-")
        spelt = flag.spelt or (f"--{name}/--no-{name}" if kind is bool else f"--{name}",)
        said = typer.Option(*spelt, metavar=flag.metavar, help=flag.help, min=flag.least)
    if not needed and isinstance(default, tuple):
        default = ",".join(map(str, default)) if typed is str else list(default) or None
    elif default is not None and not needed and typed in (str, Path) and not isinstance(default, bool):
        default = typed(default)
    shown = typed if needed or default is not None else typed | None
    return inspect.Parameter(
        parameter.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[shown, said],
        default=inspect.Parameter.empty if needed else default,
    )  # fmt: skip


def _typed(kind: Any) -> Any:
    """`Length | None` -> str: what is left out is None anyway."""
    for alias, typed in TYPED.items():
        if kind in (alias, _optional(alias)):
            return typed
    inner = [part for part in get_args(kind) if part is not type(None)]
    return inner[0] if type(None) in get_args(kind) and len(inner) == 1 else kind


def _optional(kind: Any) -> Any:
    try:
        return kind | None
    except TypeError:
        return kind
