"""Text while tokens come: what was shown together is what the tokenizer says of all tokens at once."""

import random

import pytest
from transformers import AutoTokenizer

from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadConfig
from ropewalk.jobs.serve.answer import AnswerText

MANY_BYTES = "naïve 中文字 😀👩‍👩‍👧 ε≈δ\n\tend"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_model())


def shown(text, ids):
    pieces = [text.add(token) for token in ids]
    return [*pieces, text.end()]


def test_only_completed_characters_are_shown(tokenizer):
    ids = tokenizer.encode(MANY_BYTES)
    assert len(ids) > len(MANY_BYTES)  # or no character is spread over tokens
    pieces = shown(AnswerText(tokenizer), ids)
    assert "".join(pieces) == MANY_BYTES
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert "😀" in pieces  # it came with the last of its tokens, and whole


def test_any_tokens_whatever(tokenizer):
    chance = random.Random(0)
    for _ in range(200):
        ids = [chance.randrange(1, len(tokenizer)) for _ in range(30)]
        assert "".join(shown(AnswerText(tokenizer), ids)) == tokenizer.decode(ids)


def test_an_unfinished_character_appears_at_the_end_as_one_that_is_missing(tokenizer):
    ids = tokenizer.encode("a😀")[:-1]
    text = AnswerText(tokenizer)
    assert "".join(text.add(token) for token in ids) == "a"
    assert set(text.end()) == {"\N{REPLACEMENT CHARACTER}"}


def test_a_prompt_that_breaks_off_inside_a_character(tokenizer):
    ids = tokenizer.encode("x😀y")
    for cut in range(1, len(ids)):
        text = AnswerText(tokenizer, ids[:cut])
        written = "".join(shown(text, ids[cut:]))
        assert written.endswith("y")
        assert "x" not in written  # that is the prompt's


def test_a_leading_space_is_the_answers(tmp_path):
    """Sentencepiece-like decoders drop the first token's space; after a prompt it belongs to the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    assert tokenizer.decode([1]) == "b"
    assert "".join(shown(AnswerText(tokenizer, [0]), [1, 0])) == " b a"


@pytest.mark.parametrize(
    ("stops", "wanted"),
    [
        (["return"], "def f(x):\n    "), (["\n    ret", "return"], "def f(x):"), (["x):\n"], "def f("), (["nowhere"], None),
        (["f", "def"], ""), ([""], None),
    ],
)  # fmt: skip
def test_stop_strings_over_token_boundaries(tokenizer, stops, wanted):
    whole = "def f(x):\n    return x + 1\n"
    text, seen = AnswerText(tokenizer, stops=stops), ""
    for token in tokenizer.encode(whole):
        seen += text.add(token)
        assert (whole if wanted is None else wanted).startswith(seen)  # nothing of a stop string was ever shown
        if text.stopped:
            break
    seen += text.end()
    assert seen == text.whole == (whole if wanted is None else wanted)
    assert text.stopped == (wanted is not None)


def test_what_only_looked_like_a_stop_string_is_shown_after_all(tokenizer):
    text = AnswerText(tokenizer, stops=["abcd"])
    assert "".join(shown(text, tokenizer.encode("xabc"))) == "xabc"


def test_a_tokenizer_without_a_fast_backend_is_refused():
    with pytest.raises(BadConfig, match="cannot decode a stream"):
        AnswerText(object())
