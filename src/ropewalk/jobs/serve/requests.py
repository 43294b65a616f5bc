"""What a client may ask, in OpenAI's words. A setting that would not be obeyed is refused, never ignored.

A body may hold anything: whatever is wrong with it is found in one pass, and said once, not for each of its items.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypeAliasType

from ropewalk.jobs.serve.answer import Wanted

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
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > MOST_KEYS:
            raise ValueError(f"an object has {len(data):,} keys, and none here has more than {MOST_KEYS}")
        return data


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

    def wanted(self, new_tokens: int, logprobs: int | None, copy: int = 0, *, prompt_logprobs: bool = False) -> Wanted:
        """copy: which of the n answers; each has random numbers of its own, also from one seed."""
        seed = None if self.seed is None else self.seed % 2**63 + copy
        return Wanted(
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


class Part(Strict):
    type: Literal["text"]
    text: str


Parts = TypeAliasType("Parts", Annotated[list[Part], FailFast()])


class Message(Strict):
    role: str
    content: str | Parts
    name: str | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def as_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.text}


class ChatRequest(Common):
    messages: Annotated[list[Message], FailFast()] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    @property
    def new_tokens(self) -> int | None:
        """None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens
