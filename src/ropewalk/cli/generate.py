"""Go on from a prompt, streaming: text to standard output; scale, speed and memory to standard error.

Example: `ropewalk generate ropewalk-tiny --prompt "def area(width, height):" --dynamic yarn`
"""

import inspect
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.api.arguments import Chat
from ropewalk.api.generate import generate
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.flags import parameters, with_flags
from ropewalk.cli.parts.progress import Bar
from ropewalk.errors import BadConfig, BadOption
from ropewalk.progress import Silent
from ropewalk.scaling.units import human_bytes, spoken

PROMPT = {
    "prompt": Annotated[str | None, typer.Option("--prompt", help="The text to go on from.")],
    "prompt_file": Annotated[
        Path | None, typer.Option("--prompt-file", help="A file with that text; - is standard input.")
    ],
}  # fmt: skip


def _run(
    model: str, prompt: str | None = None, prompt_file: Path | None = None, chat: bool | None = None, json: bool = False,
    **options: Any,
) -> None:  # fmt: skip
    text = _prompt(prompt, prompt_file)
    at_terminal = sys.stdin.isatty() or sys.stdout.isatty()
    wanted: Chat | None = chat if chat is not None else "auto" if at_terminal else None
    with Bar("starting", transient=True) as bar:
        teller = _Teller(bar, quiet=json)
        written = generate(model, text, chat=wanted, **options, stream=teller.write, progress=teller)
    if not json:
        print(flush=True)
    _summary(written.account)
    if json:
        print_json(written.to_dict())
    if written.exit_code:
        raise typer.Exit(written.exit_code)


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise BadOption("give --prompt TEXT or --prompt-file FILE.")
    if file is None:
        return text or ""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} cannot be read as UTF-8 text: {error}.") from None


class _Teller(Silent):
    """A bar until the prompt is read; from then on the text has the terminal to itself.  quiet: no text at all."""

    def __init__(self, bar: Bar, *, quiet: bool):
        self._bar, self._quiet, self._total, self._begun = bar, quiet, 0.0, False

    def write(self, text: str) -> None:
        if not self._quiet:
            self._begun = True
            print(text, end="", flush=True)

    def begin(self, what: str, total: float | None = None, *, found: bool = False) -> None:
        self._total = total or 0.0
        self._bar.begin(what, total, found=found)

    def reach(self, done: float) -> None:
        self._bar.reach(done)
        if done == self._total:
            self._bar.stop()
        elif not self._bar.is_live:
            _say(f"{done:,} of {self._total:,} tokens read, about {spoken(self._bar.left or 0)} left")

    def note(self, sentence: str) -> None:
        _say(sentence, text_before=self._begun)


def _say(words: str, *, text_before: bool = False) -> None:
    """On standard error; on a line of its own where both go to one terminal."""
    shared = text_before and sys.stdout.isatty() and sys.stderr.isatty()
    print(f"{chr(10) if shared else ''}[{words}]", file=sys.stderr, flush=True)


def _summary(account: Any) -> None:
    speeds = (
        f"{name} {speed:,.0f} tokens/s" if speed else f"{name} -"
        for name, speed in (("prefill", account.prefill_tokens_per_s), ("decode", account.decode_tokens_per_s))
    )
    memory = f"cache {human_bytes(account.cache_bytes)}, peak memory {human_bytes(account.peak_bytes)}"
    counts = f"{account.prompt_tokens:,} tokens read, {len(account.tokens):,} written ({account.finish})"
    _say(f"{counts}; {', '.join(speeds)}; {memory}")


_model, *_rest = parameters(generate)
run = with_flags(
    _run,
    [
        _model,
        *(inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=a) for n, a in PROMPT.items()),
        *_rest,
    ],
)
