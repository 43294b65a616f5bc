"""What RULER's needle tasks hide, where, and what they ask: read back from the finished prompt, without their own code."""

import random
import re

import pytest

from ropewalk.measure.material import Material
from ropewalk.measure.tasks import ruler_niah
from ropewalk.measure.tasks.ruler_niah import DEPTHS, SHAPES, Niah, Shape, draw, in_prose, needle
from ropewalk.models.load import load_tokenizer
from support import ruler_material

NEEDLE = re.compile(r"One of the special magic (\w+) for (.+?) is: (\S+?)\.(?=\s|$)")
QUESTION = re.compile(r"\nWhat (?:is|are all) the special magic (\w+) for (.+) mentioned in the provided text\?")
# Hsieh et al. 2024, RULER's synthetic.yaml: keys, values of each, asked for, haystack, kinds of key and value
TABLE = {
    "niah_single_1": (1, 1, 1, "noise", "words", "numbers"),
    "niah_single_2": (1, 1, 1, "essay", "words", "numbers"),
    "niah_single_3": (1, 1, 1, "essay", "words", "uuids"),
    "niah_multikey_1": (4, 1, 1, "essay", "words", "numbers"),
    "niah_multikey_2": (1, 1, 1, "needle", "words", "numbers"),
    "niah_multikey_3": (1, 1, 1, "needle", "uuids", "uuids"),
    "niah_multivalue": (1, 4, 1, "essay", "words", "numbers"),
    "niah_multiquery": (4, 1, 4, "essay", "words", "numbers"),
}
FORMS = {
    "numbers": r"[1-9]\d{6}",
    "words": r"[A-Za-z' -]+-[A-Za-z' -]+",
    "uuids": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
}
SIZE = 200


@pytest.fixture(scope="module")
def material():
    pytest.importorskip("wonderwords", reason="the word lists of the extra `ruler`")
    return Material(load_tokenizer("ropewalk-tiny"), ruler_material.prose(), split=ruler_material.split)


@pytest.fixture
def family(material):
    return lambda name: Niah(SHAPES[name], material, 4096)


def drafts(family, name, count=6, size=SIZE):
    return [family(name).draft(size, random.Random(seed)) for seed in range(count)]


def read(draft):
    """(hidden as key to values, asked keys, the text before the question), from the text alone."""
    context, rest = "".join(draft.pieces).rsplit("\nWhat ", 1)
    asked = QUESTION.match("\nWhat " + rest)
    hidden = {}
    for _, key, value in NEEDLE.findall(context):
        hidden.setdefault(key, []).append(value)
    return hidden, re.split(r", and |, | and ", asked[2]), context


def test_the_shapes_are_those_of_the_paper():
    assert {n: (s.keys, s.values, s.queries, s.haystack, s.key_kind, s.value_kind) for n, s in SHAPES.items()} == TABLE


@pytest.mark.parametrize("name", TABLE)
def test_the_answer_is_what_stands_beside_the_keys_that_are_asked_for(family, name):
    keys, values, queries, haystack, key_kind, value_kind = TABLE[name]
    for draft in drafts(family, name):
        hidden, asked, _ = read(draft)
        assert len(asked) == len(set(asked)) == queries
        wanted = [value for key in asked for value in hidden[key]]
        assert sorted(draft.references) == sorted(wanted)
        assert len(draft.references) == queries * values
        assert draft.answer == " " + ", ".join(draft.references)
        if haystack != "needle":
            assert len(hidden) == keys
            assert {len(found) for found in hidden.values()} == {values}
        else:
            assert len(hidden) == SIZE + 1
        assert all(re.fullmatch(FORMS[key_kind], key) for key in hidden)
        assert all(re.fullmatch(FORMS[value_kind], value) for found in hidden.values() for value in found)


def test_answers_of_several_keys_stand_in_the_order_of_the_question(family):
    for draft in drafts(family, "niah_multiquery"):
        hidden, asked, _ = read(draft)
        assert list(draft.references) == [hidden[key][0] for key in asked]


@pytest.mark.parametrize("name", TABLE)
def test_no_two_values_and_no_two_keys_are_the_same(material, monkeypatch, name):
    """Drawn from so few that luck would repeat them; noise lines draw nothing and prose neither."""
    shape = SHAPES[name]
    size, most = (5, 30) if shape.haystack == "needle" else (SIZE, 9)
    monkeypatch.setattr(ruler_niah, "draw", lambda kind, rng: str(rng.randrange(most)))
    for seed in range(8):
        hidden, _, _ = read(Niah(shape, material, 4096).draft(size, random.Random(seed)))
        values = [value for found in hidden.values() for value in found]
        assert len(values) == len(set(values)) == (size + 1 if shape.haystack == "needle" else shape.keys * shape.values)


@pytest.mark.parametrize("name", ["niah_single_2", "niah_single_3"])
def test_a_needle_stands_where_its_depth_says_in_prose(family, material, name):
    """Counted in sentences: as many before it as `depth` of all."""
    for draft in drafts(family, name, count=12):
        context = "".join(draft.pieces).rsplit("\nWhat ", 1)[0]
        before = context[: NEEDLE.search(context).start()].split("\n", 1)[1]
        sentences = len([one for one in material.split(before) if one.strip()])
        assert sentences == pytest.approx(SIZE * draft.facts["depth"], abs=8)  # the splitter joins sentences anew
    assert len({draft.facts["depth"] for draft in drafts(family, name, count=12)}) > 6


@pytest.mark.parametrize("name", ["niah_single_1", "niah_multikey_2", "niah_multikey_3"])
def test_a_needle_stands_on_the_line_that_its_depth_says(family, name):
    for draft in drafts(family, name, count=12):
        _, asked, context = read(draft)
        lines = context.split("\n")[1:]
        line = next(i for i, text in enumerate(lines) if f"for {asked[0]} is:" in text)
        assert line == SIZE * round(100 * draft.facts["depth"]) // 100
        assert len(lines) == SIZE + 1


@pytest.mark.parametrize("name", ["niah_multikey_1", "niah_multivalue", "niah_multiquery"])
def test_several_needles_have_no_one_depth_and_are_spread(family, name):
    for draft in drafts(family, name):
        assert draft.facts["depth"] is None
        _, _, context = read(draft)
        places = [match.start() / len(context) for match in NEEDLE.finditer(context)]
        assert len(places) == 4
        assert max(places) - min(places) > 0.05


@pytest.mark.parametrize("name", ["niah_multivalue", "niah_multiquery", "niah_multikey_1"])
def test_needles_lie_in_no_order(family, name):
    """Of four there are 24 orders, and four places for the one that is asked for: twelve drafts see several of them."""
    orders = set()
    for draft in drafts(family, name, count=12):
        values = [value for _, _, value in NEEDLE.findall(read(draft)[2])]
        orders.add(tuple(draft.references.index(value) if value in draft.references else -1 for value in values))
    assert len(orders) > (2 if name == "niah_multikey_1" else 6)


def test_depths_are_forty_even_steps():
    """numpy.linspace(0, 100, 40), rounded: RULER's own."""
    assert len(DEPTHS) == 40
    assert (DEPTHS[0], DEPTHS[1], DEPTHS[20], DEPTHS[-1]) == (0, 3, 51, 100)


def test_needles_are_cut_where_they_are_counted():
    assert needle("numbers", "red-fox", "123") == ["One of the special magic numbers for", " red", "-fox", " is:", " 123."]
    uuid = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    assert needle("uuids", uuid, "1")[1] == f" {uuid}"


def test_in_prose_needles_go_before_the_sentences_of_their_numbers():
    hidden = [["A", "b"], ["C"], ["D"]]
    assert "".join(in_prose([" one.", " two.", " three."], [0, 2, 3], hidden)) == " Ab one. two. C three. D "
    assert "".join(in_prose([" one."], [1, 1, 1], hidden)) == "one. Ab  C  D "


ONE = ("A special magic number is", "What is the special magic number for")
MANY = ("Some special magic numbers are", "What are all the special magic numbers for")


@pytest.mark.parametrize(("name", "words"), [("niah_single_1", ONE), ("niah_multivalue", MANY), ("niah_multiquery", MANY)])
def test_one_or_many_is_said_in_the_right_number(family, name, words):
    text = "".join(drafts(family, name, count=1)[0].pieces)
    assert text.startswith(words[0] + " hidden within the following text.")
    assert words[1] in text
    asked = QUESTION.search(text)[2]
    assert re.search(rf" The special magic numbers? for {re.escape(asked)} mentioned in the provided text (is|are)$", text)


def test_the_smallest_haystack_holds_what_is_hidden(material):
    """As many sentences as needles, or one line more than needles."""
    sizes = {name: Niah(shape, material, 4096).smallest for name, shape in SHAPES.items()}
    assert (sizes["niah_single_2"], sizes["niah_multivalue"], sizes["niah_multiquery"]) == (1, 4, 4)
    assert (sizes["niah_single_1"], sizes["niah_multikey_2"]) == (2, 2)


def test_numbers_have_seven_digits_and_a_seed_draws_the_same():
    drawn = [draw("numbers", random.Random(i)) for i in range(300)]
    assert all(re.fullmatch(FORMS["numbers"], one) for one in drawn)
    assert draw("uuids", random.Random(1)) == draw("uuids", random.Random(1)) != draw("uuids", random.Random(2))


def test_a_haystack_shorter_than_asked_goes_round(material):
    short = type("M", (), {"split": staticmethod(lambda text: text.split("|")), "prose": "a|b| |c"})()
    family = Niah(Shape("essay"), material, 4096)
    family.material = short
    assert family._prose == [" a", " b", " c"]
    assert family._sentences(1, 2) == [" b", " c"]
    assert family._sentences(2, 5) == [" c", " a", " b", " c", " a"]
