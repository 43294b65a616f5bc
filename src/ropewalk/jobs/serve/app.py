"""The HTTP side: OpenAI's endpoints over one engine."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ropewalk.errors import BadLength, BadOption, NotFinite, RopewalkError, UnknownName
from ropewalk.jobs.serve.answer import Answer, new_answer
from ropewalk.jobs.serve.engine import Busy, Chunk, Ending, Exchange, Scheduler
from ropewalk.jobs.serve.guard import Guard
from ropewalk.jobs.serve.requests import (
    DONE,
    TOLD,
    Chat,
    ChatRequest,
    Common,
    CompletionRequest,
    Completions,
    Format,
    error_body,
    error_response,
    event,
    usage,
)
from ropewalk.models.limits import most_tokens
from ropewalk.models.served import Served, chat_tokens

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY, BODY_PER_TOKEN = 2**23, 64  # bytes that a request may have: some, and more for each token that can be read
# The page talks to this server alone, and no other page may hold it in a frame.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                "connect-src 'self'; frame-ancestors 'none'"}  # fmt: skip
POLL = 0.5  # seconds between looks whether the client is still there


def build_app(
    served: Served, engine: Scheduler, name: str, host: str = LOOPBACK[0], tell: Callable[[str], None] = lambda line: None
) -> FastAPI:
    """name: of the model, as clients call it.  host: on loopback, requests that name another host are refused: a page in
    a browser could otherwise reach the server under a name of its own.  tell: called with a line for each request.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        engine.stop()

    app = FastAPI(title="Ropewalk", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOOPBACK:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
        _add_page(app)
    app.add_middleware(Guard, most=BODY + BODY_PER_TOKEN * served.longest, tell=tell, words=_server_words)
    _report_errors(app)
    model = {"id": name, "object": "model", "created": 0, "owned_by": "local", "max_model_len": served.longest}

    @app.get("/v1/models")
    async def list_models() -> Any:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{model_id:path}")
    async def one_model(model_id: str) -> Any:
        _check_model(model_id, name)
        return model

    @app.post("/v1/completions")
    async def complete(body: CompletionRequest, request: Request) -> Response:
        _check_model(body.model, name)
        _check_count(len(body.prompts) * body.n, engine)
        answers = await run_in_threadpool(completions_wanted, served, body)
        prefixes = [_echoed(served, answer, prompt) for answer, prompt in _with_prompts(answers, body)] if body.echo else None
        return await _respond(Completions(name, served.tokenizer), Exchange(engine, answers), body, request, prefixes)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        _check_model(body.model, name)
        _check_count(body.n, engine)
        answers = await run_in_threadpool(chat_wanted, served, body)
        return await _respond(Chat(name, served.tokenizer), Exchange(engine, answers), body, request)

    return app


def completions_wanted(served: Served, body: CompletionRequest) -> list[Answer]:
    noted = body.echo and body.logprobs is not None
    if noted and body.stream:
        raise BadOption("echo with logprobs is not streamed: the prompt's own probabilities come whole. Leave out stream.")
    prompts = [served.tokens(prompt) if isinstance(prompt, str) else prompt for prompt in body.prompts]
    if not prompts:
        raise BadOption("the prompt is an empty list: there is nothing to go on from.")
    copies = range(body.n)
    return [
        new_answer(served, ids, body.wanted(body.max_tokens, body.logprobs, copy, prompt_logprobs=noted))
        for ids in prompts
        for copy in copies
    ]


def chat_wanted(served: Served, body: ChatRequest) -> list[Answer]:
    try:
        ids = chat_tokens(served, [message.as_dict() for message in body.messages])
    except BadOption as error:
        more = "" if served.tokenizer.chat_template else " Use /v1/completions."
        raise BadOption(f"{error}{more}") from None
    model = served.model
    fits = most_tokens(served.spec, served.plan, served.longest, model.dtype, model.device)
    new = body.new_tokens or max(fits - len(ids), 1)
    logprobs = body.top_logprobs if body.logprobs else None
    return [new_answer(served, ids, body.wanted(new, logprobs, copy)) for copy in range(body.n)]


def _with_prompts(answers: Sequence[Answer], body: CompletionRequest) -> list[tuple[Answer, Any]]:
    return list(zip(answers, [prompt for prompt in body.prompts for _ in range(body.n)], strict=True))


def _echoed(served: Served, answer: Answer, prompt: Any) -> str:
    text: str = prompt if isinstance(prompt, str) else served.tokenizer.decode(answer.prompt)
    return text


def _check_model(asked: str, name: str) -> None:
    if asked != name:
        raise UnknownName("model", asked, [name])


def _check_count(answers: int, engine: Scheduler) -> None:
    if answers > engine.most_waiting:
        raise BadOption(f"{answers:,} answers are wanted, and {engine.most_waiting:,} may wait here. Ask in several requests.")


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(Path(__file__).with_name("page.html"), media_type="text/html", headers=PAGE_HEADERS)


async def _respond(
    form: Format, exchange: Exchange, body: Common, request: Request, prefixes: Sequence[str] | None = None
) -> Response:
    before = prefixes or [""] * len(exchange.answers)
    setattr(request.state, TOLD, _Counts(exchange.answers, body.n))
    if body.stream:
        return StreamingResponse(_stream(form, exchange, body, before), media_type="text/event-stream")
    collected = await _while_connected(request, exchange, _collect(exchange))
    if collected is None:
        return Response(status_code=499)  # nobody reads it
    choices = [
        form.choice(index, before[index] + "".join(p.text for p in pieces), _all_told(pieces, answer, len(before[index])),
                    answer.finish)
        for index, (pieces, answer) in enumerate(zip(collected, exchange.answers, strict=True))
    ]  # fmt: skip
    return JSONResponse(form.whole(choices, usage(exchange.answers, body.n)))


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Said once the request is done."""

    answers: Sequence[Answer]
    copies: int

    def __str__(self) -> str:
        used = usage(self.answers, self.copies)
        return f"{used['prompt_tokens']:,} tokens read, {used['completion_tokens']:,} written"


def _told(piece: Chunk, answer: Answer) -> Sequence[Any]:
    """Its tokens, if the client asked for probabilities."""
    return piece.chosen if answer.wanted.logprobs is not None else ()


def _all_told(pieces: Sequence[Chunk], answer: Answer, before: int) -> Sequence[Any]:
    """The prompt's tokens, where they were asked for, then those written; before: characters of the echoed prompt."""
    told = [chosen for piece in pieces for chosen in _told(piece, answer)]
    return [*answer.read, *(dataclasses.replace(chosen, offset=chosen.offset + before) for chosen in told)]


async def _collect(exchange: Exchange) -> list[list[Chunk]]:
    collected: list[list[Chunk]] = [[] for _ in exchange.answers]
    async for piece in exchange.pieces():
        collected[piece.index].append(piece)
    return collected


async def _while_connected(
    request: Request, exchange: Exchange, work: Coroutine[Any, Any, list[list[Chunk]]]
) -> list[list[Chunk]] | None:
    """The work's result, or None once the client has gone away, and then the answers are written no further."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL)
            if not task.done() and await request.is_disconnected():
                return None
        return task.result()
    finally:
        task.cancel()
        exchange.cancel()


async def _stream(form: Format, exchange: Exchange, body: Common, before: Sequence[str]) -> AsyncIterator[str]:
    """Server-sent events. When the client goes away, the generator is closed, and with it the writing."""
    try:
        for index, text in enumerate(before):
            for choice in form.opening(index):
                yield event(form.piece([choice]))
            if text:
                yield event(form.piece([form.delta(index, text, (), None)]))
        async for piece in exchange.pieces():
            chosen = _told(piece, exchange.answers[piece.index])
            yield event(form.piece([form.delta(piece.index, piece.text, chosen, piece.finish)]))
        if body.include_usage:
            yield event(form.piece([], usage(exchange.answers, body.n)))
        yield DONE
    except Exception as error:  # the headers are out: the error can only be an event
        yield event(error_body(_server_words(error), kind="server_error"))
    finally:
        exchange.cancel()


def _server_words(error: Exception) -> str:
    if isinstance(error, RopewalkError):
        return str(error)
    return f"the model failed while it wrote: {type(error).__name__}. The server's log says more."


def _either(messages: Iterable[str]) -> str:
    """What the alternatives of a field, or several of its items, complain about; each said once."""
    return ", or ".join(dict.fromkeys(messages))


def _report_errors(app: FastAPI) -> None:
    """Every error in OpenAI's shape."""

    async def invalid(request: Request, error: Any) -> JSONResponse:
        found = error.errors()
        second = (*found[0]["loc"], None)[1]  # ("body", field, ...), ("body",), or ("body", where JSON breaks off)
        field = second if isinstance(second, str) else None
        here = [one for one in found if field is None or one["loc"][1] == field]
        unknown = here[0]["type"] == "extra_forbidden" and len(here[0]["loc"]) == 2
        words = (
            "this server does not obey it, so it is refused"
            if unknown
            else _either(one["msg"].removeprefix("Value error, ") for one in here)
        )
        return error_response(400, f"{field or 'the body'}: {words}.", param=field)

    async def ours(request: Request, error: Any) -> JSONResponse:
        if isinstance(error, Busy):
            return error_response(
                429, str(error), {"Retry-After": str(error.retry_after)}, kind="rate_limit_error", code="queue_full"
            )
        if isinstance(error, Ending):
            return error_response(503, str(error), kind="server_error", code="stopping")
        if isinstance(error, NotFinite):
            return error_response(500, str(error), kind="server_error")
        if isinstance(error, UnknownName):
            return error_response(404, str(error), param="model", code="model_not_found")
        code = "context_length_exceeded" if isinstance(error, BadLength) else None
        return error_response(400, str(error), code=code)

    async def http(request: Request, error: Any) -> JSONResponse:
        return error_response(error.status_code, str(error.detail))

    handlers: dict[Any, Callable[..., Any]] = {
        RequestValidationError: invalid, RopewalkError: ours, HTTPException: http,
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
