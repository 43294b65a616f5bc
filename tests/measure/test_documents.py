"""Texts from every kind of source, what is said of those that cannot be read, and the choice among the rest."""

import json
import sys
import types
from itertools import islice
from pathlib import Path

import pytest

from ropewalk.errors import BadConfig, MissingPart
from ropewalk.measure.documents import check_documents, choose, too_few
from ropewalk.measure.texts import LIBRARY_SIDES, Texts, library_root, source_files
from ropewalk.models.load import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("ropewalk-tiny")


def names(texts):
    return [text.name for text in texts]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "sub" / "b.md").write_text("béta", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / ".hidden").write_text("no")
    rows = [
        json.dumps({"text": "one", "body": "uno"}),
        "{broken",
        "",
        json.dumps({"title": "x"}),
        json.dumps([1]),
        '{"text": 3}',
    ]
    (tmp_path / "rows.jsonl").write_bytes("\n".join(rows).encode() + b'\n{"text": "\xff"}\n{"text": "two"}\n')
    return tmp_path


class LongWords:
    """A tokenizer whose words are sixteen characters: twice as many as are thought at first."""

    bos_token_id = None

    @property
    def backend_tokenizer(self):
        return self

    def encode(self, text, add_special_tokens):
        return types.SimpleNamespace(ids=[int(text[i : i + 16]) for i in range(0, len(text), 16)])


def test_a_text_of_long_tokens_is_tokenised_whole_before_it_is_called_too_short(tmp_path):
    """Of 200 tokens 100 are wanted; the first 800 characters have only 50."""
    (tmp_path / "a.txt").write_text("".join(f"{n:016d}" for n in range(200)))
    (document,) = choose(Texts([str(tmp_path)]), LongWords(), tokens=100, count=1).documents
    assert document.ids == tuple(range(100))


def test_a_folder_is_read_in_name_order_and_what_is_not_text_is_named(folder):
    texts = Texts([str(folder)])
    found = list(texts)
    assert [text.text for text in found] == ["alpha", "one", "two", "béta"]
    places = {str(p.place).replace(str(folder), ""): p.reason for p in texts.problems}
    assert places.pop("/latin.txt") == "not UTF-8 (byte 3)"
    assert places.pop("/rows.jsonl:2").startswith("not JSON: Expecting property name")
    assert places.pop("/rows.jsonl:4") == "no text under 'text' (there is: title); name it with text_field (--text-field)"
    assert "a JSON list" in places.pop("/rows.jsonl:5")
    assert places.pop("/rows.jsonl:6") == "'text' holds a number where a text is needed"
    assert places.pop("/rows.jsonl:7") == "not UTF-8 (byte 10 of the line)"
    assert not places
    assert len(list(texts)) == 4  # going through again counts nothing twice
    assert len(texts.problems) == 6


def test_strict_stops_at_the_first(folder):
    with pytest.raises(BadConfig, match=r"rows\.jsonl:2: not JSON"):
        list(Texts([str(folder / "rows.jsonl")], strict=True))
    with pytest.raises(BadConfig, match="not UTF-8"):
        list(Texts([str(folder / "latin.txt")], strict=True))


def test_globs_and_another_field(folder):
    assert names(Texts([str(folder / "**" / "*.md"), str(folder / "a*")])) == [
        (folder / "sub" / "b.md").as_posix(),
        (folder / "a.txt").as_posix(),
    ]
    assert [t.text for t in Texts([str(folder / "rows.jsonl")], text_field="body")] == ["uno"]


@pytest.mark.parametrize("source", ["nowhere.txt", "no/such/folder", "*.nothing"])
def test_what_is_not_there_is_said(source, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(BadConfig, match="there is no such file or folder"):
        list(Texts([source]))


def test_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["one", None, "three"], "n": [1, 2, 3]}), folder / "t.parquet")
    texts = Texts([str(folder / "t.parquet")])
    assert [(t.name.rpartition("/")[2], t.text) for t in texts] == [("t.parquet:1", "one"), ("t.parquet:3", "three")]
    assert [p.place.rpartition("/")[2] for p in texts.problems] == ["t.parquet:2"]
    assert not list(missing := Texts([str(folder / "t.parquet")], text_field="body"))
    assert "no column 'body' (there is: text, n)" in missing.problems[0].reason
    (folder / "no.parquet").write_bytes(b"PAR1 and no more")
    assert not list(broken := Texts([str(folder / "no.parquet")]))
    assert "not readable as parquet" in broken.problems[0].reason


class Stream(list):
    def shuffle(self, *, seed, buffer_size):
        return Stream(sorted(self, key=lambda row: (row.get("text", ""), seed)))


def test_a_hub_data_set_is_streamed(folder, monkeypatch):
    """A stand-in for `datasets`: what is asked of it is what its documentation names."""
    asked = []

    def load_dataset(name, *, split, streaming):
        asked.append((name, split, streaming))
        if name == "no/where":
            raise ConnectionError("no network\nat all")
        return Stream([{"text": "b"}, {"text": "a"}, {"title": "no"}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.chdir(folder)
    texts = Texts(["owner/name:validation"], rows=2)
    assert [t.text for t in texts] == ["a"]  # the row without a text sorts first, and counts
    assert len(texts.problems) == 1
    with pytest.raises(
        BadConfig, match=r"could not be streamed from the hub: ConnectionError: no network\n.*without one, test\)"
    ):
        list(Texts(["no/where"]))
    assert [t.text for t in Texts(["owner/name"], rows=None, split="train")] == ["b", "a"]  # as it comes
    assert asked == [("owner/name", "validation", True), ("no/where", "test", True), ("owner/name", "train", True)]


def test_the_sides_of_the_library_share_no_file():
    sides = {source: {p.as_posix() for p in source_files(source)} for source in LIBRARY_SIDES}
    assert sides["library-train"] < sides["library-train-tests"] or not any(
        "/test/" in p for p in sides["library-train-tests"]
    )
    assert not sides["library"] & sides["library-train-tests"]
    assert [t.name for t in islice(Texts(["library-train"]), 2)] == sorted(
        p.relative_to(library_root()).as_posix() for p in map(Path, sides["library-train"])
    )[:2]


def test_bytes_gone_through_are_those_of_the_files(folder):
    readable = [folder / "a.txt", folder / "rows.jsonl"]
    texts = Texts(list(map(str, readable)))
    assert list(texts)
    assert texts.read == sum(len(path.read_bytes()) for path in readable)


def test_a_missing_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.chdir(folder)
    with pytest.raises(MissingPart, match=r"needs datasets.*ropewalk\[data\]"):
        list(Texts(["owner/name"]))


@pytest.fixture
def books(tmp_path):
    """Ten texts of about 200 to 2,000 tokens, one of them twice."""
    for i in range(10):
        (tmp_path / f"{i}.txt").write_text(f"book {i}: " + "the quick brown fox jumps\n" * (20 * (i + 1)))
    (tmp_path / "copy.txt").write_bytes((tmp_path / "9.txt").read_bytes())
    return tmp_path


def test_only_long_enough_texts_are_chosen_and_the_rest_is_counted(books, tokenizer):
    lengths = {p.name: len(tokenizer.encode(p.read_text(), add_special_tokens=False)) + 1 for p in books.glob("?.txt")}
    long = {name for name, n in lengths.items() if n >= 1000}
    assert 1 < len(long) < 9
    choice = choose(Texts([str(books)]), tokenizer, tokens=1000, count=20)
    assert {d.name.rpartition("/")[2].replace("copy", "9") for d in choice.documents} == long
    assert (choice.found, choice.duplicates) == (11, 1)
    assert all(len(d.ids) == 1000 and d.ids[0] == tokenizer.bos_token_id for d in choice.documents)
    whole = choose(Texts([str(books)]), tokenizer, tokens=1000, count=20, whole=True)
    assert {len(d.ids) for d in whole.documents} == {lengths[name] for name in long}
    assert f"11 documents were found, 1 came twice; {len(long)} have the 1,000 tokens" in too_few(
        choice, tokens=1000, count=20
    )


def test_the_choice_is_the_seeds_and_not_the_orders(books, tokenizer):
    def chosen(seed, *paths):
        picked = choose(Texts(list(map(str, paths))), tokenizer, tokens=300, count=3, seed=seed).documents
        return {d.sha for d in picked}

    files = sorted(books.glob("?.txt"))
    assert chosen(0, *files) == chosen(0, *reversed(files))
    assert len({frozenset(chosen(seed, *files)) for seed in range(5)}) > 1
    assert len(chosen(0, *files) & chosen(0, *files[1:])) >= 2  # one file less changes one document at most


def test_the_first_tokens_of_a_long_text_are_those_of_the_whole_text(tokenizer):
    (document,) = choose(Texts(), tokenizer, tokens=700, count=1, seed=4).documents
    (text,) = [t.text for t in Texts() if t.name == document.name]
    assert list(document.ids[1:]) == tokenizer.encode(text, add_special_tokens=False)[:699]


def test_too_few_documents_is_an_error_that_counts(books, tokenizer):
    choice = choose(Texts([str(books)]), tokenizer, tokens=50_000, count=3)
    with pytest.raises(
        BadConfig, match=r"11 documents were found, 1 came twice; 0 have the 50,000 tokens that are read, 3 were asked for"
    ):
        check_documents(choice, tokens=50_000, count=3)


def test_a_tokenizer_without_bos_adds_none(books):
    tokenizer = load_tokenizer("ropewalk-tiny")
    tokenizer.bos_token = None
    (document,) = choose(Texts([str(books / "9.txt")]), tokenizer, tokens=50, count=1).documents
    assert list(document.ids) == tokenizer.encode((books / "9.txt").read_text(), add_special_tokens=False)[:50]


def test_joined_files_share_no_file_and_are_long_enough():
    from ropewalk.measure.texts import joined_files, library_files

    found = list(joined_files(200_000))
    assert len(found) >= 6
    assert all(len(text.encode()) >= 200_000 for _, text in found)
    files = {path.read_text(encoding="utf-8") for path in library_files(held_out=True)}
    assert all(sum(text in joined for _, joined in found) <= 1 for text in files if len(text) > 500)
    training = next(path.read_text() for path in library_files(held_out=False) if path.stat().st_size > 20_000)
    assert not any(training in joined for _, joined in found)


def test_a_length_that_no_file_has_is_read_in_files_in_a_row_and_said():
    from ropewalk.jobs.evaluate.prepare import prepare
    from ropewalk.jobs.evaluate.request import EvalRequest
    from ropewalk.models.source import Source

    told = []
    request = EvalRequest("ropewalk-tiny", methods=("none", "yarn"), lengths=(49_152,), documents=4, tax=False, speed=False)
    made = prepare(request, Source("ropewalk-tiny"), told.append)
    assert len(made.documents) == 4
    assert all(len(d.ids) == 49_152 for d in made.documents)
    assert "4 texts of several files in a row are read" in " ".join(told)
    short = prepare(
        EvalRequest("ropewalk-tiny", methods=("none", "yarn"), lengths=(1024,), documents=4, tax=False, speed=False),
        Source("ropewalk-tiny"), told.append,
    )  # fmt: skip
    assert not any("more files" in d.name for d in short.documents)
