"""The word lists of RULER: wonderwords' nouns, adjectives and verbs."""

import bisect
import importlib.resources
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from ropewalk.errors import extra_parts


@cache
def word_list(kind: str) -> tuple[str, ...]:
    """ "noun", "adjective" or "verb", in the order of wonderwords' file. Its version decides what every prompt says."""
    with extra_parts():
        assets = importlib.resources.files("wonderwords") / "assets"
    return tuple(line.rstrip() for line in (assets / f"{kind}list.txt").read_text(encoding="utf-8").splitlines())


class WordPairs(Sequence[str]):
    """Every "adjective-noun", sorted and each once, without making the six million strings: item i on demand."""

    def __init__(self, adjectives: Sequence[str], nouns: Sequence[str]):
        self.nouns = sorted(set(nouns))
        self.blocks: list[str | list[str]] = []
        for group in _groups(sorted({f"{adjective}-" for adjective in adjectives})):
            if len(group) == 1:
                self.blocks.append(group[0])
            else:  # "red-" and "red-hot-": their pairs are sorted among one another
                self.blocks.append(sorted({start + noun for start in group for noun in self.nouns}))
        sizes = [len(self.nouns) if isinstance(block, str) else len(block) for block in self.blocks]
        self.ends = list(accumulate(sizes))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < len(self):
            raise IndexError(i)
        number = bisect.bisect_right(self.ends, i)
        block = self.blocks[number]
        inside = i - (self.ends[number - 1] if number else 0)
        return block + self.nouns[inside] if isinstance(block, str) else block[inside]


def _groups(starts: list[str]) -> list[list[str]]:
    """Sorted beginnings, those that begin with another's beginning put together with it."""
    groups: list[list[str]] = []
    for start in starts:
        if groups and start.startswith(groups[-1][0]):
            groups[-1].append(start)
        else:
            groups.append([start])
    return groups


@cache
def word_pairs() -> WordPairs:
    return WordPairs(word_list("adjective"), word_list("noun"))


@cache
def single_words() -> tuple[str, ...]:
    """Nouns, adjectives and verbs, sorted, each once."""
    return tuple(sorted({*word_list("noun"), *word_list("adjective"), *word_list("verb")}))
