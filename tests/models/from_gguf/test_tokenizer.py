"""A tokenizer.json written as GGUF keys, and read back: the tokens are those of the tokenizer that was written."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import BadConfig
from ropewalk.models.from_gguf.tokenizer import merges_by_score
from ropewalk.models.load import load_model, load_tokenizer
from support import gguf_words
from support.gguf_shapes import random_model, write_shape
from support.many_texts import many_texts

TEXTS = many_texts(1500, ["<|endoftext|>"])


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setenv("ROPEWALK_GGUF_CACHE", "off")


@pytest.fixture(scope="module")
def model():
    return random_model("llama")


@pytest.fixture
def written(model, tmp_path):
    return lambda **words: write_shape(tmp_path / "x.gguf", "llama", model, **words)


def test_the_bundled_models_tokenizer(written):
    own = Tokenizer.from_file(str(bundled_model() / "tokenizer.json"))
    read = load_tokenizer(written(**gguf_words.of_bytes(eos_token_id=0)))
    for text in TEXTS:
        assert read(text)["input_ids"] == own.encode(text).ids
        assert read.decode(read(text)["input_ids"]) == text
    assert (read.eos_token_id, read.bos_token_id) == (0, None)


# The expression of each published tokenizer.json, by the name that its GGUFs have: llama.cpp's own is another spelling of it.
ENDINGS, BLANKS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"\s*[\r\n]+|\s+(?!\S)|\s+"
PUBLISHED = {
    "llama-bpe": rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}",
    "qwen2": rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}",
}  # fmt: skip


@pytest.mark.parametrize("pre", PUBLISHED)
def test_texts_are_cut_as_published(pre, written, tmp_path):
    own = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    split = pre_tokenizers.Split(Regex(PUBLISHED[pre]), "isolated")
    own.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    own.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    own.train_from_iterator(TEXTS, trainer)
    own.save(str(tmp_path / "tokenizer.json"))
    read = load_tokenizer(written(**gguf_words.of_bytes(tmp_path, pre, bos_token_id=0)))
    first = [0] if pre == "llama-bpe" else []  # llama.cpp begins a text of Llama 3 with BOS, whatever the header leaves out
    for text in TEXTS:
        assert read(text)["input_ids"] == first + own.encode(text).ids


def test_pieces_are_merged_by_score():
    """By hand: "ab" is better than "bc", so "abc" is ab + c; two ways to "abc" keep the order of their first halves."""
    tokens, scores = ["a", "b", "c", "ab", "bc", "abc"], [0, 0, 0, -1.0, -2.0, -3.0]
    assert merges_by_score(tokens, scores) == [["a", "b"], ["b", "c"], ["a", "bc"], ["ab", "c"]]


PIECES = [
    ("<unk>", 0.0, gguf_words.UNKNOWN), ("<s>", 0.0, gguf_words.CONTROL), ("</s>", 0.0, gguf_words.CONTROL),
    *((f"<0x{byte:02X}>", 0.0, gguf_words.BYTE) for byte in range(256)),
    *((piece, -float(rank), gguf_words.NORMAL) for rank, piece in enumerate("▁r o p e ▁ro pe".split())),
]  # fmt: skip


def test_pieces(written):
    """By hand: a blank before the text, "▁rope" from ▁ro and pe, and a letter that is no piece as its byte."""
    pieces = [*PIECES, ("▁", -9.0, gguf_words.NORMAL), ("r", -9.0, gguf_words.NORMAL)]
    ids = {piece: number for number, (piece, _, _) in enumerate(pieces)}
    read = load_tokenizer(written(**gguf_words.of_pieces(pieces, bos_token_id=1, eos_token_id=2)))
    assert read("ropex")["input_ids"] == [1, ids["▁ro"], ids["pe"], ids["<0x78>"]]
    assert read.decode(read("ropex rope")["input_ids"], skip_special_tokens=True) == "ropex rope"
    plain = {**gguf_words.of_pieces(pieces, bos_token_id=1, eos_token_id=2), "tokenizer.ggml.add_space_prefix": False}
    assert load_tokenizer(written(**plain))("rope")["input_ids"] == [1, ids["r"], ids["o"], ids["pe"]]


def test_ends_are_what_llama_cpp_takes_for_ends(written):
    words = gguf_words.of_bytes(eos_token_id=5)
    words["tokenizer.ggml.tokens"] = [*words["tokenizer.ggml.tokens"][:-1], "<|im_end|>"]
    path = written(**words)
    assert set(load_model(path).generation_config.eos_token_id) == {5, 0, 1023}  # 0 is <|endoftext|>
    assert load_tokenizer(path)("a<|im_end|>")["input_ids"][-1] == 1023  # a normal token by its type


def test_the_chat_template_comes_along(written):
    words = {**gguf_words.of_bytes(), "tokenizer.chat_template": "{{ messages[0]['content'] }}!"}
    assert load_tokenizer(written(**words)).apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Hi!"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokenizer.ggml.model": "no_vocab"}, "has no tokenizer"),
        ({"tokenizer.ggml.model": "t5"}, "a tokenizer of kind 't5'; gpt2 and llama are read"),
        ({"tokenizer.ggml.pre": "never-heard-of"}, "cuts texts as 'never-heard-of', which is not known here"),
        ({"tokenizer.ggml.merges": 3}, "tokenizer.ggml.merges is missing, or no list of words"),
        ({"tokenizer.ggml.token_type": [1, 2, 3]}, "token_type is no list of a number for each of the 1,024 tokens"),
        ({"tokenizer.ggml.tokens": ["a", "a", *map(str, range(1022))]}, "tokens that are spelt alike"),
    ],
)
def test_what_is_no_tokenizer_is_refused_and_the_weights_load_all_the_same(change, said, written):
    path = written(**{**gguf_words.of_bytes(), **change})
    with pytest.raises(BadConfig) as refusal:
        load_tokenizer(path)
    assert said in str(refusal.value)
    assert "--tokenizer" in str(refusal.value)
    assert json.dumps(load_model(path).config.vocab_size) == "512"
