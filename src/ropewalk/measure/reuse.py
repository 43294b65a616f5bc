"""Reading many samples that begin alike, each shared beginning once.

Sorted by their tokens, samples are the leaves of a trie in the order of a walk through it. One cache is enough: it is
cut back to where the next sample branches off and continued from there, so every edge of the trie is computed once. A
needle grid of 16 lengths and 11 depths on one haystack shares most of its tokens.

What is kept of a token depends on the tokens before it alone where the plan is static or causal
(`passes.is_prefix_consistent`); with another dynamic plan the same prefix has other keys in a longer request, and samples are
read one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ropewalk.measure.faults import Say, attempt, too_large
from ropewalk.measure.nll import head_of, score
from ropewalk.measure.passes import is_prefix_consistent
from ropewalk.measure.task import Sample
from ropewalk.models.caches import cache_argument
from ropewalk.scaling.plan import ScalingPlan

CHUNK = 512  # tokens per call where a cache is continued

Advance = Callable[[float], None]


@dataclass(frozen=True)
class AnswerVerdict:
    """What the model made of a sample's answer, by teacher forcing.

    nll: -ln p of each answer token, nats, float32.
    greedy: is each the token greedy decoding would write, given the right ones before it?
    """

    nll: numpy.ndarray
    greedy: numpy.ndarray

    @property
    def exact(self) -> bool:
        """Would greedy decoding write exactly the answer? All tokens are right exactly when the first wrong one is not."""
        return bool(self.greedy.all())


def can_reuse(model: Any, plan: ScalingPlan) -> bool:
    """Is a prefix's cache good for every sample that begins with it, and can it be cut back to any length?

    Sliding-window, compressed and recurrent layers forget what cutting back would need.
    """
    if not is_prefix_consistent(plan):
        return False
    cache = DynamicCache(config=model.config)
    return all(type(layer) is DynamicLayer for layer in cache.layers) and (bool(cache.layers) or _only_attends(model))


def _only_attends(model: Any) -> bool:
    config = model.config.get_text_config()
    return not any(getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "layer_types"))


def read_answers(
    model: Any, plan: ScalingPlan, samples: Sequence[Sample], *, reuse: bool = True, advance: Advance = lambda cost: None
) -> list[AnswerVerdict]:
    """A verdict for each sample, in their order; the plan is attached to the model already.

    Whether prefixes are shared or not, verdicts are the same, and so is nll up to the order of sums: in float64 exactly, in
    float32 to 1e-5 nats (measured: 2e-5 under `linear` unfinetuned, which makes nonsense of the model).
    advance: called with 1 for each sample read.
    """
    verdicts: dict[int, AnswerVerdict] = {}
    for i, verdict in each_answer(model, plan, samples, reuse=reuse):
        verdicts[i] = verdict
        advance(1)
    return [verdicts[i] for i in range(len(samples))]


def each_answer(
    model: Any, plan: ScalingPlan, samples: Sequence[Sample], *, reuse: bool = True, say: Say = lambda sentence: None
) -> Iterator[tuple[int, AnswerVerdict]]:
    """(index of the sample, verdict) as they are read, in the order that shares most.

    Where memory runs out, the shared cache is given up, and `say` is told; raises OutOfMemory where that is not enough.
    """
    if not samples:
        return
    reader = PrefixReader(model) if reuse and can_reuse(model, plan) else None
    for i in sorted(range(len(samples)), key=lambda i: samples[i].ids):
        ids, first = samples[i].ids[: samples[i].answer_end], samples[i].answer_start
        done = attempt(partial(reader.score, ids, first)) if reader else None
        if reader and done is None:
            reader = None
            say(f"out of memory with a cache of {len(ids):,} tokens; going on without sharing prefixes.")
        done = done or attempt(partial(_score_alone, model, ids, first))
        if done is None:
            raise too_large(len(ids))
        yield i, done[0]


def _score_alone(model: Any, ids: Sequence[int], first: int) -> AnswerVerdict:
    nll, greedy = score(model, torch.tensor([ids], device=model.device), first=first)
    return AnswerVerdict(nll[0].float().cpu().numpy(), greedy[0].cpu().numpy())


class PrefixReader:
    """A model and one growing and shrinking cache."""

    def __init__(self, model: Any):
        self.model = model
        self.cache = DynamicCache(config=model.config)
        self.ids = numpy.zeros(0, dtype=numpy.int64)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], first: int) -> torch.Tensor:
        """(tokens - first + 1, vocabulary) logits of the positions that predict ids[first], ids[first + 1], ... and what
        follows the last. The head runs on these positions only; the cache then holds all of ids."""
        wanted = numpy.asarray(ids, dtype=numpy.int64)
        shared = min(self._shared(wanted), first - 1)
        self.cut(shared)
        head = head_of(self.model, torch.from_numpy(wanted)[None].to(self.model.device))
        pieces = [self._read(piece, head, max(first - 1 - start, 0)) for start, piece in self._chunks(wanted, shared)]
        self.ids = wanted
        return torch.cat(pieces)

    def _chunks(self, ids: numpy.ndarray, shared: int) -> list[tuple[int, torch.Tensor]]:
        """What is to be read, in chunks: continuing a cache costs attention the whole rectangle of new by all tokens.

        A first reading is one call: there the causal triangle is all that is computed.
        """
        size = CHUNK if shared else len(ids)
        fresh = torch.from_numpy(ids).to(self.model.device)
        return [(start, fresh[start : start + size][None]) for start in range(shared, len(ids), size)]

    def _read(self, ids: torch.Tensor, head: Any, skip: int) -> torch.Tensor:
        """(positions after the first `skip`, vocabulary) logits."""
        if head is None:
            everything: torch.Tensor = self.model(ids, **cache_argument(self.model, self.cache), use_cache=True).logits
            return everything[0, skip:].float()
        hidden: torch.Tensor = self.model.base_model(
            ids, **cache_argument(self.model.base_model, self.cache), use_cache=True
        ).last_hidden_state
        logits: torch.Tensor = head(hidden[:, skip:])
        return logits[0].float()

    def score(self, ids: Sequence[int], first: int) -> AnswerVerdict:
        """As `nll.score` on one sequence."""
        logits = self.logits(ids[:-1], first)
        answer = torch.tensor(ids[first:], device=logits.device)
        nll = torch.nn.functional.cross_entropy(logits, answer, reduction="none")
        return AnswerVerdict(nll.cpu().numpy(), (logits.argmax(-1) == answer).cpu().numpy())

    def cut(self, tokens: int) -> None:
        """Forget everything after the first `tokens`. transformers 5.23 counts what to remove, as a negative number."""
        surplus = len(self.ids) - tokens
        if surplus > 0:
            self.cache.crop(-surplus)
            self.ids = self.ids[:tokens]

    def _shared(self, ids: numpy.ndarray) -> int:
        n = min(len(ids), len(self.ids))
        different = numpy.flatnonzero(ids[:n] != self.ids[:n])
        return int(different[0]) if len(different) else n


def tokens_read(samples: Sequence[Sample]) -> tuple[int, int]:
    """(one by one, shared): tokens that go through the model either way."""
    alone, shared, last = 0, 0, numpy.zeros(0, dtype=numpy.int64)
    for sample in sorted(samples, key=lambda sample: sample.ids):
        ids = numpy.asarray(sample.ids[: sample.answer_end - 1])
        n = min(len(ids), len(last))
        different = numpy.flatnonzero(ids[:n] != last[:n])
        common = min(int(different[0]) if len(different) else n, sample.answer_start - 1)
        alone, shared, last = alone + len(ids), shared + len(ids) - common, ids
    return alone, shared
