"""Verbs on a GGUF of a hub: those that need no weights fetch its header, the others the file."""

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest

import ropewalk
from ropewalk.checkpoints import hub_header
from ropewalk.checkpoints.fingerprint import cache_root
from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.checkpoints.gguf_places import find_gguf
from ropewalk.errors import BadConfig, BadOption
from ropewalk.models.from_gguf.checkpoint import folder_of, tokenizer_folder
from ropewalk.models.source import Source
from support.command import run
from support.fake_hub import Hub, large_gguf
from support.gguf_files import bundled
from support.gguf_words import of_bytes

MIB = 2**20


def refused(model, kind=BadConfig):
    with pytest.raises(kind) as refusal:
        ropewalk.read(model)
    return str(refusal.value)


def test_nothing_is_fetched_for_an_engine_that_reads_no_gguf(online, serve_hub, tmp_path):
    hub = serve_hub(Hub(tmp_path, names=["x.gguf"]))
    with pytest.raises(BadOption, match=r"owner/name:x\.gguf is for llama_cpp, and not for transformers"):
        ropewalk.verify("owner/name:x.gguf", engines="transformers")
    assert not hub.asked


def test_a_header_is_no_file(online, serve_hub, tmp_path):
    """Nothing takes it for the whole, and nothing is kept of it."""
    large_gguf(tmp_path / "x.gguf", size=MIB, lists={"rope_freqs.weight": [1.0] * 64})
    serve_hub(Hub(tmp_path))
    source = Source("owner/name:x.gguf", weights=False)
    path = source.gguf
    assert path.stat().st_size < 2000 < hub_header.size_of(path) == (tmp_path / "x.gguf").stat().st_size
    opened = open_gguf(path)
    plan = ropewalk.plan(opened.spec(8192), factor=2)
    for take in (
        lambda: folder_of(path), source.fingerprint, lambda: source.folder,
        lambda: stretch_gguf(opened, plan, tmp_path / "out.gguf"),
        lambda: ropewalk.export(path, plan, tmp_path / "out.gguf", original_length=8192),
    ):  # fmt: skip
        with pytest.raises(BadConfig, match=r"x\.gguf is the header alone of a file on a hub: its weights were not fetched"):
            take()
    assert not (tmp_path / "out.gguf").exists()


def test_a_header_is_no_file_by_another_name_either(online, serve_hub, tmp_path, monkeypatch):
    """macOS keeps its temporary folder behind a link; where a list lies at the end, weights are zeros."""
    large_gguf(tmp_path / "x.gguf", size=MIB, lists={"rope_freqs.weight": [1.0] * 64}, at_end=True)
    serve_hub(Hub(tmp_path))
    path = find_gguf("owner/name:x.gguf", weights=False)
    (tmp_path / "link").symlink_to(path.parent)
    monkeypatch.chdir(path.parent)
    for name in (path, tmp_path / "link" / "x.gguf", Path("x.gguf")):
        with pytest.raises(BadConfig, match="its weights were not fetched"):
            hub_header.check_whole(name)
    hub_header.check_whole(tmp_path / "x.gguf")


def test_verbs_that_read_weights_fetch_the_whole(online, serve_hub, tmp_path, monkeypatch):
    path = large_gguf(tmp_path / "x.gguf", size=4096)
    serve_hub(Hub(tmp_path))
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda model: ["x.gguf"])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda model, name: str(tmp_path / name))
    assert Source("owner/name:x.gguf").gguf == path
    done = ropewalk.export("owner/name:x.gguf", "yarn", tmp_path / "out.gguf", factor=2)
    assert done.out.stat().st_size > path.stat().st_size


def test_what_export_refuses_is_told_before_anything_is_fetched(online, serve_hub, tmp_path):
    hub = serve_hub(Hub(tmp_path))
    for given in ({"engines": "vllm"}, {}):
        with pytest.raises(BadOption):
            ropewalk.export("owner/name:x.gguf", "yarn", factor=2, **given)
    assert not hub.asked


def test_doctor_and_explore(each_install, serve_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = large_gguf(tmp_path / "x-Q4_K_M.gguf", **{"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0})
    hub = serve_hub(Hub(tmp_path, names=["x-Q4_K_M.gguf"]))
    expected = ropewalk.doctor(str(path)).detail
    for target in ("owner/name:Q4_K_M", "llama-server -hf owner/name:Q4_K_M -c 131072", "llama-cli -hf owner/name -c 131072"):
        found = ropewalk.doctor(target)
        assert found.detail.written == expected.written
        assert found.title.startswith("owner/name")
    page = ropewalk.explore("owner/name:Q4_K_M", tmp_path / "page.html")
    assert page.model["ropes"] == ropewalk.explore(path, tmp_path / "other.html").model["ropes"]
    assert hub.sent == MIB  # once in a process


def test_a_repository_without_a_config_lists_its_ggufs(each_install, serve_hub, tmp_path):
    """The full install by `huggingface_hub.list_repo_files`: test_gguf_places.py."""
    large_gguf(tmp_path / "x-Q4_K_M.gguf")
    serve_hub(Hub(tmp_path))
    if each_install == "light":
        assert "a repository of a GGUF: name one of them, as in\n  owner/name:x-Q4_K_M.gguf" in refused(
            "owner/name", BadOption
        )


def test_a_hub_that_is_none_is_called_that(online, serve_hub, tmp_path, monkeypatch):
    """In the base install it read: could not be fetched from the hub: BadConfig."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    serve_hub(Hub(tmp_path, listing=b"<html>"))
    assert "owner/name: the hub was asked for its files and answered with no list of them" in refused("owner/name")


def test_plan_as_it_is_typed(each_install, serve_hub, tmp_path, capsys, monkeypatch):
    path = large_gguf(tmp_path / "x-Q4_K_M.gguf")
    serve_hub(Hub(tmp_path))
    code, out, err = run(capsys, monkeypatch, "plan", "owner/name:Q4_K_M", "--factor", 4)
    assert code == 0
    assert err == "fetched the header of owner/name:x-Q4_K_M.gguf: 1.0 MiB of 300.0 MiB\n"
    assert out.replace("owner/name:Q4_K_M", str(path)) == run(capsys, monkeypatch, "plan", path, "--factor", 4)[1]
    code, out, err = run(capsys, monkeypatch, "plan", "owner/name:Q9_9", "--factor", 4)
    assert (code, out) == (2, "")
    assert "'Q9_9' is not among its GGUFs" in err
    assert "Traceback" not in err


def test_a_tokenizer_of_a_header_is_for_this_process(online, serve_hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    path = bundled(tmp_path / "x.gguf", words=of_bytes())
    serve_hub(Hub(tmp_path))
    (tmp_path / "text.txt").write_text("one two three")
    texts = ("--data", tmp_path / "text.txt", "--json")
    counted = [json.loads(run(capsys, monkeypatch, "plan", one, *texts)[1])["data"] for one in ("owner/name:x.gguf", path)]
    assert counted[0] == counted[1]
    shutil.rmtree(tmp_path / "kept")
    folder = tokenizer_folder(find_gguf("owner/name:x.gguf", weights=False))
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    assert not list(cache_root().glob("gguf/*"))
