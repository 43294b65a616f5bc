"""Counting the tokens of a long text by its pieces, exactly.

A haystack is the same sentences over and over. Each distinct piece is tokenised once; a text's ids are then its pieces'
ids one after another, provided that no token crosses a seam. Whether one does is asked of the tokenizer itself, once for
each kind of seam (two characters before it and two after); pieces with a token across their seam are joined before
they are tokenised. White space is never cut inside: tokenizers look past it to see what follows. `verify` compares with
the whole text; a tokenizer that this does not suit (one that puts a marker before every text) is counted the long way.
"""

from collections.abc import Callable, Sequence

Encode = Callable[[str], list[int]]
EncodeMany = Callable[[list[str]], list[list[int]]]

NEIGHBOURHOOD = 24  # characters either side of a seam that are tokenised together to see whether a token crosses it
LARGEST = 1_000_000  # pieces remembered


class Pieces:
    """Token ids of texts made of pieces, for one tokenizer."""

    def __init__(self, encode: Encode, encode_many: EncodeMany | None = None):
        self._encode = encode
        self._encode_many = encode_many or (lambda texts: [encode(text) for text in texts])
        self._ids: dict[str, list[int]] = {}
        self._seams: dict[tuple[str, str], bool] = {}
        self.whole = False  # counted the long way

    def count(self, pieces: Sequence[str]) -> int:
        """Tokens of "".join(pieces)."""
        if self.whole:
            return len(self._encode("".join(pieces)))
        joined, ids = self._joined(pieces), self._ids
        return sum([len(ids[piece]) for piece in joined])

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of "".join(pieces)."""
        if self.whole:
            return self._encode("".join(pieces))
        return [i for piece in self._joined(pieces) for i in self._ids[piece]]

    def verify(self, pieces: Sequence[str]) -> bool:
        """Are they the ids of the whole text? If not, everything is counted the long way from now on."""
        if not self.whole and self.ids(pieces) != self._encode("".join(pieces)):
            self.whole = True
            return False
        return True

    def _joined(self, pieces: Sequence[str]) -> Sequence[str]:
        """The pieces, those with a token across their seam joined; all of them are tokenised afterwards."""
        pieces = [piece for piece in pieces if piece]
        seams = {(a[-2:], b[:2]) for a, b in zip(pieces, pieces[1:], strict=False)}
        unknown = seams - self._seams.keys()
        if unknown:
            for a, b in zip(pieces, pieces[1:], strict=False):
                if (key := (a[-2:], b[:2])) in unknown:
                    self._seams[key] = self._is_clean(a, b)
                    unknown.discard(key)
        if not all([self._seams[seam] for seam in seams]):  # a list: faster than a generator
            pieces = self._join(pieces)
        self._remember(pieces)
        return pieces

    def _join(self, pieces: list[str]) -> list[str]:
        runs, tail = [[pieces[0]]], pieces[0]
        for a, b in zip(pieces, pieces[1:], strict=False):
            if self._seams[a[-2:], b[:2]] and not _ends_in_spaces(tail):
                runs.append([b])
                tail = b
            else:
                runs[-1].append(b)
                tail = (tail + b)[-2:]
        return ["".join(run) for run in runs]

    def _is_clean(self, a: str, b: str) -> bool:
        a, b = a[-NEIGHBOURHOOD:], b[:NEIGHBOURHOOD]
        between_words = a[-1].isspace() != b[0].isspace() or (a[-1].isalpha() and b[0] == "-")
        # Inside a word, a number or a run of signs, whether a token crosses depends on more than two characters.
        return between_words and not _ends_in_spaces(a) and self._encode(a + b) == self._encode(a) + self._encode(b)

    def _remember(self, pieces: Sequence[str]) -> None:
        if len(self._ids) > LARGEST:
            self._ids.clear()
        if new := list(set(pieces) - self._ids.keys()):
            self._ids.update(zip(new, self._encode_many(new), strict=True))


def _ends_in_spaces(text: str) -> bool:
    return len(text) > 1 and text[-2:].isspace()
