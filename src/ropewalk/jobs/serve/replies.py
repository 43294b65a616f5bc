"""Answers in OpenAI's words: whole ones, chunks of streams, log-probabilities, errors."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse

from ropewalk.jobs.serve.answer import Answer, Chosen

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
            "top_logprobs": [
                None if one.logprob is None else {self.text_of(token): logprob for token, logprob in one.top} for one in chosen
            ],
            "text_offset": [one.offset for one in chosen],
        }


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
