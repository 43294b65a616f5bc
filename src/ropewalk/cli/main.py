"""Finds the verbs, runs one, and prints our errors without a traceback."""

import importlib
import os
import pkgutil
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, TextIO

import typer

import ropewalk.cli
from ropewalk.cli.parts.console import safe_output, visible
from ropewalk.errors import RopewalkError, missing_part

HELP = """Stretch the context window of RoPE language models: plan, apply, measure, prove.

Example: `ropewalk plan ropewalk-tiny --to 4096`
"""
INTERRUPTED, TERMINATED = 130, 143
NOT_VERBS = {"main", "parts"}


def build(asked: str = "") -> typer.Typer:
    """The application. Where `asked` is a verb, that one alone is imported: the others would double the time to an answer."""
    app = typer.Typer(
        name="ropewalk", help=HELP, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
    )
    app.callback()(_root)
    verbs = {m.name.replace("_", "-"): m.name for m in pkgutil.iter_modules(ropewalk.cli.__path__) if m.name not in NOT_VERBS}
    for name in [asked] if asked in verbs else verbs:
        try:
            verb = importlib.import_module(f"ropewalk.cli.{verbs[name]}")
        except ImportError as error:
            part = missing_part(error, name)
            if part is None or name == asked:
                raise
            app.command(name, help=f"Not here: {part}.")(lambda: None)  # listed all the same
        else:
            app.command(name, help=verb.__doc__)(verb.run)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # 7 ms that no verb needs

        print(f"ropewalk {version('ropewalk')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script. Exit codes: 0 done, 1 a finding (doctor, verify), 2 bad input, 3 not verified, 130 interrupted,
    143 terminated.
    """
    if "RANK" not in os.environ:  # beside other ranks one that unwinds would wait for those that are gone
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # unwinds, so that half-written files are removed
    warnings.showwarning = _note
    try:
        with safe_output():
            build(sys.argv[1] if len(sys.argv) > 1 else "")()
    except RopewalkError as error:
        _complain(str(error))
        sys.exit(2)
    except ImportError as error:
        part = missing_part(error, _verb())
        if part is None:
            raise
        _complain(str(part))
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:  # typer makes that of an interrupt, without a word
            raise
        _complain("interrupted. What was finished is kept; run it again to go on.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: `ropewalk ... | head`
        sys.exit(141)


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as a person reads it where it is ours; else as Python prints it."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        print(f"note: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _verb() -> str:
    return sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""


def _complain(text: str) -> None:
    name = Path(sys.argv[0]).name.replace("__main__.py", "python -m ropewalk")
    print(visible(f"{name} {_verb()}".rstrip() + f": {text}"), file=sys.stderr)


if __name__ == "__main__":
    main()
