"""Ids of training texts: against transformers' own call, and a special token spelt in a text stays text."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ropewalk.errors import BadConfig
from ropewalk.jobs.train.data.tokenise import Encoder
from ropewalk.models.load import load_tokenizer


@pytest.fixture(scope="module")
def tiny():
    return load_tokenizer("ropewalk-tiny")


def words(vocabulary, **special):
    """A tokenizer of whole words."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special)


def test_ids_are_those_of_transformers(tiny):
    texts = ["def f(x):\n    return x", "naïve — 漢字 🙂", " "]
    expected = [[0, *tiny(text, add_special_tokens=False)["input_ids"]] for text in texts]
    assert [ids.tolist() for ids in Encoder(tiny)(texts)] == expected


def test_a_special_token_in_a_text_stays_text_and_is_counted(tiny):
    text = "one <|endoftext|> two <|endoftext|>"
    encoder = Encoder(tiny)
    ids = next(encoder([text])).tolist()
    assert ids.count(tiny.bos_token_id) == 1
    assert tiny.decode(ids[1:]) == text
    assert encoder.spelt == {"<|endoftext|>": 2}
    assert (
        tiny.bos_token_id in tiny(text, add_special_tokens=False)["input_ids"]
    )  # what would be, and the tokenizer is as it was


def test_a_tokenizer_that_cannot_spell_it_gives_none():
    tokenizer = words({"<unk>": 0, "<s>": 1, "a": 2, "b": 3}, bos_token="<s>")
    encoder = Encoder(tokenizer)
    found = [ids if ids is None else ids.tolist() for ids in encoder(["a b", "a <s> b", "a c"])]
    assert found == [[1, 2, 3], None, [1, 2, 0]]  # an unknown word is no special token of the text's own
    assert not encoder.spelt


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ({}, [3]),
        ({"bos_token": "<s>"}, [1, 3]),
        ({"eos_token": "</s>"}, [3, 2]),
        ({"bos_token": "<s>", "eos_token": "</s>"}, [1, 3, 2]),
        ({"bos_token": "<s>", "eos_token": "<s>"}, [1, 3]),
    ],
)
def test_bos_before_and_eos_after_where_there_are_two(special, expected):
    tokenizer = words({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3}, **special)
    assert next(Encoder(tokenizer)(["a"])).tolist() == expected


def test_sixteen_bits_where_the_vocabulary_fits():
    def dtype(size):
        return Encoder(words({"<unk>": 0, **{f"w{i}": i for i in range(1, size)}})).dtype

    assert (dtype(2**16), dtype(2**16 + 1)) == ("uint16", "uint32")


def test_nothing_is_cut_or_padded():
    """Some tokenizer.json files carry the truncation and padding of whoever saved them."""
    tokenizer = words({"<unk>": 0, "a": 1})
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=5)
    assert [ids.tolist() for ids in Encoder(tokenizer)(["a a a a", "a"])] == [[1, 1, 1, 1], [1]]


def test_a_tokenizer_without_a_fast_form_is_refused():
    with pytest.raises(BadConfig, match=r"\(object\) has no fast form"):
        Encoder(object())
