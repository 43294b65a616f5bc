"""What a server of a model offers: its name, the length it claims, and how it tells the log-probabilities of a prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadAnswer, BadOption, UnknownName
from ropewalk.jobs.doctor.live.client import Client, RequestRefused
from ropewalk.jobs.doctor.live.readers import (
    READERS,
    Echo,
    LogprobReader,
    NotOffered,
    Prompt,
    ServerReading,
    completion,
    counted,
    is_late,
)

PROBE = "def area(width, height):\n    return width * height\n"


@dataclass(frozen=True)
class Endpoint:
    """claimed: tokens of prompt and answer together, as the server says; None where it does not say.
    reader: None where it has no way to tell a prompt's log-probabilities.
    """

    client: Client
    model: str
    claimed: int | None
    reader: LogprobReader | None
    folder: str = ""

    def read(self, prompt: Prompt, last: int) -> ServerReading:
        """Log-probabilities of the last tokens of a prompt."""
        assert self.reader is not None
        return self.reader.read(self.client, self.model, prompt, last)

    def write(self, prompt: str, new: int) -> tuple[str, int]:
        """(greedy continuation, tokens of the prompt)"""
        answer = self.client.post(
            "/v1/completions", {"model": self.model, "prompt": prompt, "max_tokens": new, "temperature": 0}
        )
        text = completion(self.client, answer).get("text")
        if not isinstance(text, str):
            raise BadAnswer(f"{self.client.root}/v1/completions gave a completion without a text.")
        return text, counted(self.client, answer)[0]


def find(client: Client, name: str | None = None, probe: Prompt = PROBE) -> Endpoint:
    """Ask a server what it is. Raises BadAnswer where it is none that is known here.

    probe: a short prompt, in the form (text or ids) that the reader will be given.
    """
    listed = _models(client)
    card = _chosen(listed, name)
    model, props = str(card["id"]), _props(client) if "max_model_len" not in card else {}
    claimed = card.get("max_model_len", _path(props, "default_generation_settings", "n_ctx") or props.get("n_ctx"))
    if claimed is not None and (not isinstance(claimed, int) or isinstance(claimed, bool) or claimed < 1):
        raise BadAnswer(f"{client.root} says that it reads {claimed!r} tokens; that must be a whole number above 0.")
    readers = (reader for reader in READERS if not reader.needs_props or props)
    reader = next((reader for reader in readers if _offers(reader, client, model, probe)), None)
    return Endpoint(client, model, claimed, reader, str(card.get("root") or ""))


def _models(client: Client) -> Sequence[Mapping[str, Any]]:
    try:
        answer = client.get("/v1/models")
    except RequestRefused as error:
        if error.status != 404:
            raise
        raise BadAnswer(
            f"{client.root} has no /v1/models: it is not the server of a model in OpenAI's way.\n"
            "  vLLM, SGLang, llama.cpp's server, Ollama and `ropewalk serve` are."
        ) from None
    data = answer.get("data") if isinstance(answer, dict) else None
    found = (
        [card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)] if isinstance(data, list) else []
    )
    if not found:
        raise BadAnswer(f"{client.root}/v1/models lists no model: is one loaded?")
    return found


def _chosen(cards: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    names = [card["id"] for card in cards]
    if name is not None:
        if name not in names:
            raise UnknownName("model of this server", name, names)
        return cards[names.index(name)]
    roots = {card.get("root") or card["id"] for card in cards}
    if len(roots) > 1:
        raise BadOption(f"the server has {len(cards)} models. Choose one, model (--model): {', '.join(map(repr, names[:8]))}.")
    return cards[0]


def _props(client: Client) -> Mapping[str, Any]:
    """llama.cpp's own words for itself; nothing elsewhere."""
    try:
        answer = client.get("/props")
    except BadAnswer:
        return {}
    return answer if isinstance(answer, dict) else {}


def _path(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _offers(reader: LogprobReader, client: Client, model: str, probe: Prompt) -> bool:
    """Whether a short prompt is answered with its log-probabilities. A server that refuses or leaves them out has none to
    give; one that counts wrongly is believed in nothing, and that is an error. One whose echo is late tells nothing either.
    """
    try:
        reader.read(client, model, probe, 4)
        return not (isinstance(reader, Echo) and is_late(client, model))
    except RequestRefused as error:
        if error.status in (401, 403):
            raise
        return False
    except NotOffered:
        return False
