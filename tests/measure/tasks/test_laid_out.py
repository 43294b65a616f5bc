"""Pass keys and needles laid out by hand: what stands where, to the token."""

import random
import re

import pytest

from ropewalk.errors import BadLength
from ropewalk.measure.material import Material
from ropewalk.measure.task import get_task
from ropewalk.measure.tasks.needle import PLACES
from ropewalk.measure.tasks.passkey import make_passkey
from ropewalk.models.load import load_tokenizer

LINE = 10  # the token that begins a line, here


def key_of(depth, haystack, length=250, seed=0, newlines=frozenset([LINE])):
    """One character a token, BOS 256."""
    return make_passkey(
        haystack, lambda text: list(text.encode()), length=length, depth=depth, rng=random.Random(seed), bos=256,
        newlines=newlines,
    )  # fmt: skip


ROOM = 250 - 1 - 61 - 41 - 5  # of haystack: BOS, needle, question and key are 1 + 61 + 41 + 5 characters


def parts(sample):
    start, end = sample.needle_start, sample.needle_start + sample.needle_length
    ids = sample.ids[: len(sample.ids) - sample.answer_length]
    return list(ids[1:start]), bytes(ids[start:end]).decode(), list(ids[end:])


@pytest.mark.parametrize("depth", [0, 1, 0.5, 0.26])
def test_a_key_stands_before_the_line_nearest_to_its_depth(depth):
    """Lines begin at 30, 60, 100 and 140 of 142 tokens of 1s; depth 0 and 1 are the very ends."""
    haystack = [LINE if i in (30, 60, 100, 140) else 49 for i in range(400)]
    sample = key_of(depth, haystack)
    before, needle, rest = parts(sample)
    cut = {0: 0, 1: ROOM, 0.5: 60, 0.26: 30}[depth]
    assert (len(sample.ids), sample.ids[0]) == (250, 256)
    assert before == haystack[:cut]
    assert rest[: ROOM - cut] == haystack[cut:ROOM]
    assert bytes(rest[ROOM - cut :]).decode() == "\n# What is the pass key? The pass key is "
    key = bytes(sample.ids[-5:]).decode()
    assert re.fullmatch(r"\d{5}", key)
    assert needle == f"\n# The pass key is {key}. Remember it. {key} is the pass key."


def test_a_key_in_text_without_lines_stands_at_its_depth_to_the_token():
    for depth in (0.1, 0.4, 0.9):
        assert key_of(depth, [49] * 400).needle_start == 1 + round(depth * ROOM)


def test_keys_are_five_digits_each_as_likely_as_any():
    keys = [bytes(key_of(0.5, [49] * 400, seed=seed).ids[-5:]).decode() for seed in range(400)]
    assert len(set(keys)) > 390
    assert all({key[i] for key in keys} == set("0123456789") for i in range(5))


def test_a_key_that_just_fits_and_one_that_does_not():
    just = key_of(0.5, [], length=250 - ROOM, newlines=frozenset())
    assert (len(just.ids), just.needle_start, just.answer_length) == (108, 1, 5)
    with pytest.raises(BadLength, match="needs 108 tokens or more; 107 were asked for"):
        key_of(0.5, [49] * 400, length=107)
    assert len(key_of(0.5, [49] * ROOM).ids) == 250
    with pytest.raises(BadLength, match=f"the haystack has {ROOM - 1} tokens, {ROOM} are needed"):
        key_of(0.5, [49] * (ROOM - 1))


@pytest.fixture(scope="module")
def material():
    """Text and code are told apart by their letters."""
    made = Material(load_tokenizer("ropewalk-tiny"), None)
    made.__dict__["prose_ids"] = tuple(made.encode("a word and another. " * 900))
    made.__dict__["code_ids"] = tuple(made.encode("".join(f"x_{i} = {i}\n" for i in range(4000))))
    return made


def samples(material, name, count=24, length=400, depths=(0.5,), seed=0):
    return list(get_task(name)(material, length=length, count=count, seed=seed, depths=depths))


def test_a_needle_is_a_number_of_six_digits_about_a_place_in_prose(material):
    """The question is the sentence begun again; the answer is its number, and nothing of the haystack is code."""
    seen = set()
    for sample in samples(material, "needle", count=80):
        start, end = sample.needle
        told = re.fullmatch(r"\nThe secret number of (\w+) is ([1-9]\d{5})\.", material.decode(sample.ids[start:end]))
        assert told, material.decode(sample.ids[start:end])
        place, number = told.groups()
        assert material.decode(sample.prompt).endswith(f"\nThe secret number of {place} is")
        assert material.decode(sample.answer) == f" {number}"
        assert sample.references == (number,)
        assert "x_" not in material.decode(sample.ids)
        assert len(sample.ids) == 400
        seen.add((place, number))
    assert len({place for place, _ in seen}) > 6
    assert {place for place, _ in seen} <= set(PLACES)
    assert len({number for _, number in seen}) == 80
    assert len(PLACES) == len(set(PLACES)) == 16


def test_pass_keys_are_hidden_in_code_each_in_its_own_stretch(material):
    made = samples(material, "passkey", depths=(0.0, 0.5, 1.0), count=6)
    for sample in made:
        start, end = sample.needle
        key = material.decode(sample.answer)
        assert material.decode(sample.ids[start:end]) == f"\n# The pass key is {key}. Remember it. {key} is the pass key."
        assert (sample.references, len(sample.ids), sample.answer_end) == ((key,), 400, 400)
        assert "word" not in material.decode(sample.ids)
        bare = sample.ids[1:start] + sample.ids[end:]
        assert f"{material.decode(bare)}".count("= ") > 10
    stretches = {sample.index: sample.ids[1:40] for sample in made if sample.depth == 1.0}
    assert len(set(stretches.values())) == 6
    for sample in made:  # the same stretch at every depth
        if sample.depth == 0.5:
            assert sample.ids[1:40] == stretches[sample.index]
    assert [s.needle[0] for s in made if s.depth == 0.0] == [1] * 6


def test_other_seeds_are_other_keys_in_other_code(material):
    one, other = (samples(material, "passkey", count=1, seed=seed)[0] for seed in (0, 1))
    assert one.references != other.references
    assert one.ids[1:40] != other.ids[1:40]
