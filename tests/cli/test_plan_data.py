"""`ropewalk plan --data` as a person meets it. Counts come from the tokenizer alone, and one end of document for each text."""

import json

import pytest
from transformers import AutoTokenizer

from ropewalk.engines.transformers.checkpoint import bundled_model
from support.command import run

TEXTS = ["x = 1\n" * 10, "import os\n" * 200, "def f(a, b):\n    return a + b\n" * 500]


@pytest.fixture
def plan(capsys, monkeypatch):
    return lambda *args: run(capsys, monkeypatch, "plan", "ropewalk-tiny", "--factor", "4", *args)


@pytest.fixture
def some(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"body": 1}, *({"text": text} for text in TEXTS))))
    return path


@pytest.fixture(scope="module")
def lengths():
    tokenizer = AutoTokenizer.from_pretrained(bundled_model())
    return [len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in TEXTS]


def test_how_long_the_documents_are(plan, some, lengths):
    found = json.loads(plan("--data", some, "--json")[1])["data"]
    assert (found["documents"], found["tokens"], found["longest"]) == (3, sum(lengths), max(lengths))
    for length in lengths:
        (bin_of,) = [one for one in found["histogram"] if one["low"] <= length < one["high"]]
        assert (bin_of["documents"], bin_of["tokens"]) == (1, length), "the three are far apart"
    assert sum(one["documents"] for one in found["histogram"]) == 3
    long = [length for length in lengths if length >= 2048]
    assert 0 < len(long) < 3
    assert found["long"] == {
        "length": 2048, "documents": len(long), "tokens": sum(long), "share": pytest.approx(sum(long) / sum(lengths)),
        "rows": sum(length // 2048 for length in long),
    }  # fmt: skip
    assert found["passed_over"]["reasons"] == {"no text under 'text'": 1}


def test_in_words(plan, some, lengths):
    code, out, err = plan("--data", some)
    assert code == 0
    assert f"3 documents, {sum(lengths):,} tokens, the longest {max(lengths):,}" in out
    assert "passed over: 1 x no text under 'text'" in out
    assert "tokenising" in err


def test_no_document_is_long_enough(plan, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text(TEXTS[0])
    assert "no document is as long as the target" in plan("--data", path)[1]


def test_only_so_many_tokens_and_a_cache(plan, some, tmp_path, lengths):
    _, out, _ = plan("--data", some, "--max-tokens", lengths[0] + 1, "--cache", tmp_path / "kept")
    assert f"only the first {lengths[0] + lengths[1]:,} tokens were read" in out, "documents are kept whole"
    assert f"tokenised data: {tmp_path / 'kept'}" in out
    assert any((tmp_path / "kept").iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "1 x empty"), (b"\xff\xfe\x80", "1 x not UTF-8")],
)
def test_nothing_to_train_on(plan, tmp_path, content, words):
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    code, _, err = plan("--data", path)
    assert code == 2
    assert "there is nothing to train on" in err
    assert words in err


@pytest.mark.parametrize("args", [("--max-tokens", "1k"), ("--cache", "kept"), ("--text-field", "body")])
def test_options_of_data_without_data(plan, args):
    code, _, err = plan(*args)
    assert code == 2
    assert "give --data" in err


def test_beside_the_training_table(plan, some):
    _, out, _ = plan("--data", some, "--train", "--gpus", "1xH100-80")
    assert "3 documents" in out
    assert "1 x H100-80" in out
