"""Three ways in which servers tell how likely a prompt was, brought to one form and checked before they are believed.

echo: OpenAI's completions with `echo` and `logprobs` (vLLM, SGLang, `ropewalk serve`).
prompt_logprobs: vLLM's own field of the same endpoint, also where echo is not allowed.
forced: llama.cpp's /completion, which tells of tokens it writes alone: each token of the passage is forced by a bias and its
probability taken from the raw logits, before that bias (tools/server, `post_sampling_probs` false).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log
from typing import Any, Protocol

from ropewalk.errors import BadAnswer
from ropewalk.jobs.doctor.live.client import Client

Prompt = str | list[int]
ABOVE_ZERO = 1e-3  # a logarithm of a probability may be this far above 0 by rounding
FORCED = 1e4  # added to a logit: no other token can win
LEAST = -149 * log(2)  # of the smallest float32: llama.cpp rounds a probability to that first, and what is below to 0


class NotOffered(Exception):
    """The server answered, and gave no log-probabilities of the prompt."""


@dataclass(frozen=True)
class ServerReading:
    """count: tokens of the prompt.  tokens: the last ones, as the server spells them.  logprobs: theirs, nats; NaN is kept."""

    count: int
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]


class LogprobReader(Protocol):
    name: str
    most: int  # tokens of a passage that are worth asking for
    needs_props: bool

    def read(self, client: Client, model: str, prompt: Prompt, last: int) -> ServerReading: ...


class Echo:
    name, most, needs_props = "echo with logprobs", 64, False

    def read(self, client: Client, model: str, prompt: Prompt, last: int) -> ServerReading:
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        answer = client.post("/v1/completions", body)
        told = completion(client, answer).get("logprobs")
        if not isinstance(told, dict) or not isinstance(told.get("token_logprobs"), list):
            raise NotOffered
        count, new = counted(client, answer)
        values, tokens = told["token_logprobs"], told.get("tokens")
        if len(values) <= max(new, 1):
            raise NotOffered  # of what it wrote alone
        if len(values) not in (count, count + new) or not isinstance(tokens, list) or len(tokens) != len(values):
            raise _miscounted(client, len(values), count, new)
        part = slice(max(count - last, 1), count)
        return ServerReading(count, tuple(map(str, tokens[part])), _checked(client, values[part]))


class PromptLogprobs:
    name, most, needs_props = "prompt_logprobs", 64, False

    def read(self, client: Client, model: str, prompt: Prompt, last: int) -> ServerReading:
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        answer = client.post("/v1/completions", body)
        told = completion(client, answer).get("prompt_logprobs")
        if not isinstance(told, list):
            raise NotOffered
        count, new = counted(client, answer)
        if len(told) != count:
            raise _miscounted(client, len(told), count, new)
        part = told[max(count - last, 1) :]
        if not all(isinstance(one, dict) and len(one) == 1 for one in part):
            raise BadAnswer(f"{client.root} gave prompt_logprobs in a form that is not vLLM's: one token for each position.")
        pairs = [next(iter(one.items())) for one in part]
        values = [inner.get("logprob") if isinstance(inner, dict) else None for _, inner in pairs]
        return ServerReading(count, tuple(str(token) for token, _ in pairs), _checked(client, values))


class Forced:
    name, most, needs_props = "llama.cpp's /completion, token by token", 16, True

    def read(self, client: Client, model: str, prompt: Prompt, last: int) -> ServerReading:
        ids = self._ids(client, prompt) if isinstance(prompt, str) else prompt
        first = max(len(ids) - last, 1)
        values = [self._one(client, ids[:at], ids[at]) for at in range(first, len(ids))]
        return ServerReading(len(ids), tuple(map(str, ids[first:])), _checked(client, values))

    def _ids(self, client: Client, text: str) -> list[int]:
        answer = client.post("/tokenize", {"content": text, "add_special": True})
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(ids, list) or not ids or not all(isinstance(token, int) for token in ids):
            raise NotOffered
        return ids

    def _one(self, client: Client, before: Sequence[int], token: int) -> Any:
        body = {
            "prompt": list(before), "n_predict": 1, "n_probs": 1, "temperature": 0.0, "cache_prompt": True,
            "post_sampling_probs": False, "logit_bias": [[token, FORCED]],
        }  # fmt: skip
        answer = client.post("/completion", body)
        told = answer.get("completion_probabilities") if isinstance(answer, dict) else None
        if not isinstance(told, list) or not told or not isinstance(told[0], dict) or "logprob" not in told[0]:
            raise NotOffered
        if told[0].get("id") != token:
            raise BadAnswer(
                f"{client.root} was to write token {token} and wrote {told[0].get('id')!r}: its bias is not obeyed."
            )
        value = told[0]["logprob"]
        return max(value, LEAST) if isinstance(value, float) else value


READERS: tuple[LogprobReader, ...] = (Echo(), PromptLogprobs(), Forced())


def completion(client: Client, answer: Any) -> Mapping[str, Any]:
    """The one choice of a completion."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise BadAnswer(f"{client.root}/v1/completions answered without a completion: one choice was asked for.")
    return choices[0]


def counted(client: Client, answer: Any) -> tuple[int, int]:
    """(tokens of the prompt, tokens written), as the server counts."""
    usage = answer.get("usage")
    found = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in found) or not found[0]:
        raise BadAnswer(f"{client.root}/v1/completions does not say how many tokens it read (usage.prompt_tokens).")
    return found[0], found[1]  # type: ignore[return-value]


def _miscounted(client: Client, told: int, count: int, new: int) -> BadAnswer:
    return BadAnswer(
        f"{client.root} gave {told:,} log-probabilities for {count:,} tokens of prompt and {new:,} written: "
        "they do not belong to these tokens, and nothing can be said from them."
    )


def _checked(client: Client, values: Sequence[Any]) -> tuple[float, ...]:
    """Log-probabilities as floats. NaN and infinity are kept: they are the server's finding, not its lie."""
    found = []
    for value in values:
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise BadAnswer(f"{client.root} gave {value!r} as a log-probability.")
        number = float("nan") if value is None else float(value)
        if not isnan(number) and number > ABOVE_ZERO:
            raise BadAnswer(f"{client.root} gave a log-probability of {number:g}: a probability above 1.")
        found.append(number)
    return tuple(found)


STEM = "def area(width, height):\n    return width * height\n\n\nvalue"
LASTS = (" (", " [", " =", " in")
SAME = 0.1  # nats: two runs of one prompt in half precision differ by less


def is_late(client: Client, model: str) -> bool:
    """False also where it cannot be told: without candidates, or where a tokenizer joins what is put together here."""
    seen = [_last(client, model, STEM + last) for last in LASTS]
    told = [one for one in seen if one and seen[0] and one[0] == seen[0][0]]
    heights = [height for _, height in told]
    return len(heights) > 1 and max(heights) - min(heights) > SAME


def _last(client: Client, model: str, prompt: str) -> tuple[tuple[str, ...], float] | None:
    """(the tokens before the last of the prompt, the log-probability of the likeliest candidate for the last)"""
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    answer: Any = client.post("/v1/completions", body)
    try:
        count, told = answer["usage"]["prompt_tokens"], answer["choices"][0]["logprobs"]
        return tuple(told["tokens"][: count - 1]), max(told["top_logprobs"][count - 1].values())
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
