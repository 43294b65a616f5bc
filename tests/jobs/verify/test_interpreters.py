"""Which Python has an engine."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from ropewalk.errors import BadOption, UnknownName
from ropewalk.jobs.verify.ask import find
from ropewalk.jobs.verify.witness import Witness, chosen, get_witness, witnesses

TOY = Witness("vllm", "Toy", "numpy", ("numpy",), "config.json", "Get it.", 1.0, Path("toy.py"))
NOWHERE = Witness("vllm", "Toy", "ropewalk_nowhere", ("ropewalk-nowhere",), "config.json", "Get it.", 1.0, Path("toy.py"))


def environment(place):
    """The folder of an environment whose python is this one."""
    (place / "vllm" / "bin").mkdir(parents=True)
    (place / "vllm" / "bin" / "python").symlink_to(sys.executable)
    return place / "vllm" / "bin" / "python"


@pytest.fixture
def engines(tmp_path, monkeypatch):
    monkeypatch.setenv("ROPEWALK_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "engines"


def test_beside_ropewalk_with_its_version(engines):
    found = find(TOY)
    assert found.python == Path(sys.executable)
    assert found.version == importlib.metadata.version("numpy")


def test_an_environment_of_its_own_goes_first(engines):
    python = environment(engines)
    assert find(TOY).python == python


def test_so_does_the_one_that_is_named(engines, tmp_path):
    environment(engines)
    named = environment(tmp_path / "other")
    assert find(TOY, named).python == named


def test_the_folder_has_a_default(tmp_path, monkeypatch):
    monkeypatch.delenv("ROPEWALK_ENGINES", raising=False)
    monkeypatch.chdir(tmp_path)
    environment(tmp_path / ".venv-engines")
    assert find(TOY).python == Path(".venv-engines/vllm/bin/python")


def test_absent(engines):
    assert find(NOWHERE) is None
    environment(engines)  # an environment without it
    assert find(NOWHERE) is None


def test_a_named_python_must_have_it(tmp_path):
    with pytest.raises(BadOption, match="does not have ropewalk_nowhere"):
        find(NOWHERE, Path(sys.executable))
    with pytest.raises(BadOption, match="is not a file"):
        find(TOY, tmp_path)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(BadOption, match="does not have numpy"):
        find(TOY, broken)


def test_the_registry():
    assert set(witnesses()) == {"transformers", "mlx_lm", "llama_cpp", "vllm"}
    assert [w.seconds for w in witnesses().values()] == sorted(w.seconds for w in witnesses().values())
    assert {w.reads for w in witnesses().values()} == {"config.json", "GGUF"}
    assert [w.name for w in chosen(["llama.cpp", "mlx", "mlx_lm"])] == ["llama_cpp", "mlx_lm"]
    assert chosen([]) == list(witnesses().values())
    with pytest.raises(UnknownName, match="no engine that can be run as a witness is called 'sglang'"):
        get_witness("sglang")


def test_a_file_of_an_engine_loads_without_ropewalk_and_without_the_engine():
    """Its own Python has no Ropewalk, and this one has not every engine: what it needs is imported when it scores."""
    files = [str(one.file) for one in witnesses().values()]
    gone = ("ropewalk", *(one.module for one in witnesses().values()))
    code = f"import runpy, sys\nfor name in {gone!r}: sys.modules[name] = None\nfor file in {files!r}: runpy.run_path(file)"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
