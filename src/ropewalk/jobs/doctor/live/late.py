"""Whether a server echoes the log-probabilities of its prompt's tokens, or of each token after the model has read it.

llama-cpp-python does the latter (0.3.36, and its issues 1276 and 1983): numbers of the right form and count that say nothing.
What a model expects in the last place of a prompt does not depend on the token that stands there. So prompts that differ in
their last token alone have the same likeliest candidate there, and in a server that is one token late they do not.
"""

from typing import Any

from ropewalk.jobs.doctor.live.client import Client

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
