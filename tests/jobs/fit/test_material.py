"""Three sets that never mix, and what is said when there are too few documents."""

import json

import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.fit.objective import library_sets, read_sets
from ropewalk.models.load import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("ropewalk-tiny")


def names(documents):
    return {document.name for document in documents}


def test_library_sets_are_disjoint_and_the_reported_ones_are_always_the_same(tokenizer):
    sets = library_sets(tokenizer, 1024, seed=0)
    parts = [names(part) for part in (sets.fit, sets.choose, sets.report)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert all(len(d.ids) == 1024 for d in (*sets.fit, *sets.choose, *sets.report))
    other = library_sets(tokenizer, 1024, seed=1)
    assert names(other.choose) != parts[1]
    assert names(other.report) == parts[2]


def write(folder, count, words):
    for i in range(count):
        (folder / f"{i}.txt").write_text(f"document {i} " + "word " * words)


def test_own_documents(tokenizer, tmp_path):
    write(tmp_path, 12, 300)
    sets = read_sets(tokenizer, [str(tmp_path)], 256, seed=0)
    assert [len(part) for part in (sets.fit, sets.choose, sets.report)] == [6, 3, 3]
    every = [d.name for part in (sets.fit, sets.choose, sets.report) for d in part]
    assert len(set(every)) == 12


def test_too_few_long_documents(tokenizer, tmp_path):
    write(tmp_path, 3, 300)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        BadConfig, match=r"3 of 4 texts have 256 tokens, the target length; a fit needs 6[^\n]*\n  [^\n]*binary: not UTF-8"
    ):
        read_sets(tokenizer, [str(tmp_path)], 256, seed=0)


def test_texts_of_a_jsonl_file_and_a_text_that_comes_twice(tokenizer, tmp_path):
    rows = [{"body": f"document {i % 9} " + "word " * 300} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sets = read_sets(tokenizer, [str(tmp_path / "rows.jsonl")], 256, seed=0, text_field="body")
    assert sum(len(part) for part in (sets.fit, sets.choose, sets.report)) == 9  # the tenth is the first again


def test_lengths_that_no_file_has_are_read_in_files_in_a_row(tokenizer):
    """README's own lengths: three library files have 32,768 tokens, and a dozen texts of several files do."""
    sets = library_sets(tokenizer, 32_768, seed=0)
    parts = [names(part) for part in (sets.fit, sets.choose, sets.report)]
    assert min(map(len, parts)) >= 2
    assert sum(map(len, parts)) == len(set.union(*parts)) >= 6
    assert all(len(d.ids) == 32_768 for d in (*sets.fit, *sets.choose, *sets.report))
    assert all("more files" in name for name in set.union(*parts))
    assert names(library_sets(tokenizer, 32_768, seed=1).report) == parts[2]


def test_what_a_fit_needs_is_said_with_the_way_out(tokenizer, monkeypatch):
    with pytest.raises(BadConfig) as error:
        library_sets(tokenizer, 2**21, seed=0)
    said = " ".join(str(error.value).split())
    assert "0 texts of the held-out library" in said
    assert "have 2,097,152 tokens" in said
    assert "a fit needs 6: two to fit on, two to choose on, two to report on" in said
    assert "--data" in said
    assert "a smaller factor" in said
