import pytest

from ropewalk.errors import BadOption, RopewalkError, UnknownName
from ropewalk.jobs.train.sizing.memory import CARDS, SHORT, parse_cards


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [("8xH100-80", 8, "H100-80"), ("H200-141", 1, "H200-141"), ("2 x a100-40", 2, "A100-40"), ("4X4090", 4, "4090-24"),
     ("4090", 1, "4090-24"), ("16*l40s", 16, "L40S-48")],
)  # fmt: skip
def test_cards_are_counted_and_named(text, count, name):
    assert parse_cards(text) == (count, CARDS[name])


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [("8xH1000", UnknownName, "Did you mean 'H100-80'?"), ("0xH100-80", BadOption, "from 1 to"), ("", BadOption, "COUNTxNAME"),
     ("9999999xH100-80", BadOption, "9,999,999 cards"), ("8 cards", BadOption, "8xH100-80"), ("8x", UnknownName, "known:")],
)  # fmt: skip
def test_bad_cards_are_refused_in_our_words(text, error, words):
    with pytest.raises(error, match=words):
        parse_cards(text)
    assert issubclass(error, RopewalkError)


def test_a_card_holds_less_than_its_name_says():
    """The number in the name is what it is sold with, in 10^9 or 2^30 bytes."""
    for name, card in CARDS.items():
        sold = int(name.rpartition("-")[2])
        assert 0.90 * sold < card.gib < sold
        assert card.source
    assert set(SHORT.values()) <= set(CARDS)
