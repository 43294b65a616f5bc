"""`ropewalk choose`: what it prints, and what it says to bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk
from ropewalk.measure.texts import library_files, read_text
from support.command import run

ASK = ("choose", "ropewalk-tiny", "--original-length", "128", "--budget", "10m")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    long = [text for path in library_files(held_out=True) if (text := read_text(path)) and len(text) > 3000]
    for i, text in enumerate(long[:6]):
        (folder / f"{i}.txt").write_text(text[:3000], encoding="utf-8")
    return folder


def test_it_prints_every_plan_one_sentence_and_where_the_page_is(tmp_path, texts, capsys, monkeypatch):
    given = (*ASK, "--to", "256", "--data", texts, "--for", "vllm,llama.cpp", "--no-retrieval", "-o", tmp_path / "out")
    code, said, err = run(capsys, monkeypatch, *given)
    assert code == 0, err
    flat = " ".join(said.split())
    for words in (
        "plan rounds bits",
        "on other documents",
        "chosen",
        "Not carried by vLLM, llama.cpp: near-0.25",
        "report.html",
    ):
        assert words in flat
    assert "Do not stretch, your documents do not need it" in flat
    code, said, _ = run(capsys, monkeypatch, *given, "--json")
    assert code == 0
    told = json.loads(said)
    assert told["chosen"] == "none"
    assert told["sentence"] in flat
    assert told["kinds"] == []


@pytest.mark.parametrize(("flag", "said"), [("--fit", True), ("--no-fit", False)])
def test_why_nothing_is_fitted_is_told_to_whoever_asked(tmp_path, texts, capsys, monkeypatch, flag, said):
    given = (*ASK, "--to", "256", "--data", texts, "--methods", "linear", "--no-retrieval", "-o", tmp_path / "out")
    code, out, err = run(capsys, monkeypatch, *given, flag)
    assert code == 0, err
    words = "no plan is fitted: three sets of texts take 16 of the target length, and there are 6."
    assert (words in " ".join(out.split())) == said


def test_short_documents_are_told_at_once(tmp_path, capsys, monkeypatch):
    (tmp_path / "short.txt").write_text("x = 1\n" * 20)
    code, said, _ = run(capsys, monkeypatch, *ASK, "--to", "256", "--data", tmp_path / "short.txt", "-o", tmp_path / "out")
    assert code == 0
    assert " ".join(said.split()).startswith("Do not stretch: your documents do not need it. None of the 1 is longer")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--to", "64"), "the target (--to) is 64 tokens, and the model was trained at 128: there is nothing to choose"),
        (("--to", "256", "--for", "vlm"), "no engine is called 'vlm'"),
        (("--to", "256", "--budget", "5"), "'5' is not a time"),
        (("--to", "far"), "'far' is not a length"),
        (("--to", "256", "--plan", "nowhere.json"), "nowhere.json"),
        (("--to", "256", "--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_ends_with_2(tmp_path, capsys, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, monkeypatch, *ASK, *given)
    assert code == 2
    assert words in " ".join(err.split())
    assert "Traceback" not in err


def test_help_loads_no_torch():
    probe = (
        "import sys; sys.argv = ['ropewalk', 'choose', '--help']\nfrom ropewalk.cli.main import main\ntry: main()\n"
        "except SystemExit: pass\nprint([heavy for heavy in ('torch', 'numpy', 'transformers') if heavy in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(ropewalk.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--budget" in done.stdout
