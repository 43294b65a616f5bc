"""What a folder's files add is found at the first question, and a wrong name is answered with a near one."""

import sys

import pytest

from ropewalk.errors import UnknownName
from ropewalk.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of two files, the first of which is counted each time it runs."""
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "__init__.py").write_text("runs = []\n")
    (tmp_path / "toys" / "top.py").write_text("import toys\ntoys.runs.append(1)\nTITLE = 'Top'\n")
    (tmp_path / "toys" / "kite.py").write_text("TITLE = 'Kite'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "toys"
    for name in [name for name in sys.modules if name.partition(".")[0] == "toys"]:
        del sys.modules[name]


def test_files_are_read_at_the_first_question_and_once(package):
    toys = Registry("toy", package, of=lambda name, module: module.TITLE)
    assert package not in sys.modules

    assert list(toys.known().items()) == [("kite", "Kite"), ("top", "Top")]
    assert toys.get("top") == "Top"
    assert sys.modules[package].runs == [1]


def test_a_file_that_adds_itself(package):
    toys = Registry("toy", package)

    assert toys.add("ball", 7) == 7
    assert toys.known() == {"ball": 7}


def test_names_are_taken_as_people_write_them_and_told_as_they_wrote_them(package):
    toys = Registry("toy", package, spelling=str.lower, of=lambda name, module: module.TITLE)

    assert toys.get("KITE") == "Kite"
    with pytest.raises(UnknownName, match=r"no toy is called 'Kites'. Did you mean 'kite'\?\n  known: kite, top"):
        toys.get("Kites")


def test_a_file_that_fails_is_asked_again(package, tmp_path):
    toys = Registry("toy", package, of=lambda name, module: module.TITLE)
    (tmp_path / "toys" / "broken.py").write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            toys.known()
