"""What arguments may be in Python, and that anything else is told apart before it is used."""

from pathlib import Path

import pytest

from ropewalk.api import arguments
from ropewalk.errors import BadLength, BadOption


def test_a_path_is_a_text_like_its_name():
    assert arguments.as_texts(Path("a,b.txt")) == ("a,b.txt",)
    assert arguments.as_texts([Path("a"), "b"]) == ("a", "b")
    assert arguments.as_texts(None) == ()


def test_lengths_are_numbers_or_words_one_or_several():
    assert arguments.as_lengths(4096) == arguments.as_lengths("4k") == arguments.as_lengths([4096]) == (4096,)
    assert arguments.as_lengths((512, "1k")) == (512, 1024)


@pytest.mark.parametrize("given", [5, 5.0, object(), {"a": 1}])
def test_what_is_no_text_no_name_and_no_plan_is_told(given):
    for read in (arguments.as_texts, arguments.as_names, arguments.as_protocols):
        with pytest.raises(BadOption, match="is neither a "):
            read(given)
    with pytest.raises(BadOption, match=r"is neither a plan nor several|is no plan, but of type int"):
        arguments.as_plans(given)


@pytest.mark.parametrize("given", ["4", True, float("nan"), [4]])
def test_a_factor_is_a_number(given):
    with pytest.raises(BadOption, match="it must be a number, such as 4"):
        arguments.as_factor(given)
    assert arguments.as_factor(None) is None
    assert arguments.as_factor(4) == 4


def test_a_length_that_is_none_is_told():
    with pytest.raises(BadLength):
        arguments.as_lengths(object())
