"""What a client may ask, in OpenAI's words. A setting that would not be obeyed is refused, never ignored.

A body may hold anything: whatever is wrong with it is found in one pass, and said once, not for each of its items.
"""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypeAliasType

from ropewalk.jobs.serve.answer import Answer, Chosen, SamplingParams

Tokens = list[int]
MOST_KEYS = 64  # of an object
MOST_STOPS, LONGEST_STOP = 16, 1000  # characters
LONGEST_NAME = 4096  # characters
MOST_TOKENS = 2**40
PROMPTS = "Input should be a valid string, a list of strings, a list of token numbers, or a list of such lists"
STOPS = f"Input should be a string or a list of at most {MOST_STOPS} strings, of at most {LONGEST_STOP:,} characters each"


def _is_tokens(value: Any) -> bool:
    return type(value) is list and all(type(item) is int for item in value)


def _prompts(value: Any) -> list[str | Tokens]:
    """A list of prompts, whatever form they came in."""
    if isinstance(value, str):
        return [value]
    if value and _is_tokens(value):
        return [value]
    if type(value) is list and (all(type(item) is str for item in value) or all(map(_is_tokens, value))):
        return value
    raise ValueError(PROMPTS)


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else [] if value is None else value
    if type(found) is not list or len(found) > MOST_STOPS:
        raise ValueError(STOPS)
    if not all(type(stop) is str and len(stop) <= LONGEST_STOP for stop in found):
        raise ValueError(STOPS)
    return tuple(found)


class Strict(BaseModel):
    """null asks for nothing: clients send it for what they leave open, and back with an answer that they go on from."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > MOST_KEYS:
            raise ValueError(f"an object has {len(data):,} keys, and none here has more than {MOST_KEYS}")
        if not isinstance(data, dict):
            return data
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key in needed}


class StreamOptions(Strict):
    include_usage: bool = False


class ResponseFormat(Strict):
    """Text is what is written; other formats need a grammar, which this server has not."""

    type: Literal["text"]


class Common(Strict):
    """Settings of both endpoints. `user` is accepted and not used.

    top_k and repetition_penalty are vLLM's, and mean what they mean there; a top_k of 0 or -1 is all tokens.
    """

    model_config = ConfigDict(strict=True)
    model: str = Field(max_length=LONGEST_NAME)
    temperature: float = Field(1.0, ge=0, le=2, strict=False)
    top_p: float = Field(1.0, gt=0, le=1, strict=False)
    top_k: int = Field(0, ge=-1)
    n: int = Field(1, ge=1, le=16)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops)] = ()
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2, strict=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, strict=False)
    repetition_penalty: float | None = Field(None, gt=0, le=100, strict=False)
    user: str | None = Field(None, max_length=LONGEST_NAME)

    @model_validator(mode="after")
    def _obeyed(self) -> Self:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options are of a stream, and none is asked for: set stream, or leave them out")
        return self

    def wanted(self, new_tokens: int, logprobs: int | None, copy: int = 0, *, prompt_logprobs: bool = False) -> SamplingParams:
        """copy: which of the n answers; each has random numbers of its own, also from one seed."""
        seed = None if self.seed is None else self.seed % 2**63 + copy
        return SamplingParams(
            new_tokens, self.temperature, self.top_p, seed, self.stop, logprobs, prompt_logprobs, max(self.top_k, 0),
            self.presence_penalty or 0.0, self.frequency_penalty or 0.0, self.repetition_penalty or 1.0,
        )  # fmt: skip

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class CompletionRequest(Common):
    """prompt: text or tokens, or a list of either; a list of them once it is read."""

    prompt: Annotated[Any, BeforeValidator(_prompts)]
    max_tokens: int = Field(16, ge=1, le=MOST_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False

    @property
    def prompts(self) -> list[str | Tokens]:
        found: list[str | Tokens] = self.prompt
        return found


class ContentPart(Strict):
    type: Literal["text"]
    text: str


Parts = TypeAliasType("Parts", Annotated[list[ContentPart], FailFast()])


class Message(Strict):
    role: str
    content: str | Parts
    name: str | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def as_dict(self) -> dict[str, str]:
        """A template may use the name."""
        return {"role": self.role, "content": self.text} | ({"name": self.name} if self.name else {})


class ChatRequest(Common):
    messages: Annotated[list[Message], FailFast()] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs are of logprobs, and none are asked for: set logprobs, or leave them out")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens are two names of one limit, and differ: give one of them")
        return self

    @property
    def new_tokens(self) -> int | None:
        """None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
TOLD = "told"  # in a request's state: what its line on the console ends with


def error_body(message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None) -> Any:
    """The message may quote the client, and JSON lets it name characters that no text has: half of a surrogate pair."""
    body = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": {key: text and text.encode(errors="backslashreplace").decode() for key, text in body.items()}}


def error_response(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    return JSONResponse(error_body(message, **more), status_code=status, headers=headers)


def event(data: Any) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


DONE = "data: [DONE]\n\n"


def usage(answers: Sequence[Answer], copies: int) -> dict[str, int]:
    """Tokens read and written; a prompt that is answered `copies` times is counted once."""
    read = sum(len(answer.prompt) for answer in answers[::copies])
    written = sum(answer.written for answer in answers)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Format:
    """One endpoint's objects. Subclasses say how a choice looks, whole and as a piece of a stream."""

    kind = piece_kind = prefix = ""

    def __init__(self, model: str, tokenizer: Any):
        self.tokenizer = tokenizer
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, choices: list[Any], used: dict[str, int]) -> dict[str, Any]:
        return {**self._head, "object": self.kind, "choices": choices, "usage": used}

    def piece(self, choices: list[Any], used: dict[str, int] | None = None) -> dict[str, Any]:
        return {**self._head, "object": self.piece_kind, "choices": choices, **({"usage": used} if used else {})}

    def text_of(self, token: int) -> str:
        """What a token says by itself; the vocabulary's spelling where it is a part of a character."""
        text: str = self.tokenizer.decode([token])
        return self.tokenizer.convert_ids_to_tokens(token) if REPLACEMENT in text else text

    def choice(self, index: int, text: str, chosen: Sequence[Chosen], finish: str | None) -> dict[str, Any]:
        raise NotImplementedError

    def delta(self, index: int, text: str, chosen: Sequence[Chosen], finish: str | None) -> dict[str, Any]:
        raise NotImplementedError

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Pieces that come before the first text."""
        return []


class Completions(Format):
    kind = piece_kind = "text_completion"
    prefix = "cmpl"

    def choice(self, index: int, text: str, chosen: Sequence[Chosen], finish: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": self._logprobs(chosen), "finish_reason": finish}

    delta = choice

    def _logprobs(self, chosen: Sequence[Chosen]) -> dict[str, Any] | None:
        if not chosen:
            return None
        return {
            "tokens": [self.text_of(one.token) for one in chosen],
            "token_logprobs": [one.logprob for one in chosen],
            "top_logprobs": [None if one.logprob is None else self._top(one) for one in chosen],
            "text_offset": [one.offset for one in chosen],
        }

    def _top(self, one: Chosen) -> dict[str, float | None]:
        """The most likely tokens and always the one that was written, as OpenAI has it: one more than was asked for."""
        found: dict[str, float | None] = {}
        for token, logprob in (*one.top, (one.token, one.logprob)):
            found.setdefault(self.text_of(token), logprob)  # of two tokens that are spelt alike the likelier
        return found


class Chat(Format):
    kind, piece_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def choice(self, index: int, text: str, chosen: Sequence[Chosen], finish: str | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": self._logprobs(chosen), "finish_reason": finish}

    def delta(self, index: int, text: str, chosen: Sequence[Chosen], finish: str | None) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": index, "delta": delta, "logprobs": self._logprobs(chosen), "finish_reason": finish}

    def opening(self, index: int) -> list[dict[str, Any]]:
        return [{"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}]

    def _logprobs(self, chosen: Sequence[Chosen]) -> dict[str, Any] | None:
        if not chosen:
            return None
        content = [
            {**self._one(one.token, one.logprob), "top_logprobs": [self._one(*pair) for pair in one.top]} for one in chosen
        ]
        return {"content": content, "refusal": None}

    def _one(self, token: int, logprob: float | None) -> dict[str, Any]:
        """bytes: null for a token that is a part of a character."""
        part = REPLACEMENT in self.tokenizer.decode([token])
        text = self.text_of(token)
        return {"token": text, "logprob": logprob, "bytes": None if part else list(text.encode())}
