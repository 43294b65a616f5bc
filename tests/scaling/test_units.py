"""Lengths as Python and as the command line have them."""

import pytest

from ropewalk.errors import BadLength
from ropewalk.scaling.rope import LARGEST_LENGTH
from ropewalk.scaling.units import as_length, spoken


@pytest.mark.parametrize(
    ("value", "tokens"), [(4096, 4096), (4096.0, 4096), ("4k", 4096), (" 128 K", 131072), ("0.5m", 524288)]
)
def test_lengths_are_numbers_or_texts(value, tokens):
    assert as_length(value) == tokens
    assert type(as_length(value)) is int


@pytest.mark.parametrize("value", [0, -4096, 4096.5, True, None, [4096], float("nan"), float("inf"), LARGEST_LENGTH, "4kb"])
def test_what_is_no_length_is_refused_as_it_was_written(value):
    with pytest.raises(BadLength) as told:
        as_length(value)

    assert str(told.value).startswith(f"{value!r} is not a length")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (44.6, "45 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (6000, "1 h 40 min"),
        (3 * 3600 + 300, "3 h 05 min"), (47.9 * 3600, "47 h 54 min"), (52 * 3600, "2 d 4 h"),
    ],
)  # fmt: skip
def test_spoken(seconds, words):
    assert spoken(seconds) == words
