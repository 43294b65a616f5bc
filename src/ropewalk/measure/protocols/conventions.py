"""Other people's perplexities, under their names: what is read, what is scored, and what has equal weight in the mean.

On one model and one set of texts these differ by a quarter and more, so a number means little without its convention.
Ropewalk's own are in `own`; these are here so that a published number can be met on its own ground.
"""

from dataclasses import dataclass
from typing import ClassVar

from ropewalk.errors import BadOption
from ropewalk.measure.protocols.base import DOCUMENTS, WINDOWS, Cells, Protocol, Window
from ropewalk.measure.protocols.own import Sliding


@dataclass(frozen=True, slots=True)
class Press(Sliding):
    """Every token has equal weight (Press et al. 2022): the same as `sliding`. fairseq's own also lets context cross from one
    document into the next; here it does not."""

    kind: ClassVar[str] = "press"


@dataclass(frozen=True, slots=True)
class Yarn(Sliding):
    """Every *window* has equal weight: jquesnelle/yarn@995db5b, eval/perplexity.py (also EasyContext, LongRoPE).

    A first window's `length` tokens count as much as a later one's `stride`.
    """

    kind: ClassVar[str] = "yarn"
    average: ClassVar[str] = WINDOWS


@dataclass(frozen=True, slots=True)
class DocumentMean(Sliding):
    """Every document has equal weight, however long it is."""

    kind: ClassVar[str] = "document-mean"
    average: ClassVar[str] = DOCUMENTS


@dataclass(frozen=True, slots=True)
class LongLora(Protocol):
    """All tokens of overlapping windows over all documents in a row, without BOS: dvlab-research/LongLoRA@d4eb344, eval.py.

    Tokens are scored again in every window that holds them, so most have little context: a mean over all context lengths,
    not a sliding-window perplexity.
    """

    length: int
    stride: int
    kind: ClassVar[str] = "longlora"
    average: ClassVar[str] = WINDOWS
    corpus: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Sliding(self.length, self.stride)  # the same rules

    def needs(self, bos: bool = True) -> int:
        return self.length + self.stride + 1  # one window: the last start is dropped

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        starts = range(0, tokens - self.length, self.stride)[:-1]
        return {str(self.length): [Window(document, start, self.length, bos=False) for start in starts]}


@dataclass(frozen=True, slots=True)
class _Disjoint(Protocol):
    length: int

    def __post_init__(self) -> None:
        if self.length < 4:
            raise BadOption(f"{self}: the length must be at least 4 tokens.")

    def needs(self, bos: bool = True) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class LmEval(_Disjoint):
    """Blocks of `length` predicted tokens, each with one token of context before it: EleutherAI/lm-evaluation-harness@4e7e0d4,
    get_rolling_token_windows with context_len = 1.

    The first block's context token is BOS, a later one's the last token of the block before. The last block, shorter, has its
    context filled up to `length` tokens. A window here has length + 1 tokens: the last is predicted and never fed there.
    """

    kind: ClassVar[str] = "lm-eval"

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        c = self.length
        first = Window(document, 0, c + bos, 1, bos)
        later = [Window(document, done - 1, c + 1, 1, False) for done in range(c, tokens - c + 1, c)]
        rest = tokens % c
        last = [Window(document, tokens - c - 1, c + 1, c + 1 - rest, False)] if rest else []
        return {str(c): [first, *later, *last]}


@dataclass(frozen=True, slots=True)
class LlamaCpp(_Disjoint):
    """Chunks of `length` tokens of all documents in a row, the second half of each scored: llama.cpp's llama-perplexity.

    Its stream begins with BOS and the first token of every chunk is *replaced* by BOS. Predicted are the tokens from index
    length / 2 + 1; a last part of a chunk is left out.
    """

    kind: ClassVar[str] = "llama.cpp"
    corpus: ClassVar[bool] = True

    def cells(self, document: str, tokens: int, bos: bool = True) -> Cells:
        n = self.length
        starts = range(0, tokens + bos - n + 1, n)
        return {str(n): [Window(document, start, n, n // 2 + 1, bos) for start in starts]}
