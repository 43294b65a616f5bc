"""Counting the tokens of a long text by its pieces, exactly.

A haystack is the same sentences over and over. Each distinct piece is tokenised once; a text's ids are then its pieces'
ids one after another, provided that no token crosses a seam. Whether one does is asked of the tokenizer itself, once for
each kind of seam (two characters before it and two after); pieces with a token across their seam are joined before
they are tokenised. White space is never cut inside: tokenizers look past it to see what follows. `verify` compares with
the whole text; a tokenizer that this does not suit (one that puts a marker before every text) is counted the long way.
"""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, count, pairwise

Encode = Callable[[str], list[int]]

NEIGHBOURHOOD = 24  # characters either side of a seam that are tokenised together to see whether a token crosses it
LARGEST = 1_000_000  # pieces remembered
PAGE = 50_000  # characters that `verify` compares, at either end
DIGIT, RUN = re.compile(r"\d"), re.compile(r"\d|\D+")
TRIED = 20  # texts that are tokenised both ways


class Pieces:
    """Token ids of texts made of pieces, for one tokenizer."""

    def __init__(self, encode: Encode):
        self._encode = encode
        self._ids: dict[str, list[int]] = {}
        self._sizes: dict[str, int] = {}
        self._ends: dict[str, str] = {}  # of each piece, the last two characters
        self._starts: dict[str, str] = {}
        self._seams: dict[tuple[str, str], bool] = {}
        self._splits_digits: bool | None = None
        self.whole = False  # counted the long way

    def count(self, pieces: Sequence[str]) -> int:
        """Tokens of "".join(pieces)."""
        if self.whole:
            return len(self._encode("".join(pieces)))
        return sum(map(self._sizes.__getitem__, self._joined(pieces)))

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Token ids of "".join(pieces)."""
        if self.whole:
            return self._encode("".join(pieces))
        joined = self._joined(pieces)
        self._spell(set(joined).difference(self._ids))
        return list(chain.from_iterable(map(self._ids.__getitem__, joined)))

    def verify(self, pieces: Sequence[str]) -> bool:
        """Are the ids right? If not, everything is counted the long way from now on. The first and last pages are compared."""
        page = next((i for i, n in enumerate(accumulate(map(len, pieces))) if n > PAGE), len(pieces)) + 1
        for part in (pieces[:page], pieces[page:][-page:]):
            if not self.whole and self.ids(part) != self._encode("".join(part)):
                self.whole = True
                return False
        return True

    def _joined(self, pieces: Sequence[str]) -> Sequence[str]:
        """The pieces, those with a token across their seam joined; all of them are tokenised afterwards."""
        pieces = [piece for piece in pieces if piece]
        try:
            seams = self._seams_of(pieces)
        except KeyError:
            for piece in set(pieces).difference(self._ends):
                self._ends[piece], self._starts[piece] = piece[-2:], piece[:2]
            seams = self._seams_of(pieces)
        if seams.difference(self._seams):
            for a, b in pairwise(pieces):
                if (seam := (a[-2:], b[:2])) not in self._seams:
                    self._seams[seam] = self._is_clean(a, b)
        if not all(map(self._seams.__getitem__, seams)):
            pieces = self._join(pieces)
        self._remember(pieces)
        return pieces

    def _seams_of(self, pieces: list[str]) -> set[tuple[str, str]]:
        """Every kind of seam in a text; in C, as a long text has a hundred thousand."""
        return set(zip(map(self._ends.__getitem__, pieces), map(self._starts.__getitem__, pieces[1:]), strict=False))

    def _join(self, pieces: list[str]) -> list[str]:
        kinds = zip(map(self._ends.__getitem__, pieces), map(self._starts.__getitem__, pieces[1:]), strict=False)
        crossed = {i for i, clean in enumerate(map(self._seams.__getitem__, kinds)) if not clean}
        # the second of two spaces: the seam after it has a run of white space before it, and is none either
        crossed |= {i + 1 for i in crossed if len(pieces[i + 1]) == 1 and (pieces[i][-1] + pieces[i + 1]).isspace()}
        runs: list[str] = []
        start = 0
        for i in sorted(crossed - {len(pieces) - 1}):
            if i >= start:
                runs += pieces[start:i]
                start = next(n for n in count(i) if n not in crossed or n + 1 == len(pieces)) + 1
                runs.append("".join(pieces[i:start]))
        return runs + pieces[start:]

    def _is_clean(self, a: str, b: str) -> bool:
        a, b = a[-NEIGHBOURHOOD:], b[:NEIGHBOURHOOD]
        between_words = a[-1].isspace() != b[0].isspace() or (a[-1].isalpha() and b[0] == "-")
        # Inside a word, a number or a run of signs, whether a token crosses depends on more than two characters.
        return between_words and not _ends_in_spaces(a) and self._encode(a + b) == self._encode(a) + self._encode(b)

    def _remember(self, pieces: Sequence[str]) -> None:
        """Learn the sizes of pieces not seen before, and the ids of all but numbers, which are never seen again."""
        if len(self._sizes) > LARGEST:
            for known in (self._ids, self._sizes, self._ends, self._starts):
                known.clear()
        new = set(pieces).difference(self._sizes)
        numbers = [piece for piece in new if len(piece) > 4 and DIGIT.search(piece)]
        if len(numbers) > TRIED and self._split_digits(numbers):
            runs = [RUN.findall(piece) for piece in numbers]
            self._learn(set(chain.from_iterable(runs)))
            self._sizes.update((n, sum(map(self._sizes.__getitem__, run))) for n, run in zip(numbers, runs, strict=True))
            new.difference_update(numbers)
        self._learn(new)

    def _learn(self, pieces: set[str]) -> None:
        if new := list(pieces.difference(self._ids)):
            self._ids.update(zip(new, self._encode_many(new), strict=True))
            self._sizes.update((piece, len(self._ids[piece])) for piece in new)

    def _spell(self, numbers: set[str]) -> None:
        """Ids of numbers whose sizes alone are known."""
        for number in numbers:
            runs = RUN.findall(number)
            self._learn({run for run in runs if run not in self._ids})
            self._ids[number] = list(chain.from_iterable(map(self._ids.__getitem__, runs)))

    def _split_digits(self, numbers: list[str]) -> bool:
        """Does this tokenizer take every digit alone, whatever stands beside it? Tried once, on a hundred numbers."""
        if self._splits_digits is None:
            tried = numbers[:100]
            runs = [RUN.findall(number) for number in tried]
            self._splits_digits = all(
                self._encode(number) == [i for run in parts for i in self._encode(run)]
                for number, parts in zip(tried, runs, strict=True)
            )
        return self._splits_digits

    def _encode_many(self, texts: list[str]) -> list[list[int]]:
        """Many short texts at once, as lines of one, which is five times faster than one by one.

        The line break must come out as one token between any two, and the first texts as they do alone; otherwise one by one.
        """
        mark = self._encode("\n")
        if len(texts) > 3 * TRIED and len(mark) == 1 and not any("\n" in text for text in texts):
            found: list[list[int]] = [[]]
            for token in self._encode("\n".join(texts)):
                if token == mark[0]:
                    found.append([])
                else:
                    found[-1].append(token)
            if len(found) == len(texts) and found[:TRIED] == [self._encode(text) for text in texts[:TRIED]]:
                return found
        return [self._encode(text) for text in texts]


def _ends_in_spaces(text: str) -> bool:
    return len(text) > 1 and text[-2:].isspace()
