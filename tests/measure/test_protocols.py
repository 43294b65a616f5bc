"""Which windows a protocol asks for: by hand, against plain loops, and as properties of any document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ropewalk.errors import BadOption, UnknownName
from ropewalk.measure.protocols import KINDS, Position, Prefix, RandomWindow, Sliding, Window, parse_protocol

TEXTS = [
    "prefix:256,1024", "position:0,512,1024", "sliding:1024,256", "random_window:512,3,7", "press:64,8", "yarn:64,8",
    "document-mean:64,8", "longlora:64,8", "lm-eval:64", "llama.cpp:64",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_protocol_is_its_text(text):
    assert str(parse_protocol(text)) == text
    assert parse_protocol(str(parse_protocol(text))) == parse_protocol(text)


def test_every_kind_is_among_the_texts():
    assert {text.partition(":")[0] for text in TEXTS} == set(KINDS)


def test_k_is_1024_and_the_seed_may_be_left_out():
    assert parse_protocol("sliding:4k,256") == Sliding(4096, 256)
    assert parse_protocol(" prefix:1K,2k ") == Prefix((1024, 2048))
    assert parse_protocol("random_window:64,2") == RandomWindow(64, 2, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slidign:4,2", "no protocol is called 'slidign'. Did you mean 'sliding'"),
        ("sliding:4096", "sliding takes length, stride"),
        ("sliding:4096,4096", "the stride is 4096; it must be from 1 to the length less 1, 4095"),
        ("sliding:4096,0", "the stride is 0"),
        ("sliding:many,2", "'many' is not a whole number of tokens. Write 4096 or 4k"),
        ("prefix:", "prefix needs at least 1 number"),
        ("prefix:1024,512", "numbers of tokens must rise and be at least 2"),
        ("position:512", "position needs at least 2 numbers"),
        ("position:0,1,512", "holds no token that anything predicts"),
        ("random_window:64,0", "at least one window"),
        ("lm-eval:2", "at least 4 tokens"),
        ("longlora:64,64", "the stride is 64"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(text, message):
    with pytest.raises((BadOption, UnknownName), match=message):
        parse_protocol(text)


def test_prefix_and_position_by_hand():
    assert Prefix((8, 16)).windows("d", 99) == [Window("d", 0, 8), Window("d", 0, 16)]
    cells = Position((0, 8, 16)).cells("d", 99)
    assert cells == {"0-8": [Window("d", 0, 8, 1)], "8-16": [Window("d", 0, 16, 8)]}
    assert Position((0, 8, 16)).windows("d", 99) == [Window("d", 0, 8, 1), Window("d", 0, 16, 1)]
    assert Prefix((8, 16)).needs(bos=True) == 15
    assert Prefix((8, 16)).needs(bos=False) == 16


def test_sliding_by_hand():
    """Ten tokens 0..9, windows of BOS and 4, stride 3: 0-3 | 3-6, new 4 5 6 | 6-9, new 7 8 9."""
    assert Sliding(5, 3).windows("d", 10) == [Window("d", 0, 5, 1), Window("d", 3, 5, 2), Window("d", 6, 5, 2)]
    assert Sliding(5, 3).windows("d", 11)[-1] == Window("d", 9, 3, 2)  # token 10 alone, after BOS and 9


def published_loop(tokens, length, stride):
    """jquesnelle/yarn@995db5b, eval/perplexity.py, reduced to bounds: (begin, end, how many of the last are scored)."""
    room, previous, found = length - 1, 0, []
    for begin in range(0, tokens, stride):
        end = min(begin + room, tokens)
        found.append((begin, end, end - previous))
        previous = end
        if end == tokens:
            break
    return found


@given(st.integers(2, 40), st.integers(1, 39), st.integers(0, 200))
def test_sliding_is_the_published_loop_and_scores_every_token_once(length, stride, more):
    if stride >= length:
        return
    protocol = Sliding(length, stride)
    tokens = protocol.needs() + more
    windows = protocol.windows("d", tokens)
    assert [(w.start, w.end, w.length - w.first) for w in windows] == published_loop(tokens, length, stride)
    scored = [w.start + i - 1 for w in windows for i in range(w.first, w.length)]
    assert scored == list(range(tokens))
    bare = protocol.windows("d", tokens + 1, bos=False)
    assert [w.start + i for w in bare for i in range(w.first, w.length)] == list(range(1, tokens + 1))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("bos", [True, False])
@given(more=st.integers(0, 3000))
def test_windows_lie_inside_the_document(text, bos, more):
    protocol = parse_protocol(text)
    tokens = protocol.needs(bos) + more
    windows = protocol.windows("d", tokens, bos)
    assert windows
    for window in windows:
        assert 0 <= window.start < window.end <= tokens
        assert 1 <= window.first < window.length
        assert bos or not window.bos


def test_random_windows_are_different_places_fixed_by_seed_and_name():
    protocol = RandomWindow(10, 5, seed=1)
    starts = [w.start for w in protocol.windows("d", 40)]
    assert len(set(starts)) == 5
    assert starts == [w.start for w in RandomWindow(10, 5, seed=1).windows("d", 40)]
    assert starts != [w.start for w in RandomWindow(10, 5, seed=2).windows("d", 40)]
    assert starts != [w.start for w in protocol.windows("e", 40)]


def test_random_windows_are_everywhere_alike():
    """600 documents, 31 places each: every place is taken about as often (expected 19, five standard deviations)."""
    counts = [0] * 31
    for i in range(600):
        for window in RandomWindow(10, 1).windows(f"d{i}", 39):
            counts[window.start] += 1
    assert all(abs(count - 600 / 31) < 5 * (600 / 31) ** 0.5 for count in counts)
