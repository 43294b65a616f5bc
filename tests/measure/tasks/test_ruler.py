"""RULER against the reference generator's own output, and what the default mends."""

import hashlib
import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ropewalk.errors import BadConfig
from ropewalk.measure.material import Material
from ropewalk.measure.ruler.fit import Draft, largest
from ropewalk.measure.ruler.pieces import Pieces
from ropewalk.measure.ruler.words import WordPairs
from ropewalk.measure.task import get_task
from ropewalk.measure.tasks import ruler_niah
from ropewalk.measure.tasks.ruler_fwe import counts
from ropewalk.models.load import load_tokenizer
from support.ruler_material import WORDS, prose, split, write_question_sets

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "ruler_hashes.json").read_text())


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    pytest.importorskip("wonderwords", reason="the word lists of the extra `ruler`")
    squad, hotpot = write_question_sets(tmp_path_factory.mktemp("questions"))
    return Material(load_tokenizer("ropewalk-tiny"), prose(), {"qa_1": squad, "qa_2": hotpot}, split)


def samples(material, name, length, count=5, **options):
    return list(get_task(name)(material, length=length, count=count, **options))


@pytest.mark.parametrize("key", sorted(GOLDENS))
def test_compat_is_the_reference_byte_for_byte(material, key):
    """NVIDIA/RULER@c3f5e3b, five rows a task; goldens/README.md says how the hashes were made."""
    name, length = key.split("/")
    rows = [sample.metadata["row"] for sample in samples(material, name, int(length), compat=True)]
    assert [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in rows] == GOLDENS[key]


@pytest.mark.parametrize("key", [key for key in sorted(GOLDENS) if key.endswith("/2048")])
def test_compat_rows_and_token_ids_tell_the_same(material, key):
    name, length = key.split("/")
    for sample in samples(material, name, int(length), compat=True):
        row = sample.metadata["row"]
        text = row["input"] + row["answer_prefix"]
        assert list(sample.prompt[1:]) == material.encode(text)
        assert row["length"] == len(sample.prompt) - 1 + sample.new_tokens


def test_thirteen_tasks_have_goldens():
    assert len({key.split("/")[0] for key in GOLDENS}) == 13


def llama3_like(corpus):
    pattern = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return trained(tokenizer, corpus)


def sentencepiece_like(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace()
    return trained(tokenizer, corpus)


def trained(tokenizer, corpus):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([corpus], trainer)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def gpt2_like(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(tokenizer, corpus)


@pytest.mark.parametrize("kind", [gpt2_like, llama3_like, sentencepiece_like])
def test_pieces_count_what_the_whole_text_counts(kind):
    corpus = prose(300) + "\n\n" + "\n".join(f"{i}. word" for i in range(300)) + "\n \n  It's \n\n\n 12,345 67890"
    encode = kind(corpus)
    pieces, rng = Pieces(encode), random.Random(5)
    parts = [f" {w}" for w in WORDS] + ["\n", "\n", " ", ".", "'s", " 123", "456", "7.", "-rope", "\n\n", " A line. ", "x"]
    for _ in range(300):
        text = [rng.choice(parts) for _ in range(rng.randrange(1, 30))]
        right = encode("".join(text))
        assert pieces.ids(text) == right
        assert pieces.count(text) == len(right)


def test_a_tokenizer_that_cannot_be_counted_by_the_piece_is_counted_the_long_way():
    """This one ends every long text with a token of its own, which no seam between neighbours shows."""

    def encode(text):
        return [*text.encode(), *([256] if len(text) > 100 else [])]

    pieces = Pieces(encode)
    text = [" rope"] * 30
    assert pieces.count(text) == 150
    assert not pieces.verify(text)
    assert pieces.count(text) == 151
    assert pieces.ids(text) == encode("".join(text))


def test_word_pairs_are_the_sorted_set_of_all_pairs():
    adjectives, nouns = ["red", "red-hot", "ad hoc", "redder", "Early", "x"], ["hot-dog", "dog", "rope", "dog", "ATM", "hot"]
    right = sorted({f"{a}-{n}" for a in adjectives for n in nouns})
    pairs = WordPairs(adjectives, nouns)
    assert list(pairs) == right
    assert len(pairs) == len(right)
    assert "red-hot-dog" in right  # made in two ways, and there once


@pytest.mark.parametrize("most", [2**40, 37])
@pytest.mark.parametrize("budget", [10, 57, 1000, 1001, 9999])
def test_the_largest_size_that_fits(budget, most):
    """Against trying every size. Tokens per unit change on the way, and jump."""

    def tokens(size):
        return size + size // 7 * 5 + (30 if size > 12 else 0) + 2

    draft = largest("t", lambda n: Draft([str(n)], (), ""), lambda p: tokens(int(p[0])), budget, smallest=3, most=most)
    assert int(draft.text) == max(n for n in range(3, 10_000) if n <= most and tokens(n) <= budget)


# --- what the default mends (docs/ruler.md) ---


def contexts(material, name, length=3000, count=6):
    return [material.decode(sample.prompt) for sample in samples(material, name, length, count)]


def test_haystacks_differ_from_sample_to_sample(material):
    starts = {text.split("\n", 1)[1][:60] for text in contexts(material, "niah_multiquery")}
    assert len(starts) > 3


def test_keys_and_values_are_all_different(material, monkeypatch):
    """Drawn from three hundred instead of millions, so that they would not be by luck."""
    monkeypatch.setattr(ruler_niah, "draw", lambda kind, rng: str(rng.randrange(300)))
    for text in contexts(material, "niah_multikey_2"):
        lines = [line for line in text.split("\n") if line.startswith("One of the special")]
        told = [word for line in lines for word in line.removesuffix(".").split(" for ")[1].split(" is: ")]
        assert len(set(told)) == len(told) > 40


def test_vt_has_ten_names_and_one_chain_to_follow(material):
    for sample in samples(material, "vt", 3000):
        text = material.decode(sample.prompt)
        question = text.rindex("Memorize")
        chain = [line for line in text[question:].split("\n") if line.startswith("VAR")]
        assert [line.split()[1] for line in chain] == list(sample.references)
        assert [line.split()[-1] for line in chain[1:]] == list(sample.references[:-1])


def test_the_most_common_words_are_the_answer(material):
    for name, wanted in (("cwe", 10), ("fwe", 3)):
        for sample in samples(material, name, 6000, 2):
            text = material.decode(sample.prompt)
            body = text[text.rindex("Below is" if name == "cwe" else "Read the") :]
            words = body.split("\nQuestion")[0].replace("\n", " ").split(" ")
            often = Counter(w for w in words if w not in ("...", "") and not w.rstrip(".").isdigit()).most_common(wanted + 1)
            if name == "fwe":
                assert [word for word, _ in often[:wanted]] == list(sample.references)
            else:
                assert {word for word, n in often if n == often[0][1]} == {w for r in sample.references for w in [r]}


def test_fwe_ranks_do_not_stand_in_one_order_in_every_sample(material):
    shapes = set()
    for text in contexts(material, "fwe", 2000, 4):
        words = text.split("coded words. ")[1].split("\nQuestion")[0].split(" ")
        often = Counter(words)
        shapes.add(tuple(often[word] for word in words))
    assert len(shapes) == 4


def test_zipf_counts_by_hand():
    """1000 words: 1000 / zeta(2) = 607.9, a quarter of it, a ninth of it."""
    assert counts(1000, 3) == [607, 151, 67]


def test_too_few_questions_are_counted_in_compat_mode(material):
    with pytest.raises(BadConfig, match="40 questions"):
        samples(material, "qa_2", 8192, count=41, compat=True)


def test_the_reference_order_of_rows_is_kept(material):
    rows = [s.metadata["row"] for s in samples(material, "niah_single_1", 2048, 2, compat=True)]
    assert list(rows[0])[:4] == ["index", "input", "outputs", "length"]
    assert all(a != b for a, b in itertools.pairwise(rows))
