"""`ropewalk.explore` from Python."""

import json
import shlex

import pytest

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.progress import Silent
from support.refusing import NO_LENGTHS, NO_MODELS, refuses


def test_a_model_by_name_by_folder_and_by_its_config(tmp_path):
    config = json.loads((bundled_model() / "config.json").read_text())
    for model in ("ropewalk-tiny", bundled_model(), config):
        page = ropewalk.explore(model, tmp_path / "page.html", original_length="256")
        assert page.size == page.out.stat().st_size == page.to_dict()["bytes"]
        assert page.model["ropes"][0]["original_length"] == 256


def test_the_command_that_the_page_shows_is_about_this_model_as_it_was_read(tmp_path):
    """As a shell takes it: one word for the model, whatever its folder is called, and the length that was given."""
    folder = tmp_path / "a model; echo $HOME"
    folder.mkdir()
    (folder / "config.json").write_text((bundled_model() / "config.json").read_text())
    page = ropewalk.explore(folder, tmp_path / "page.html", original_length="0.25k")
    assert shlex.split(page.model["command"]) == [str(folder), "--original-length", "256"]
    assert page.model["name"] == folder.name
    config = json.loads((folder / "config.json").read_text())
    assert ropewalk.explore(config, tmp_path / "page.html").model["command"] == "config.json"


def test_without_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (ropewalk.explore().model, (tmp_path / "explorer.html").is_file()) == (None, True)


@pytest.mark.parametrize("model", NO_MODELS[1:])
def test_what_is_no_model(tmp_path, model):
    refuses(ropewalk.explore, model, tmp_path / "page.html")


@pytest.mark.parametrize("wrong", [*({"original_length": length} for length in NO_LENGTHS), {"out": 3}, {"out": "."}])
def test_other_arguments_of_the_wrong_kind(tmp_path, wrong):
    refuses(ropewalk.explore, "ropewalk-tiny", **{"out": tmp_path / "page.html"} | wrong)


def test_it_says_what_it_is_doing(tmp_path):
    stages = []

    class Watch(Silent):
        def begin(self, what, total=None, *, found=False):
            stages.append(what)

    ropewalk.explore(out=tmp_path / "page.html", progress=Watch())
    assert stages == ["writing the explorer"]
