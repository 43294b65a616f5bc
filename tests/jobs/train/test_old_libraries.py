"""What training says under libraries that lack what it calls: found by the drill on the oldest, 5.17 and 2.11."""

import tomllib
from pathlib import Path

import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.train import setup
from ropewalk.jobs.train.recipe import Recipe

INSTALLED = {"transformers": "5.23.0", "torch": "2.13.0+cpu"}


@pytest.mark.parametrize(("name", "version"), [("transformers", "5.22.2"), ("torch", "2.12.1+cu130")])
def test_an_older_library_is_named_before_anything_is_done(monkeypatch, tmp_path, name, version):
    from ropewalk.jobs.train.job import train

    monkeypatch.setattr(setup, "version", (INSTALLED | {name: version}).__getitem__)
    wanted = rf"training needs {name} [\d.]+ or newer, and {version.partition('+')[0]}\S* is installed: pip install 'ropewalk"
    with pytest.raises(BadConfig, match=wanted):
        train(Recipe(model="ropewalk-tiny", data=("library-train",)), tmp_path / "run", print)
    assert not (tmp_path / "run").exists()


def test_these_and_newer_ones_are_taken(monkeypatch):
    monkeypatch.setattr(setup, "version", INSTALLED.__getitem__)
    setup.check_libraries()
    monkeypatch.setattr(setup, "version", {"transformers": "5.100.0", "torch": "3.0"}.__getitem__)
    setup.check_libraries()


def test_the_extra_brings_what_is_needed():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extra = " ".join(project["optional-dependencies"]["train"])
    assert all(f"{name}>={least}" in extra for name, least in setup.NEEDS.items())
