"""What a client may ask, in OpenAI's words. A setting that would not be obeyed is refused, never ignored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ropewalk.jobs.serve.answer import Wanted

Tokens = list[int]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Common(BaseModel):
    """Settings of both endpoints. `user` is accepted and not used; penalties are accepted at 0, which does nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    temperature: float = Field(1.0, ge=0, le=2, strict=False)
    top_p: float = Field(1.0, gt=0, le=1, strict=False)
    n: int = Field(1, ge=1, le=16)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = Field(None, max_length=1000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    user: str | None = None

    def wanted(self, new_tokens: int, logprobs: int | None, copy: int = 0, *, prompt_logprobs: bool = False) -> Wanted:
        """copy: which of the n answers; each has random numbers of its own, also from one seed."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        seed = None if self.seed is None else self.seed % 2**63 + copy
        return Wanted(new_tokens, self.temperature, self.top_p, seed, stops, logprobs, prompt_logprobs)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class CompletionRequest(Common):
    prompt: str | list[str] | Tokens | list[Tokens]
    max_tokens: int = Field(16, ge=1)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False

    @property
    def prompts(self) -> list[str | Tokens]:
        given: Any = self.prompt
        single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        return [given] if single else list(given)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: str
    content: str | list[Part]
    name: str | None = None

    def as_dict(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class ChatRequest(Common):
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    @property
    def new_tokens(self) -> int | None:
        """None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens
