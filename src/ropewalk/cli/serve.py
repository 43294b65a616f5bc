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
from ropewalk.errors import BadOption

LOOPBACK = "127.0.0.1"


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
    dtype: Dtype = "float32",
    device: Device = "cpu",
) -> None:
    plan = plan_to_run(model, dynamic, method, to, factor, option, original_length, plan_file)
    try:
        from ropewalk.jobs.serve.run import serve
    except ImportError as error:
        raise BadOption(f"{error.name} is not installed. The server is an extra: pip install 'ropewalk[serve]'.") from None
    from ropewalk.jobs.serve.served import open_model

    served = open_model(model, plan, dtype=dtype, device=device)

    def ready(address: str) -> None:
        stretch = f"{plan.name}, {plan.target_length:,} tokens" if plan else f"as it is, {served.longest:,} tokens"
        print(f"{model} ({stretch}) at {address}; Ctrl-C ends it", file=sys.stderr, flush=True)
        if host not in (LOOPBACK, "localhost", "::1"):
            print("note: whoever reaches this address can use the model; there is no password.", file=sys.stderr, flush=True)

    try:
        serve(served, model, host, port, rows=rows, waiting=waiting, ready=ready)
    except KeyboardInterrupt:  # open requests were answered first
        print("stopped", file=sys.stderr)
