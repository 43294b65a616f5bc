"""`ropewalk export` of a GGUF at the command line: words, JSON, exit codes, and no traceback for bad input."""

import json
import os
import shlex
import sys

import pytest

from ropewalk.checkpoints import gguf_edit
from ropewalk.cli import export as verb
from ropewalk.cli.main import main
from ropewalk.cli.parts.progress import Bar
from support import gguf_files


@pytest.fixture
def export(tmp_path, capsys, monkeypatch):
    """(exit code, standard output, standard error) in a folder that holds x.gguf."""
    monkeypatch.chdir(tmp_path)
    gguf_files.bundled(tmp_path / "x.gguf")

    def run(words):
        monkeypatch.setattr(sys, "argv", ["ropewalk", "export", *shlex.split(words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def test_the_command_of_the_issue_and_its_undo(export, tmp_path):
    before = (tmp_path / "x.gguf").read_bytes()
    code, out, _ = export("x.gguf --factor 4 --method yarn -o y.gguf")

    assert code == 0
    assert out.splitlines()[0] == "y.gguf: yarn, 2,048 tokens, written with GGUF keys and read back"
    assert "  llama.context_length: 512 -> 2048" in out.splitlines()
    assert "  llama-server -m y.gguf -c 2048" in out.splitlines()
    undo = out.splitlines()[-1].partition("ropewalk export ")[2]
    code, out, _ = export(undo)
    assert (code, out) == (0, "y.gguf: as it was before, bit for bit\n")
    assert (tmp_path / "y.gguf").read_bytes() == before == (tmp_path / "x.gguf").read_bytes()


def test_commands_to_paste_are_quoted(export):
    code, out, _ = export("x.gguf --factor 4 -o 'my models/y.gguf'")
    assert code == 0
    assert "  llama-server -m 'my models/y.gguf' -c 2048" in out.splitlines()
    assert out.endswith("ropewalk export 'my models/y.gguf' --restore --in-place\n")


def test_json(export):
    code, out, _ = export("x.gguf --to 4k --option truncate=false --for llama.cpp,ollama -o y.gguf --json")
    found = json.loads(out)

    assert (code, found["carrier"], found["plan"]["target_length"]) == (0, "rope_freqs.weight", 4096)
    assert found["changed"]["llama.context_length"] == {"before": 512, "after": 4096}
    assert json.loads(export("y.gguf --restore -o z.gguf --json")[1]) == {
        "schema": "ropewalk.gguf/1", "out": "z.gguf", "restored": True,
    }  # fmt: skip


def test_a_saved_plan_and_what_it_replaces(export, tmp_path):
    gguf_files.bundled(tmp_path / "lin.gguf", **{
        "rope.scaling.type": "linear", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 256,
    })  # fmt: skip
    code, out, _ = export("lin.gguf --factor 4 -o y.gguf --json")
    (tmp_path / "plan.json").write_text(json.dumps(json.loads(out)["plan"]))

    code, out, _ = export("lin.gguf --plan plan.json -o z.gguf")

    assert code == 0
    assert "note: all is stretched already, by linear x2, and this plan replaces that with yarn." in out
    assert (tmp_path / "y.gguf").read_bytes()[:4] == b"GGUF"


def test_a_gguf_is_known_by_its_first_bytes_where_it_has_no_ending(export, tmp_path):
    os.rename(tmp_path / "x.gguf", tmp_path / "sha256-12")
    assert export("sha256-12 --factor 2 -o y.gguf")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("x.gguf --factor 4", "out (-o FILE) for a copy, or in_place (--in-place)"),
        ("x.gguf --factor 4 -o y.gguf --in-place", "one of the two"),
        ("x.gguf --factor 4 -o x.gguf", "ask for that: in_place (--in-place)"),
        ("x.gguf -o y.gguf", "either a factor or a target length"),
        ("x.gguf --restore -o y.gguf", "nothing to undo"),
        ("x.gguf --restore --factor 2 -o y.gguf", "leave out to, factor and plan (--to, --factor, --plan)"),
        ("x.gguf --plan p.json --factor 2 -o y.gguf", "leave out to, factor, options and layers"),
        ("x.gguf --factor 4 --for vllm -o y.gguf", "vLLM reads no GGUF"),
        ("x.gguf --factor 4 --method dynamic -o y.gguf", "ladder"),
        ("x.gguf --factor 4 --method proportional --option proportion=0.25 -o y.gguf", "no GGUF key says proportional"),
        ("x.gguf --factor 4 --layers sliding_attention -o y.gguf", "no rotary layer type"),
        ("no.gguf --factor 4 -o y.gguf", "No such file"),
        ("x.gguf --factor 1e8 -o y.gguf", "counts tokens in 32 bits, and 51,200,000,000 are more"),
        ("ropewalk-tiny --factor 4", "-o names the folder"),
        ("ropewalk-tiny --factor 4 -o y --in-place", "are for a GGUF"),
        ("ropewalk-tiny --restore -o y", "are for a GGUF"),
    ],
)
def test_bad_input_is_exit_code_2_and_nothing_is_written(export, tmp_path, words, said):
    code, _, err = export(words)

    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_large_files_have_a_bar_with_the_time_left(export, monkeypatch):
    monkeypatch.setattr(verb, "LARGE", 2**20)
    monkeypatch.setattr(gguf_edit, "STEP", 2**20)
    shown, advance = [], Bar.advance

    def watched(bar, cost):
        advance(bar, cost)
        shown.append(bar.rest)

    monkeypatch.setattr(Bar, "advance", watched)
    _, out, err = export("x.gguf --factor 4 -o y.gguf")

    assert err.count("copying 4.8 MiB") == 1
    assert shown[-1] == "100%"
    assert any("left" in rest for rest in shown)
    assert "copying" not in out
