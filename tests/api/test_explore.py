"""`ropewalk.explore` from Python."""

import json

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
