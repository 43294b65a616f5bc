"""One HTTP request's answers on their way from the engine's thread to the client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ropewalk.jobs.serve.answer import Answer, Chosen
from ropewalk.jobs.serve.engine import Engine, Job


@dataclass(frozen=True)
class Piece:
    """New text of one of the answers, and the tokens it is made of; finish with the last."""

    index: int
    text: str
    chosen: Sequence[Chosen]
    finish: str | None


class Exchange:
    """Raises Busy where the engine's queue is full."""

    def __init__(self, engine: Engine, answers: Sequence[Answer]):
        self.answers = answers
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._sent = [0] * len(answers)
        self._jobs = [Job(answer, self._teller(index)) for index, answer in enumerate(answers)]
        engine.submit(self._jobs)

    def cancel(self) -> None:
        """Nobody listens any more; does nothing to answers that are done."""
        self._engine.cancel(self._jobs)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Pieces of all answers as they come, until all are done. Raises what went wrong in the engine."""
        left = len(self.answers)
        while left:
            piece = await self._arrived.get()
            if isinstance(piece, Exception):
                raise piece
            left -= piece.finish is not None
            yield piece

    def _teller(self, index: int):  # type: ignore[no-untyped-def]
        def tell(text: str, error: Exception | None) -> None:
            """In the engine's thread, where the answer does not change meanwhile."""
            answer = self.answers[index]
            if error is not None:
                self._put(error)
            elif text or answer.finish:
                self._put(Piece(index, text, self._new(index, answer), answer.finish))

        return tell

    def _new(self, index: int, answer: Answer) -> Sequence[Chosen]:
        """Tokens that were not sent yet; those of a stop string belong to no text."""
        new = answer.chosen[self._sent[index] :]
        self._sent[index] = len(answer.chosen)
        return [one for one in new if one.offset < len(answer.text.whole)] if answer.text.stopped else new

    def _put(self, piece: Piece | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, piece)
