"""Answers that are written together: each prompt is read alone, then all rows decode in one call per token.

Rows may join and leave between any two tokens. Every row keeps its own positions, and padding is masked, so that an answer
is what it would be alone, up to the rounding of sums (of the order of 1e-6 in float32 logits).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import DynamicCache

from ropewalk.errors import BadOption
from ropewalk.jobs.serve.answer import Answer
from ropewalk.models.attach import Attached
from ropewalk.models.caches import cache_argument
from ropewalk.models.carried import carried
from ropewalk.models.dynamic.cache import can_join, joined, thinned
from ropewalk.scaling.schedule import CAUSAL, RECOMPUTE, REQUEST

CHUNK = 1024  # tokens of a prompt that are read in one call
NOTED = 256  # the same where all their logits are wanted: 150 MB of them with a vocabulary of 150,000


class DecodingBatch:
    """The rows that decode now, and how many there may be.

    attached: the plan on the model, if there is one that was attached here.
    """

    def __init__(self, model: Any, attached: Attached | None = None, most_rows: int = 8):
        self.model, self.attached = model, attached
        found = carried(model)
        meanings = {s.dynamic.semantics for _, s in found.plan.stretches if s.dynamic} if found else set()
        if REQUEST in meanings and attached is None:
            raise BadOption(
                "a plan with one scale per request is attached to this model already, and only whoever attached it can say\n"
                "  how long a request is. Leave it (.undo(), or its `with` block), and give the plan to this verb."
            )
        if RECOMPUTE in meanings:
            raise BadOption(
                "recompute reads everything anew for every token it writes, and has no cache to write on.\n"
                "  Plan for causal, whose cache is exact: dynamic-METHOD."
            )
        plain = can_join(DynamicCache(config=model.config))
        self.most_rows = most_rows if plain and REQUEST not in meanings else 1
        self.chunk = CHUNK if plain and meanings <= {CAUSAL, REQUEST} else 2**62
        self._one_scale = REQUEST in meanings
        self.answers: list[Answer] = []
        self._cache: Any = None
        self._rows: list[int] | None = None  # of the cache, that are still written; None: all

    @torch.inference_mode()
    def read(self, answer: Answer) -> Iterator[tuple[int, str]]:
        """Read a prompt, and what was written after it; answers (tokens read so far, text to show), then let the row decode
        with the others. Where it fails, they go on as if it had not been there.
        """
        tokens = answer.tokens
        cache = DynamicCache(config=self.model.config)
        noted = answer.wanted.prompt_logprobs
        chunk = min(self.chunk, NOTED) if noted and self.chunk == CHUNK else self.chunk
        for start in range(0, len(tokens), chunk):
            ids = torch.tensor([tokens[start : start + chunk]], device=self.model.device)
            logits = self._forward(answer.length, ids, cache, logits_to_keep=0 if noted else 1)
            if noted:
                answer.note(logits[0])
            read = start + ids.shape[1]
            if read < len(tokens):
                yield read, ""
        shown = answer.add(logits[0, -1])
        if answer.finish is None:
            self._thin_out()
            self._cache = joined(self.model, [self._cache, cache]) if self.answers else cache
            self.answers.append(answer)
        yield len(tokens), shown

    @torch.inference_mode()
    def step(self) -> list[tuple[Answer, str | Exception]]:
        """One more token for every row: (answer, text to show, or why this row cannot go on). Rows that are finished leave.

        Where it raises, no row has got a token, and what the cache holds is not known: `keep` none, and read them again.
        """
        self._thin_out()
        rows, device = list(self.answers), self.model.device
        ids = torch.tensor([[answer.chosen[-1].token] for answer in rows], device=device)
        held = torch.tensor([_held(answer) for answer in rows], device=device)
        columns = torch.arange(int(held.max()) + 1, device=device)
        padding = held.max() - held
        mask = (columns >= padding[:, None]).long() if padding.any() else None
        logits = self._forward(rows[0].length, ids, self._cache, attention_mask=mask, position_ids=held[:, None])[:, -1]
        shown = [(answer, _added(answer, row)) for answer, row in zip(rows, logits, strict=True)]
        self.keep([answer for answer, text in shown if isinstance(text, str) and answer.finish is None])
        return shown

    def keep(self, answers: list[Answer]) -> None:
        """Let all other rows leave. Cannot fail: their columns go with the next token."""
        rows = [row for row, answer in enumerate(self.answers) if answer in answers]
        if not rows:
            self._cache = self._rows = None
        elif len(rows) < len(self.answers):
            self._rows = [(self._rows or range(len(self.answers)))[row] for row in rows]
        self.answers = [self.answers[row] for row in rows]

    def _thin_out(self) -> None:
        if self._rows is not None:
            longest = max(map(_held, self.answers))
            self._cache, self._rows = thinned(self.model, self._cache, self._rows, longest), None

    def _forward(self, length: int, ids: torch.Tensor, cache: Any, **more: Any) -> torch.Tensor:
        """Logits after the last token of each row, (rows, 1, vocabulary), or after every one where `logits_to_keep` is 0.

        length: of the request, if it has one scale.
        """
        scope: AbstractContextManager[None] = nullcontext()
        if self._one_scale and self.attached:
            scope = self.attached.request(length)
        with scope:
            keep = {"logits_to_keep": 1, **more}
            logits: torch.Tensor = self.model(ids, **cache_argument(self.model, cache), use_cache=True, **keep).logits
        return logits


def _added(answer: Answer, logits: torch.Tensor) -> str | Exception:
    """A row that cannot choose its token fails alone."""
    try:
        return answer.add(logits)
    except Exception as error:
        return error


def _held(answer: Answer) -> int:
    """Tokens of a row in the cache: all but the newest."""
    return len(answer.prompt) + len(answer.chosen) - 1
