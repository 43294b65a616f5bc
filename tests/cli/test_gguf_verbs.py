"""Every verb on a GGUF with a tokenizer, as a person types it: the bundled model in Q8_0."""

import json

import pytest
import torch

import ropewalk
from ropewalk.models.load import load_model
from support import gguf_files, gguf_words
from support.command import run


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    words = gguf_words.of_bytes(bos_token_id=0, eos_token_id=0)
    return gguf_files.bundled(tmp_path_factory.mktemp("file") / "tiny.gguf", words=words)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def type_(capsys, monkeypatch, tmp_path, cache):
    """Run it in an empty folder; the answer's (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return lambda *words: run(capsys, monkeypatch, *words)


def test_plan(type_, file):
    code, out, _ = type_("plan", file, "--factor", 8)
    assert code == 0
    assert "llama.context_length" in out
    assert "yarn: 512 -> 4,096 tokens" in out
    assert f"ropewalk export {file} --to 4096 --method yarn -o OUT.gguf" in out
    assert "config.json" not in out
    told = json.loads(type_("plan", file, "--factor", 8, "--json")[1])
    tiny = json.loads(type_("plan", "ropewalk-tiny", "--factor", 8, "--json")[1])
    assert told["fingerprint"] == tiny["fingerprint"]
    assert told["cache_bytes"] == tiny["cache_bytes"]


def test_plan_with_data_counts_by_its_tokenizer(type_, file, tmp_path):
    (tmp_path / "a.txt").write_text("def area(width, height):\n    return width * height\n" * 40)
    ours, tiny = (json.loads(type_("plan", name, "--data", "a.txt", "--json")[1]) for name in (file, "ropewalk-tiny"))
    assert ours["data"]["tokens"] == tiny["data"]["tokens"]


def test_doctor_and_explore(type_, file, tmp_path):
    assert type_("doctor", file)[0] == 0
    assert type_("explore", file)[0] == 0
    assert "tiny.gguf" in (tmp_path / "explorer.html").read_text()
    code, out, _ = type_("doctor", file, "--numeric")
    assert code == 0, out


def test_generate(type_, file):
    """The model in Q8_0 goes on as in float32 does, at first."""
    words = ("--prompt", "def area(width, height):", "--max-new-tokens", 4, "--dynamic", "yarn")
    assert type_("generate", file, *words)[1] == type_("generate", "ropewalk-tiny", *words)[1]


def test_eval_goes_on_and_says_the_file(type_, file, tmp_path):
    words = ("eval", file, "--methods", "none,yarn", "--lengths", "512,1024", "--documents", 3, "--tasks", "-", "-o", "out")
    code, out, _ = type_(*words)
    assert code == 0
    again = type_(*words)
    assert again[0] == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"] == str(file)
    assert "0 of them from before" in out.replace("\n", " ")
    assert "0 of them from before" not in again[1].replace("\n", " ")


def test_fit(type_, file, tmp_path):
    code, _, err = type_("fit", file, "-o", "plan.json", "--factor", 2, "--family", "yarn", "--budget", "3s")
    assert code == 0, err
    assert (tmp_path / "plan.json").is_file()


def test_extend_writes_a_checkpoint_and_says_what_it_is_of(type_, file, tmp_path):
    code, out, _ = type_("extend", file, "--factor", 4, "-o", "wide")
    assert code == 0
    assert "tiny.gguf was dequantised to float32" in out.replace("\n", " ")
    card = (tmp_path / "wide" / "README.md").read_text()
    assert "base_model: tiny.gguf" in card
    assert "The weights are those of the GGUF `tiny.gguf`, dequantised to float32" in card
    wide = load_model(tmp_path / "wide")
    assert wide.config.max_position_embeddings == 2048
    assert torch.equal(wide.state_dict()["model.norm.weight"], load_model(file).state_dict()["model.norm.weight"])
    assert not list((tmp_path / "wide").glob(".*"))


def test_export_stays_a_gguf(type_, file, tmp_path):
    code, out, _ = type_("export", file, "--factor", 4, "-o", "y.gguf")
    assert code == 0
    assert "written with GGUF keys and read back" in out
    assert ropewalk.read(tmp_path / "y.gguf").scaling[0][1].factor == 4


def test_train_proves_what_it_would_do(type_, file, data):
    more = ("--length", 64, "--to", 1024, "--long-share", 0, "--steps", 2, "--batch", 128)
    code, out, err = type_("train", file, "--data", data, "--preflight", "-o", "out", *more)
    assert code == 0, out + err


def test_a_folder_that_holds_it(type_, file, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "tiny.gguf").symlink_to(file)
    ours, own = (json.loads(type_("plan", name, "--factor", 8, "--json")[1]) for name in ("folder", file))
    assert ours["fingerprint"] == own["fingerprint"]
    assert type_("doctor", "folder")[0] == 0


def test_the_header_is_read_without_torch(type_, file):
    import subprocess
    import sys

    code = (
        "import sys, ropewalk; from ropewalk.models.source import Source; s = Source(sys.argv[1]); "
        "ropewalk.plan(s, factor=4); s.config; assert not {'torch', 'numpy', 'gguf', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)


@pytest.mark.parametrize("verb", ["plan", "doctor", "eval", "generate", "extend", "fit", "explore", "choose"])
def test_a_damaged_file_ends_with_2_and_no_traceback(verb, type_, file, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(file.read_bytes()[:5000])
    more = {
        "generate": ("--prompt", "x"),
        "fit": ("-o", "p.json"),
        "extend": ("--factor", 2, "-o", "out"),
        "choose": ("--to", "1k"),
    }.get(verb, ())
    code, _, err = type_(verb, "bad.gguf", *more)
    assert code == 2
    assert "Traceback" not in err
    assert "bad.gguf" in err
