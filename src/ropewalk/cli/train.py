"""Train a model briefly under a plan: prove first, evaluate by context length on the way, go on after a kill.

Example: `ropewalk train ropewalk-tiny --recipe tiny-cpu --steps 20 -o out/train`
"""

import dataclasses
import inspect
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.api.arguments import as_options
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.progress import Bar
from ropewalk.jobs.train.recipe import Lora, Recipe, Stage, read_recipe, shipped
from ropewalk.models.source import loading
from ropewalk.scaling.units import as_length

LENGTHS = ("to", "length", "original_length")


def _run(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL|RECIPE.yaml", help="A checkpoint's folder, a hub id, ropewalk-tiny, or a recipe."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run's folder.")] = Path("out/train"),
    recipe: Annotated[str, typer.Option("--recipe", help=f"One of {', '.join(shipped())}, or a YAML file.")] = "",
    preflight: Annotated[bool, typer.Option("--preflight", help="Only the proofs; trains nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    **flags: Any,
) -> None:
    if model and model.endswith((".yaml", ".yml")):
        model, recipe = "", model
    given = {name: _value(name, value) for name, value in flags.items() if value not in (None, [], ())}
    chosen = read_recipe(recipe, ({"model": model} if model else {}) | given)
    teller = _Teller(Console(stderr=True, highlight=False), chosen)
    with teller:
        from ropewalk.jobs.train.job import train

        result = train(chosen, out, teller, preflight_only=preflight)
    if not teller.first:
        return
    if json:
        print_json(dataclasses.asdict(result))
    elif result.model:
        print(f"{result.model}: {result.steps:,} steps, {result.tokens:,} tokens" + _thrown(result.thrown_away))
    else:
        print(f"{len(result.proofs)} proofs: all passed; nothing was trained.")


def _thrown(count: int) -> str:
    return f", {count} steps thrown away" if count else ""


def _value(name: str, value: Any) -> Any:
    if name in LENGTHS:
        return as_length(value)
    return as_options(value) if name == "options" else value


class _Teller:
    """Prints what happens, with a bar for the time left."""

    def __init__(self, console: Console, recipe: Any):
        self.console, self.first, self.tokens, self.steps = console, os.environ.get("RANK", "0") == "0", 0, 0
        self.bar = Bar(loading(recipe.model), console)

    def __enter__(self) -> None:
        self.bar.__enter__()

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, event: Any) -> None:
        getattr(self, f"_{event.kind}")(**event.facts)

    def _index(self, **now: Any) -> None:
        self.bar.say(", ".join(f"{k} {v:,}" for k, v in now.items() if isinstance(v, int)), "reading texts")

    def _proof(self, name: str, passed: bool | None, said: str, seconds: float) -> None:
        mark = {True: "[green]ok[/]   ", False: "[red]FAIL[/] ", None: "[dim]-[/]    "}[passed]
        self.bar.say("", "proving")
        self.console.print(f"{mark}{name}: {said} [dim]({seconds:.1f} s)[/]")

    def _resumed(self, step: int, of: int) -> None:
        self.console.print(f"going on from step {step:,} of {of:,}")

    def _step(self, at: int, of: int, loss: float, tokens: int, seconds: float, peak_bytes: int, **line: Any) -> None:
        if "skipped" in line:
            self.console.print(f"[yellow]note[/] {line['skipped']}")
        speed = f", {(tokens - self.tokens) / seconds:,.0f} tokens/s" if self.tokens else ""  # the first may be a continuation
        self.tokens = tokens
        far = list(line["loss_by_length"].values())[-1:]
        said = f"loss {loss:.3f}" + (f", far {far[0]:.3f}" if far else "") + f"{speed}, {peak_bytes / 2**30:.1f} GiB"
        if self.steps != of:
            self.bar.begin("training", of, found=True)
            self.steps = of
        self.bar.reach(at)
        self.bar.say(f"step {at:,} of {of:,}, {said}", "training")

    def _evaluation(
        self, at: int, held_out: dict[str, float], passkeys: list[int], rise_inside_window: float, **_: Any
    ) -> None:
        buckets = "  ".join(f"{name} {value:.3f}" for name, value in held_out.items())
        keys = f"  pass keys {passkeys[0]}/{passkeys[1]}" if passkeys[1] else ""
        self.console.print(f"step {at:,}: {buckets}{keys}  inside the window {rise_inside_window:+.1%}")

    def _alarm(self, at: int, rise: float, allowed: float) -> None:
        self.console.print(
            f"[red]alarm[/] step {at:,}: inside the original window the loss is {rise:.1%} "
            f"above the base's ({allowed:.0%} allowed)"
        )

    def _checkpoint(self, at: int, folder: str) -> None:
        self.bar.say(f"kept step {at:,}")

    def _flat(self, at: int, stage: int) -> None:
        self.console.print(f"step {at:,}: the far bucket is flat; stage {stage + 1} ends here")

    def _export(self, folder: str, said: str) -> None:
        self.console.print(f"exported: {said}")


def _signature() -> inspect.Signature:
    """`_run` with a flag for every field of a recipe, of its stages and of its adapters."""
    fixed = [p for p in inspect.signature(_run).parameters.values() if p.kind is not p.VAR_KEYWORD]
    fields = {
        **{k: v for k, v in Recipe.model_fields.items() if k not in ("model", "stages", "lora")},
        **Stage.model_fields,
        **{f"lora_{k}": v for k, v in Lora.model_fields.items()},
    }
    lora = inspect.Parameter(
        "lora", inspect.Parameter.KEYWORD_ONLY, default=None,
        annotation=Annotated[bool | None, typer.Option("--lora/--no-lora", help=Recipe.model_fields["lora"].description)],
    )  # fmt: skip
    flags = [
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(k, v)) for k, v in fields.items()
    ]
    return inspect.Signature([*fixed, lora, *flags])


def _option(name: str, field: Any) -> Any:
    flag = "--" + name.replace("_", "-")
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


def run(**arguments: Any) -> None:
    _run(**arguments)


run.__signature__ = _signature()  # type: ignore[attr-defined]
run.__annotations__ = {p.name: p.annotation for p in _signature().parameters.values()}
