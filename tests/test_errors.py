"""The hierarchy of errors, and the one message that is built there."""

import inspect
import re

import pytest

from ropewalk import errors
from ropewalk.errors import RopewalkError, UnknownName, first_line

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_clause_catches_them_all(kind):
    assert issubclass(kind, RopewalkError)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not RopewalkError])
def test_each_is_also_what_python_would_have_raised(kind):
    assert issubclass(kind, ValueError | RuntimeError | OSError)


def test_the_drawing_at_the_top_is_complete():
    drawn = re.findall(r"^[├└]── (\w+)", errors.__doc__, re.MULTILINE)

    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS if kind is not RopewalkError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yarm", "no method is called 'yarm'. Did you mean 'yarn'?\n  known: linear, yarn"),
        ("zzz", "no method is called 'zzz'.\n  known: linear, yarn"),
    ],
)
def test_an_unknown_name_comes_with_a_suggestion_and_the_list(name, message):
    assert str(UnknownName("method", name, ["yarn", "linear"])) == message


def test_an_empty_list_is_said():
    assert str(UnknownName("option of none", "beta", [])) == "no option of none is called 'beta'.\n  known: none"


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("one\ntwo"), "one"), (RuntimeError(" \n"), "RuntimeError"), (KeyError(), "KeyError")]
)
def test_of_other_peoples_errors_the_first_line_is_told_or_the_kind(error, line):
    assert first_line(error) == line
