"""The two sides of a comparison, a running server or a model as a trainer loads it, read in the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import torch

from ropewalk.errors import BadAnswer
from ropewalk.jobs.doctor.live.endpoint import PROBE, Endpoint, find
from ropewalk.jobs.doctor.live.readers import ServerReading
from ropewalk.measure.nll import token_nll
from ropewalk.models.served import Served

SCORED = 64  # last tokens of a passage, as of a server


@dataclass(frozen=True)
class Prompt:
    """ids: what a tokenizer that is at hand makes of the text; None without one."""

    text: str
    ids: list[int] | None


class Side(Protocol):
    """claimed: tokens that it reads; None where it does not say.  most: tokens of a passage that are worth asking for."""

    @property
    def name(self) -> str: ...
    @property
    def how(self) -> str: ...
    @property
    def claimed(self) -> int | None: ...
    @property
    def most(self) -> int: ...
    def read(self, prompt: Prompt, last: int) -> ServerReading: ...


@dataclass(frozen=True)
class Words:
    """A tokenizer, and the ways in which servers spell its tokens."""

    tokenizer: Any

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def spells(self, token: int, said: str) -> bool:
        return said in (str(token), self.tokenizer.decode([token]), self.tokenizer.convert_ids_to_tokens(token))


@dataclass(frozen=True)
class ModelSide:
    """A checkpoint in transformers, stock or with a plan attached."""

    name: str
    served: Served
    most: int = SCORED

    @property
    def how(self) -> str:
        plan = self.served.plan
        dtype = str(self.served.model.dtype).removeprefix("torch.")
        return f"transformers, {dtype}, {f'{plan.name} attached' if plan else 'as its config says'}"

    @property
    def claimed(self) -> int | None:
        return self.served.longest

    def read(self, prompt: Prompt, last: int) -> ServerReading:
        ids = prompt.ids or self.served.tokens(prompt.text)
        first = max(len(ids) - last, 1)
        nll = token_nll(self.served.model, torch.tensor([ids], device=self.served.model.device), first=first)
        return ServerReading(len(ids), tuple(map(str, ids[first:])), tuple((-nll[0].double()).tolist()))


@dataclass(frozen=True)
class ServerSide:
    """words: None where no tokenizer is at hand.  takes_ids: whether its reader answers ids, and not text alone."""

    name: str
    endpoint: Endpoint
    words: Words | None
    takes_ids: bool

    @property
    def how(self) -> str:
        assert self.endpoint.reader is not None
        return f"{self.endpoint.reader.name}, {'ids' if self.takes_ids else 'text'} sent"

    @property
    def claimed(self) -> int | None:
        return self.endpoint.claimed

    @property
    def most(self) -> int:
        assert self.endpoint.reader is not None
        return self.endpoint.reader.most

    def read(self, prompt: Prompt, last: int) -> ServerReading:
        if not self.takes_ids or prompt.ids is None:
            reading = self.endpoint.read(prompt.text, last)
            if prompt.ids is not None:
                self._check(reading, prompt.ids)
            return reading
        reading = self.endpoint.read(prompt.ids, last)
        if reading.count != len(prompt.ids):
            raise BadAnswer(f"{self.name} was given {len(prompt.ids):,} tokens by their ids and counts {reading.count:,}.")
        return reading

    def _check(self, reading: ServerReading, ids: list[int]) -> None:
        """That text was cut into the tokens that the other side is given."""
        ours = ids[len(ids) - len(reading.tokens) :]
        spells = self.words.spells if self.words else lambda token, said: str(token) == said
        wrong = [(a, b) for a, b in zip(ours, reading.tokens, strict=True) if not spells(a, b)]
        if reading.count != len(ids):
            what = f"into {reading.count:,} tokens and the other side's tokenizer into {len(ids):,}"
        elif wrong:
            what = f"into other tokens: {wrong[0][1]!r} where the other side has number {wrong[0][0]}"
        else:
            return
        raise BadAnswer(
            f"{self.name} cuts the same text {what}. Log-probabilities of other tokens cannot be compared.\n"
            "  Is it the same model, and does one side alone add a start token?"
        )


def of_server(name: str, endpoint: Endpoint, words: Words | None) -> ServerSide:
    """The reader that takes ids, where one does: then both sides are sure to score the same tokens.

    Raises BadAnswer for a server that gives no log-probabilities of a prompt.
    """
    if words:
        by_ids = find(endpoint.client, endpoint.model, words.ids(PROBE))
        if by_ids.reader:
            return ServerSide(name, by_ids, words, takes_ids=True)
    if endpoint.reader is None:
        raise BadAnswer(f"{name} tells no log-probabilities of a prompt: it cannot be compared with another stack.")
    return ServerSide(name, endpoint, words, takes_ids=False)


def same_tokens(one: ServerReading, other: ServerReading, names: Callable[[], str]) -> None:
    """For two servers without a tokenizer at hand: they have to count and spell alike."""
    if one.count != other.count or one.tokens != other.tokens:
        raise BadAnswer(
            f"{names()} cut the same text into {one.count:,} and {other.count:,} tokens, or spell them in other ways.\n"
            "  Give the model's folder with config (--config): its tokenizer makes ids that both are sent."
        )


def finite(reading: ServerReading) -> bool:
    return all(map(isfinite, reading.logprobs))
