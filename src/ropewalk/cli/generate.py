"""Go on from a prompt, streaming: text to standard output; scale, speed and memory to standard error.

Example: `ropewalk generate ropewalk-tiny --prompt "def area(width, height):" --dynamic yarn`
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ropewalk.cli.parts.common import (
    Device,
    Dtype,
    Dynamic,
    Factor,
    Json,
    Model,
    Options,
    OriginalLength,
    PlanFile,
    RunMethod,
    To,
    plan_to_run,
    print_json,
)
from ropewalk.cli.parts.progress import Bar, spoken
from ropewalk.errors import BadConfig, BadOption
from ropewalk.models.source import loading
from ropewalk.scaling.units import human_bytes

INTERRUPTED = 130


def run(
    model: Model,
    prompt: Annotated[str | None, typer.Option("--prompt", help="The text to go on from.")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option("--prompt-file", help="A file with that text; - is standard input.")
    ] = None,
    dynamic: Dynamic = None,
    method: RunMethod = None,
    to: To = None,
    factor: Factor = None,
    option: Options = None,
    original_length: OriginalLength = None,
    plan_file: PlanFile = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Write at most so many.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the most probable token each time.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the fewest tokens that have this probability.")] = 1.0,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed draws the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End before this text; may be given several times.")] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Put the prompt into the model's chat template. [default: where it has one, and a terminal is there]",
        ),
    ] = None,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    text = _prompt(prompt, prompt_file)
    plan = plan_to_run(model, dynamic, method, to, factor, option, original_length, plan_file)
    with Bar(loading(model), transient=True) as bar:
        from ropewalk.jobs.serve.answer import Wanted, new_answer
        from ropewalk.jobs.serve.generate import new_account
        from ropewalk.models.served import open_model

        wanted = Wanted(max_new_tokens, temperature, top_p, seed, tuple(stop or ()))
        served = open_model(model, plan, dtype=dtype, device=device)
        answer = new_answer(served, _ids(served, text, chat), wanted)
        account = new_account(served, answer)
        try:
            _stream(served, answer, account, json, bar)
        except KeyboardInterrupt:
            account.finish = "interrupted"
    _summary(account)
    if json:
        print_json({"model": model, "plan": plan.to_dict() if plan else None, **account.to_dict()})
    if account.finish == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise BadOption("give --prompt TEXT or --prompt-file FILE.")
    if file is None:
        return text or ""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file} cannot be read as UTF-8 text: {error}.") from None


def _ids(served: Any, text: str, chat: bool | None) -> list[int]:
    """The prompt as tokens: as a person's turn where the model was made for conversations and a person is here."""
    has_template = bool(getattr(served.tokenizer, "chat_template", None))
    if chat is None:
        chat = has_template and (sys.stdin.isatty() or sys.stdout.isatty())
    if not chat:
        if has_template:
            _say("the prompt is gone on from as it is; --chat puts it into the model's chat template")
        ids: list[int] = served.tokens(text)
        return ids
    from ropewalk.models.served import chat_tokens

    ids = chat_tokens(served, [{"role": "user", "content": text}])
    _say("the prompt is put into the model's chat template; --no-chat goes on from it as it is")
    return ids


def _stream(served: Any, answer: Any, account: Any, quiet: bool, bar: Bar) -> None:
    from ropewalk.jobs.serve.generate import generate

    _say_scales(account.scales)
    bar.begin(f"reading {account.prompt_tokens:,} tokens", account.prompt_tokens)
    for event in generate(served, answer, account):
        _say_scales(event.scales, text_before=not quiet and account.text)
        bar.reach(event.read)
        if event.read == account.prompt_tokens:
            bar.stop()
        elif not bar.is_live:
            _say(f"{event.read:,} of {account.prompt_tokens:,} tokens read, about {spoken(bar.left or 0)} left")
        if not quiet:
            print(event.text, end="", flush=True)
    if not quiet:
        print(flush=True)


def _say_scales(scales: list[tuple[int, float]], text_before: object = False) -> None:
    for position, scale in scales:
        _say(f"from position {position:,}: scale {scale:.4g}", text_before)


def _say(words: str, text_before: object = False) -> None:
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
