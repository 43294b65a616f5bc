"""`export` of a GGUF: not a verb of its own, but what that verb does when it is given one."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ropewalk.api.arguments import as_plan
from ropewalk.cli.parts.common import plan_from, print_json
from ropewalk.engines.engine import get_engine
from ropewalk.errors import BadOption
from ropewalk.scaling.plan_notes import plan_notes
from ropewalk.scaling.units import as_length, human_bytes

LARGE = 2**28  # bytes: below that, a copy takes less than two seconds on any disk
STEP = 2**26  # bytes
READERS = {"llama_cpp", "ollama"}


def run_gguf(
    model: str,
    out: Path | None,
    *,
    engines: str | None,
    plan_file: Path | None,
    original_length: str | None,
    asked: tuple[Any, ...],
    in_place: bool,
    restore: bool,
    force: bool,
    json: bool,
    version: str = "",
) -> None:
    """asked: (to, factor, method, options, layers), as `plan_from` takes them."""
    from ropewalk.checkpoints.gguf import open_gguf, restore_gguf, stretch_gguf

    path = Path(model).expanduser()
    _check_options(engines, out, in_place, restore, asked[:2], plan_file)
    if restore:
        with _bar(path, json) as progress:
            back = restore_gguf(path, out, force=force, progress=progress)
        print_json({"schema": "ropewalk.gguf/1", "out": str(back), "restored": True}) if json else print(
            f"{back}: as it was before, bit for bit"
        )
        return
    source = open_gguf(path)
    spec = source.spec(as_length(original_length) if original_length else None)
    plan = as_plan(plan_file) if plan_file else plan_from(spec, path.name, *asked)
    with _bar(path, json) as progress:
        done = stretch_gguf(source, plan, out, version=version, force=force, progress=progress)
    commands = [f"llama-server -m {shlex.quote(str(done.out))} -c {plan.target_length}"]
    if json:
        said = {"out": str(done.out), "plan": plan.to_dict(), "fingerprint": plan.fingerprint, "carrier": done.carrier}
        changed = {name: {"before": before, "after": after} for name, (before, after) in done.changed.items()}
        print_json({"schema": "ropewalk.gguf/1", **said, "changed": changed, "commands": commands})
        return
    for sentence in (*spec.warnings, *plan_notes(spec, plan)):
        print(f"note: {sentence}")
    print(f"{done.out}: {plan.name}, {plan.target_length:,} tokens, written with {done.carrier} and read back")
    for name, (before, after) in done.changed.items():
        print(f"  {name}: {_shown(before)} -> {_shown(after)}")
    print(f"  {commands[0]}")
    print(f"  to undo it: ropewalk export {shlex.quote(str(done.out))} --restore --in-place")


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _check_options(
    engines: str | None, out: Path | None, in_place: bool, restore: bool, lengths: tuple[Any, ...], plan_file: Path | None
) -> None:
    for name in filter(None, (engines or "").split(",")):
        if get_engine(name).name not in READERS:
            raise BadOption(
                f"{get_engine(name).title} reads no GGUF that is stretched here. --for llama.cpp,ollama is what is meant."
            )
    if (out is None) != in_place:
        raise BadOption("say where to: -o FILE for a copy, or --in-place; one of the two.")
    if restore and (plan_file or any(length is not None for length in lengths)):
        raise BadOption("--restore gives back what was there before; leave out --to, --factor and --plan.")
    if plan_file and any(length is not None for length in lengths):
        raise BadOption("--plan already says how far to stretch; leave out --to and --factor.")


@contextmanager
def _bar(path: Path, json: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr for files that take a while."""
    size = path.stat().st_size if path.is_file() else 0
    if size < LARGE:
        yield lambda count: None
        return
    from ropewalk.cli.parts.console import Console
    from ropewalk.cli.parts.progress import cost_bar

    with cost_bar(Console(stderr=True), f"copying {human_bytes(size)}") as start:
        advance, waiting = start(size, 1, 0), 0

        def seldom(count: int) -> None:  # the bar costs more than a copied block does
            nonlocal waiting
            waiting += count
            if waiting >= STEP:
                advance(waiting)
                waiting = 0

        yield seldom
        advance(waiting)
