"""Counting the tokens of a long text by its pieces, exactly.

A haystack is the same sentences over and over. Each distinct piece is tokenised once; a text's ids are then its pieces'
ids one after another, provided that no token crosses a seam. Whether one does is asked of the tokenizer itself, once for
each kind of seam (the last character before it and two after); pieces with a token across their seam are joined before
they are tokenised. The first texts are also tokenised whole and compared: a tokenizer that this does not suit (one that
puts a marker before every text) is counted the long way from then on.
"""

from collections.abc import Callable, Sequence

Encode = Callable[[str], list[int]]
EncodeMany = Callable[[list[str]], list[list[int]]]

NEIGHBOURHOOD = 24  # characters either side of a seam that are tokenised together to see whether a token crosses it
CHECKED = 3  # texts that are tokenised whole as well
LARGEST = 1_000_000  # pieces remembered


class Pieces:
    """Token ids of texts made of pieces, for one tokenizer."""

    def __init__(self, encode: Encode, encode_many: EncodeMany | None = None):
        self._encode = encode
        self._encode_many = encode_many or (lambda texts: [encode(text) for text in texts])
        self._ids: dict[str, list[int]] = {}
        self._seams: dict[tuple[str, str], bool] = {}
        self._to_check = CHECKED
        self.whole = False  # counted the long way

    def count(self, pieces: Sequence[str]) -> int:
        """Tokens of "".join(pieces)."""
        if self.whole or self._to_check:
            return len(self.ids(pieces))
        joined = self._joined(pieces)
        ids = self._ids
        return sum([len(ids[piece]) for piece in joined])

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of "".join(pieces)."""
        if self.whole:
            return self._encode("".join(pieces))
        found: list[int] = []
        for piece in self._joined(pieces):
            found += self._ids[piece]
        if self._to_check:
            self._to_check -= 1
            right = self._encode("".join(pieces))
            self.whole = found != right
            return right
        return found

    def _joined(self, pieces: Sequence[str]) -> Sequence[str]:
        """The pieces, those with a token across their seam joined; all of them are tokenised afterwards."""
        pieces = [piece for piece in pieces if piece]
        seams = {(a[-1], b[:2]) for a, b in zip(pieces, pieces[1:], strict=False)}
        unknown = seams - self._seams.keys()
        if unknown:
            for a, b in zip(pieces, pieces[1:], strict=False):
                if (key := (a[-1], b[:2])) in unknown:
                    self._seams[key] = self._is_clean(a, b)
                    unknown.discard(key)
        if not all([self._seams[seam] for seam in seams]):
            pieces = self._join(pieces)
        self._remember(pieces)
        return pieces

    def _join(self, pieces: list[str]) -> list[str]:
        runs = [[pieces[0]]]
        for a, b in zip(pieces, pieces[1:], strict=False):
            if self._seams[a[-1], b[:2]]:
                runs.append([b])
            else:
                runs[-1].append(b)
        return ["".join(run) for run in runs]

    def _is_clean(self, a: str, b: str) -> bool:
        a, b = a[-NEIGHBOURHOOD:], b[:NEIGHBOURHOOD]
        if a[-1].isdigit() and b[0].isdigit():  # tokenizers that take digits by threes count from the first
            return False
        return self._encode(a + b) == self._encode(a) + self._encode(b)

    def _remember(self, pieces: Sequence[str]) -> None:
        if len(self._ids) > LARGEST:
            self._ids.clear()
        if new := list(set(pieces) - self._ids.keys()):
            self._ids.update(zip(new, self._encode_many(new), strict=True))
