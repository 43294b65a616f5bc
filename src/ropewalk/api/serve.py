"""`ropewalk.serve`: a model over HTTP, as OpenAI's API speaks."""

from collections.abc import Callable
from typing import Annotated, Any

from ropewalk.api.arguments import (
    Device,
    Dtype,
    Factor,
    Flag,
    MethodOptions,
    OneModel,
    OriginalLength,
    PlanOrFile,
    To,
)  # fmt: skip
from ropewalk.api.running import Dynamic, RunMethod, plan_to_run
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress

HERE = "127.0.0.1"


def serve(
    model: OneModel,
    *,
    plan: PlanOrFile = None,
    dynamic: Dynamic = None,
    method: RunMethod = None,
    to: To = None,
    factor: Factor = None,
    options: MethodOptions = None,
    original_length: OriginalLength = None,
    host: Annotated[str, Flag("Address to listen on; anything else opens the server.")] = HERE,
    port: Annotated[int, Flag("0 takes any that is free.")] = 8000,
    rows: Annotated[int, Flag("Answers that are written together, at most.", least=1)] = 8,
    waiting: Annotated[int, Flag("Requests that may wait; more are told 429.", least=1)] = 256,
    served_model_name: Annotated[str | None, Flag("What clients call the model. [default: MODEL]")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    tokenizer: Any = None,
    ready: Callable[[str], object] = lambda address: None,
    progress: Progress = SILENT,
) -> None:
    """Serve /v1/completions and, with a chat template, /v1/chat/completions; comes back when it is interrupted or terminated.

    model: a folder, a GGUF, a hub id, ropewalk-tiny, or a live transformers model, which is afterwards as it was.
    host: on any other address than 127.0.0.1, whoever reaches it can use the model: there is no password.
    ready: called with the address once requests are taken.  tokenizer: of a live model that no folder here holds.
    progress: told of every request, and while a prompt is read.

    Open requests are answered before it comes back. Raises RopewalkError where the model cannot be served, or no one can
    listen there.

        ropewalk.serve("ropewalk-tiny", dynamic="yarn", port=8000)  # until Ctrl-C
    """
    for name, value, least, most in (("port", port, 0, 65535), ("rows", rows, 1, None), ("waiting", waiting, 1, None)):
        if type(value) is not int or value < least or (most is not None and value > most):
            raise BadOption(f"{name} is {value!r}; it must be a whole number from {least}" + (f" to {most}." if most else "."))
    if not isinstance(host, str) or not host:
        raise BadOption(f"host is {host!r}; it must be an address, such as {HERE}.")
    source = Source(model, tokenizer=tokenizer, original_length=original_length, progress=progress)
    asked = plan_to_run(source, plan, method=method, dynamic=dynamic, to=to, factor=factor, options=options)
    progress.begin(source.loading)

    from ropewalk.jobs.serve.app import LOOPBACK
    from ropewalk.jobs.serve.server import serve as run
    from ropewalk.models.served import opened

    name = served_model_name or source.name
    with opened(source, asked, dtype=dtype, device=device) as served:

        def begun(address: str) -> None:
            stretch = f"{served.plan.name if served.plan else 'as it is'}, {served.longest:,} tokens"
            progress.note(f"{name} ({stretch}) at {address}; Ctrl-C ends it")
            if host not in LOOPBACK:
                progress.note("note: whoever reaches this address can use the model; there is no password.")
            ready(address)

        try:
            run(served, name, host, port, rows=rows, waiting=waiting, ready=begun, progress=progress)
        except KeyboardInterrupt:  # open requests were answered first
            progress.note("stopped")
