"""Serve a model over HTTP as OpenAI's API does: /v1/completions and, with a chat template, /v1/chat/completions.

Example: `ropewalk serve ropewalk-tiny --dynamic yarn --port 8000`
"""

import sys
from typing import Annotated

import typer

from ropewalk.cli.parts.common import (
    Device,
    Dtype,
    Dynamic,
    Factor,
    Model,
    Options,
    OriginalLength,
    PlanFile,
    RunMethod,
    To,
    plan_to_run,
)
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.progress import Bar
from ropewalk.models.source import loading

LOOPBACK = "127.0.0.1"
UNTOLD = 2.0  # seconds that the reading of a prompt may take without a line


def run(
    model: Model,
    dynamic: Dynamic = None,
    method: RunMethod = None,
    to: To = None,
    factor: Factor = None,
    option: Options = None,
    original_length: OriginalLength = None,
    plan_file: PlanFile = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; anything else opens the server.")] = LOOPBACK,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Answers that are written together, at most.")] = 8,
    waiting: Annotated[int, typer.Option("--waiting", min=1, help="Requests that may wait; more are told 429.")] = 256,
    served_model_name: Annotated[
        str | None, typer.Option("--served-model-name", help="What clients call the model. [default: MODEL]")
    ] = None,
    dtype: Dtype = "float32",
    device: Device = "cpu",
) -> None:
    plan = plan_to_run(model, dynamic, method, to, factor, option, original_length, plan_file)
    with Bar(loading(model), transient=True):
        from ropewalk.jobs.serve.app import serve
        from ropewalk.models.served import open_model

        served = open_model(model, plan, dtype=dtype, device=device)

    name = served_model_name or model

    def ready(address: str) -> None:
        stretch = f"{plan.name}, {plan.target_length:,} tokens" if plan else f"as it is, {served.longest:,} tokens"
        print(f"{name} ({stretch}) at {address}; Ctrl-C ends it", file=sys.stderr, flush=True)
        if host not in (LOOPBACK, "localhost", "::1"):
            print("note: whoever reaches this address can use the model; there is no password.", file=sys.stderr, flush=True)

    try:
        serve(served, name, host, port, rows=rows, waiting=waiting, ready=ready, tell=_say, watch=_Prefill())
    except KeyboardInterrupt:  # open requests were answered first
        print("stopped", file=sys.stderr)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class _Prefill:
    """A line now and then while a prompt is read."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def __call__(self, read: int, tokens: int) -> None:
        if read == 0:
            self._bar = Bar("reading a prompt", Console(stderr=True, force_terminal=False), after=UNTOLD)
            self._bar.__enter__()
            self._bar.begin(f"reading a prompt of {tokens:,} tokens", tokens)
        elif self._bar and read == tokens:
            self._bar.stop()
        elif self._bar:
            self._bar.reach(read)
