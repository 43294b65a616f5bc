"""The index: what goes in comes out, what is damaged is refused, and a build that dies leaves nothing that looks finished."""

import json
import os
import pickle
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy
import pytest

from ropewalk.errors import BadConfig, BadOption, OutputExists
from ropewalk.jobs.train.data import tokenise
from ropewalk.jobs.train.data.index import build_index, index_for, open_index
from ropewalk.measure.texts import Texts, library_files
from ropewalk.models.load import load_tokenizer
from ropewalk.progress import Silent


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("ropewalk-tiny")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha beta")
    (folder / "b.txt").write_text("<|endoftext|> spelt")
    (folder / "c.txt").write_text(" \n")
    (folder / "d.txt").write_bytes(b"caf\xe9")
    rows = [{"text": "one"}, {"text": ""}, {"title": "none"}, {"text": "half \ud800"}, {"text": "two\ntwo"}]
    (folder / "e.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    return folder


class Built(Silent):
    """counts: (documents, tokens) as last said.  done, total: bytes.  each: told the documents, batch by batch."""

    def __init__(self, each=lambda documents: None):
        self.each, self.counts, self.done, self.total = each, None, 0.0, None

    def begin(self, what, total=None, *, found=False):
        self.total = total

    def reach(self, done):
        self.done = done

    def say(self, words):
        self.counts = tuple(int(word.replace(",", "")) for word in words.split()[::2])
        self.each(self.counts[0])


TEXTS = ["alpha beta", "<|endoftext|> spelt", "one", "two\ntwo"]


def built(data, tokenizer, out, **options):
    return build_index(Texts([str(data)]), tokenizer, out, **options)


def decoded(index, tokenizer):
    return [tokenizer.decode(index.document(i).tolist()[1:]) for i in range(len(index.ends))]


def test_what_goes_in_comes_out(data, tokenizer, tmp_path):
    index = built(data, tokenizer, tmp_path / "index")
    again = open_index(tmp_path / "index")
    for found in (index, again):
        assert decoded(found, tokenizer) == TEXTS
        assert found.tokens.dtype == numpy.uint16
        assert (found.tokens == 0).sum() == len(TEXTS)  # BOS of each, and none that a text made
        assert found.lengths.dtype == numpy.int64
        assert found.lengths.tolist() == [len(found.document(i)) for i in range(4)]
        assert isinstance(found.tokens, numpy.memmap)
    assert index.fingerprint == again.fingerprint


def test_what_was_passed_over_is_counted_with_its_reason(data, tokenizer, tmp_path):
    facts = built(data, tokenizer, tmp_path / "index").facts
    passed = facts["passed_over"]
    assert passed["reasons"] == {"empty": 2, "not UTF-8": 2, "no text under 'text'": 1, "not JSON": 1}
    assert passed["count"] == 6
    assert {Path(p["place"]).name: p["reason"] for p in passed["first"]}["d.txt"] == "not UTF-8 (byte 3)"
    assert facts["special_tokens_spelt_as_text"] == {"<|endoftext|>": 1}
    assert (facts["documents"], facts["sources"]) == (4, [str(data)])
    assert not list((tmp_path / "index").glob("*.raw"))


def test_parquet(data, tokenizer, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"body": [*TEXTS, None]}), tmp_path / "t.parquet")
    texts = Texts([str(tmp_path / "t.parquet")], text_field="body")
    index = build_index(texts, tokenizer, tmp_path / "index")
    assert decoded(index, tokenizer) == TEXTS
    assert index.facts["passed_over"]["count"] == 1
    assert index.facts["texts_sha256"] == built(data, tokenizer, tmp_path / "other").facts["texts_sha256"]


def test_a_hub_data_set_is_streamed_whole(tokenizer, tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, *, split, streaming):
        asked.append((name, split, streaming))
        return iter([{"text": f"row {i}"} for i in range(3000)])  # an iterator: it cannot be shuffled, nor gone through twice

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.chdir(tmp_path)
    seen = Built()
    index = index_for(["owner/name"], tokenizer, tmp_path / "cache", seen)
    assert (len(index.ends), asked, seen.total) == (3000, [("owner/name", "train", True)], None)
    few = index_for(["owner/name"], tokenizer, tmp_path / "cache", max_tokens=100)
    assert few.tokens.size >= 100 > few.ends[-2]
    assert few.tokens.tolist() == index.tokens[: few.tokens.size].tolist()


def test_texts_are_not_gathered(tokenizer, tmp_path, monkeypatch):
    """Never more in hand than a batch and the text that filled it."""
    monkeypatch.setattr(tokenise, "BATCH", 1000)
    given = 0

    class Counted(Texts):
        def __iter__(self):
            nonlocal given
            for text in super().__iter__():
                given += 1
                yield text

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"{i:0300d}"}) + "\n" for i in range(50)))
    seen = []
    texts = Counted([str(tmp_path / "rows.jsonl")])
    build_index(texts, tokenizer, tmp_path / "index", Built(lambda documents: seen.append((documents, given))))
    assert seen == [*((n, n) for n in range(4, 51, 4)), (50, 50)]


def test_progress_ends_where_the_files_do(data, tokenizer, tmp_path):
    (data / "d.txt").unlink()
    seen = Built()
    index = built(data, tokenizer, tmp_path / "index", progress=seen)
    size = sum(path.stat().st_size for path in data.iterdir())
    assert (*seen.counts, seen.done, seen.total) == (4, index.tokens.size, size, size)


def test_the_fingerprint_is_of_content(data, tokenizer, tmp_path):
    first = built(data, tokenizer, tmp_path / "1").fingerprint
    (data / "a.txt").rename(data / "0.txt")
    assert built(data, tokenizer, tmp_path / "2").fingerprint == first
    (data / "0.txt").write_text("alpha betb")
    assert built(data, tokenizer, tmp_path / "3").fingerprint != first
    (tmp_path / "ab").write_text("ab ab")
    (tmp_path / "a").write_text("ab")
    (tmp_path / "b").write_text(" ab")
    one = build_index(Texts([str(tmp_path / "ab")]), tokenizer, tmp_path / "4")
    two = build_index(Texts([str(tmp_path / "a"), str(tmp_path / "b")]), tokenizer, tmp_path / "5")
    assert one.fingerprint != two.fingerprint


def test_the_cache_knows_what_it_has(data, tokenizer, tmp_path):
    def get(**options):
        nonlocal seen
        seen = Built()
        return index_for([str(data)], tokenizer, tmp_path / "cache", seen, **options).folder

    seen = None
    first = get()
    assert seen.counts
    assert get() == first
    assert not seen.counts
    assert get(max_tokens=3) != first
    (data / "a.txt").write_text("alpha gamma")
    assert get() != first
    assert seen.counts


def test_the_held_out_side_is_not_trained_on(tokenizer, tmp_path):
    for call in (lambda: index_for(["library"], tokenizer, tmp_path), lambda: build_index(Texts(), tokenizer, tmp_path / "i")):
        with pytest.raises(BadConfig, match="The side to train on is 'library-train'"):
            call()
    held_out, ours = next(library_files(held_out=True)), next(library_files(held_out=False))
    link = tmp_path / "another_name.py"
    link.symlink_to(held_out)
    index = build_index(Texts([str(held_out), str(ours), str(link)]), tokenizer, tmp_path / "index")
    assert decoded(index, tokenizer) == [ours.read_text(encoding="utf-8")]
    assert index.facts["passed_over"]["reasons"] == {"held out": 2}


def test_nothing_left_is_said(data, tokenizer, tmp_path):
    with pytest.raises(BadConfig, match=r"(?s)nothing to train on in .*c\.txt.*1 x empty.*1 x not UTF-8") as error:
        build_index(Texts([str(data / "c.txt"), str(data / "d.txt")]), tokenizer, tmp_path / "index")
    assert "d.txt: not UTF-8 (byte 3)" in str(error.value)
    assert not (tmp_path / "index").exists()
    with pytest.raises(BadConfig, match=r"no text called 'nowhere\.txt'"):
        index_for(["nowhere.txt"], tokenizer, tmp_path / "cache")
    with pytest.raises(BadOption, match="max_tokens is 0"):
        built(data, tokenizer, tmp_path / "index", max_tokens=0)


def test_an_index_is_not_written_over(data, tokenizer, tmp_path):
    built(data, tokenizer, tmp_path / "index")
    with pytest.raises(OutputExists):
        built(data, tokenizer, tmp_path / "index")


def cut_tokens(folder):
    os.truncate(folder / "tokens.bin", (folder / "tokens.bin").stat().st_size - 2)


def save_ends(change, dtype=numpy.int64):
    def damage(folder):
        numpy.save(folder / "ends.npy", numpy.array(change(numpy.load(folder / "ends.npy").tolist()), dtype=dtype))

    return damage


def change_facts(**changes):
    def damage(folder):
        facts = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps({**facts, **changes}))

    return damage


DAMAGES = {
    "tokens cut": (cut_tokens, "tokens.bin has .* bytes"),
    "tokens gone": (lambda folder: (folder / "tokens.bin").unlink(), "damaged: FileNotFoundError"),
    "ends cut": (lambda folder: os.truncate(folder / "ends.npy", 140), "damaged: ValueError"),
    "ends empty": (lambda folder: os.truncate(folder / "ends.npy", 0), "damaged: (EOFError|ValueError)"),
    "ends pickled": (save_ends(lambda ends: ends, object), "damaged: ValueError: .*Python objects"),
    "ends a pickle": (lambda folder: (folder / "ends.npy").write_bytes(pickle.dumps([1])), "damaged: ValueError"),
    "ends an archive": (lambda folder: numpy.savez((folder / "ends.npy").open("wb"), [1]), "damaged: ValueError"),
    "ends fall": (save_ends(lambda ends: [ends[1], ends[0], *ends[2:]]), "do not rise"),
    "ends begin at nothing": (save_ends(lambda ends: [0, *ends[1:]]), "do not rise"),
    "ends stop early": (save_ends(lambda ends: [*ends[:-1], ends[-1] - 1]), "do not rise from above 0 to"),
    "ends of another count": (save_ends(lambda ends: ends[1:]), "not the ends of 4 documents"),
    "ends of another dtype": (save_ends(lambda ends: ends, numpy.int32), "holds int32"),
    "another dtype": (change_facts(dtype="uint32"), "tokens of uint32 are"),
    "an unknown dtype": (change_facts(dtype="float16"), "damaged: KeyError"),
    "a count that is no number": (change_facts(tokens=None), "damaged: TypeError"),
    "another version": (change_facts(schema="ropewalk.index/0"), "another version"),
    "broken facts": (lambda folder: (folder / "index.json").write_text("{"), "damaged: index.json"),
    "facts of another kind": (
        lambda folder: (folder / "index.json").write_text("[]"),
        "another version: its schema is 'list'",
    ),
    "no facts": (lambda folder: (folder / "index.json").unlink(), "is not an index of training data"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_refused(damage, data, tokenizer, tmp_path):
    folder = tmp_path / "index"
    built(data, tokenizer, folder)
    do, said = DAMAGES[damage]
    do(folder)
    with pytest.raises(BadConfig, match=said):
        open_index(folder)


DIE = """
import json, os, resource, signal, sys
from pathlib import Path
from ropewalk.jobs.train.data import index
from ropewalk.jobs.train.data import tokenise
from ropewalk.errors import CannotWrite
from ropewalk.models.load import load_tokenizer
from ropewalk.progress import Silent
tokenise.BATCH = 10_000
how, source, cache = sys.argv[1:]
class Die(Silent):
    def say(self, words):
        if int(words.split()[0]) > 20:
            os.kill(os.getpid(), signal.SIGKILL)
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    index.index_for([source], load_tokenizer("ropewalk-tiny"), Path(cache), Die() if how == "kill" else Silent())
except CannotWrite as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_build_that_dies_leaves_nothing_that_looks_finished(how, tokenizer, tmp_path):
    cache, source = tmp_path / "cache", tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": f"{i} " * 500}) + "\n" for i in range(200)))
    done = subprocess.run([sys.executable, "-c", DIE, how, source, cache], capture_output=True, text=True)
    if how == "kill":
        assert done.returncode == -signal.SIGKILL
        assert [p.name[0] for p in cache.iterdir()] == ["."]  # only the part under its hidden name
    else:
        assert "was not written: File too large. Nothing was left behind." in done.stdout
        assert not list(cache.iterdir())
    seen = Built()
    assert len(index_for([str(source)], tokenizer, cache, seen).ends) == 200
    assert seen.counts  # built anew


def test_two_builds_at_once_do_no_harm(data, tokenizer, tmp_path):
    """A second build is through while the first is at work: both have the same, and what the second opened stays readable."""
    cache, others = tmp_path / "cache", []

    def meanwhile(documents):
        others.append(index_for([str(data)], tokenizer, cache))

    mine = index_for([str(data)], tokenizer, cache, Built(meanwhile))
    assert (others[0].folder, others[0].fingerprint) == (mine.folder, mine.fingerprint)
    assert others[0].tokens.tolist() == mine.tokens.tolist()
    assert len(list(cache.iterdir())) == 1
