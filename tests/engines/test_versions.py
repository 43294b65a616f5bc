"""Versions and ranges of them."""

import pytest

from ropewalk.engines.engine import parse_version, within
from ropewalk.errors import BadOption


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32", (0, 32)), ("0.32.0", (0, 32)), ("v5.23.0", (5, 23)), ("b10488", (10_488,)), ("0.5.23.post1", (0, 5, 23)),
     ("1", (1,)), ("0.32.0rc1", (0, 32)), ("0", (0,))],
)  # fmt: skip
def test_versions_as_engines_write_them(text, version):
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "new", "0..3", "0.32,0.33", "-1", "1.2.3.4.5", "٣", "9" * 40, "0.32 or so"])
def test_what_is_no_version(text):
    with pytest.raises(BadOption, match="is not a version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("version", "spec", "answer"),
    [("0.32", ">= 0.32", True), ("0.32", "< 0.32", False), ("0.31.9", "< 0.32", True), ("0.32.0", "< 0.32", False),
     ("0.9", "< 0.11.1", True), ("5.23", ">= 5, < 5.23", False), ("5.22", ">= 5, < 5.23", True), ("1", "", True)],
)  # fmt: skip
def test_ranges_hold_their_lower_bound_and_not_their_upper(version, spec, answer):
    assert within(parse_version(version), spec) is answer
