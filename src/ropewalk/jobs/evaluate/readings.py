"""An index of the readings in a run's records: what a model made of one stretch of one document."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy

from ropewalk.errors import BadConfig
from ropewalk.jobs.evaluate.protocols import Window
from ropewalk.jobs.evaluate.records import Record

WINDOW = "window"


class Place(NamedTuple):
    document: str
    start: int
    bos: bool


class Reading(NamedTuple):
    """One record, with the facts that place it.

    length: tokens in the call.  shortest: of the windows that it can stand for.  scored: ranges of indices.  tokens: of the
    whole document.
    """

    record: Record
    length: int
    shortest: int
    scored: Sequence[Sequence[int]]
    tokens: int

    def part(self, low: int, high: int) -> numpy.ndarray | None:
        """-ln p of the tokens with index low to high; None where not all of them were scored."""
        before = 0
        for start, end in self.scored:
            if start <= low and high <= end:
                return self.record.nll[before + low - start : before + high - start]
            before += end - start
        return None


def _read(record: Record) -> tuple[Place, Reading]:
    """Facts that are absent say: the whole of a document, from its start, all tokens, under a static plan."""
    facts, length = record.facts, record.key.length
    bos = facts.get("bos", True)
    scored = facts.get("scored") or [[length - len(record.nll), length]]
    if sum(end - start for start, end in scored) != len(record.nll):
        raise BadConfig(
            f"the record {record.key.name} of {facts['document']} has {len(record.nll)} losses for the tokens {scored}.\n"
            "  Delete its file and run again."
        )
    tokens = facts.get("document_tokens", length - bos)
    place = Place(facts["document"], facts.get("start", 0), bos)
    return place, Reading(record, length, facts.get("shortest", 2), scored, tokens)


class Readings:
    """Readings by method and place. Records of other protocols are passed over."""

    def __init__(self, records: Iterable[Record]):
        self._by_method: dict[str, dict[Place, list[Reading]]] = defaultdict(lambda: defaultdict(list))
        for record in records:
            if record.key.protocol == WINDOW:
                place, reading = _read(record)
                self._by_method[record.key.method][place].append(reading)
        for places in self._by_method.values():
            for found in places.values():
                found.sort(key=lambda reading: reading.length)

    @property
    def methods(self) -> list[str]:
        return list(self._by_method)

    def documents(self, method: str) -> dict[str, int]:
        """Tokens, without BOS, of every document of which something was read, in name order."""
        places = sorted(self._by_method.get(method, {}).items(), key=lambda item: item[0])
        return {place.document: max(reading.tokens for reading in found) for place, found in places}

    def has_bos(self, method: str) -> bool:
        """Was any reading begun by BOS? If none was, the tokenizer has none."""
        return any(place.bos for place in self._by_method.get(method, {}))

    def nll(self, method: str, window: Window) -> numpy.ndarray | None:
        """-ln p, nats, of the window's tokens from `first` to its end; None where no reading holds them.

        From the shortest reading that holds the window and is allowed to stand for it, that is, rotates it alike.
        """
        for reading in self._at(method, window.document, window.start, window.bos):
            if reading.shortest <= window.length <= reading.length:
                found = reading.part(window.first, window.length)
                if found is not None:
                    return found
        return None

    def covering(self, method: str, document: str, low: int, high: int) -> numpy.ndarray | None:
        """-ln p of tokens low to high of a document read from its start, as the shortest reading that covers them saw them."""
        for bos in (True, False):
            for reading in self._at(method, document, 0, bos):
                if reading.length >= high and (found := reading.part(max(low, 1), high)) is not None:
                    return found
        return None

    def _at(self, method: str, document: str, start: int, bos: bool) -> Sequence[Reading]:
        return self._by_method.get(method, {}).get(Place(document, start, bos), ())
