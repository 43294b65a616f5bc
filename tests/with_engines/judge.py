"""llama.cpp in an environment of its own: ENGINES/llama_cpp/bin/python, ENGINES being .venv-engines or what ROPEWALK_ENGINES
names."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import ropewalk

ROOT = Path(ropewalk.__file__).parents[2]
PYTHON = Path(os.environ.get("ROPEWALK_ENGINES", ROOT / ".venv-engines")) / "llama_cpp" / "bin" / "python"


def need_llama_cpp():
    if not PYTHON.is_file():
        pytest.skip(f"no llama.cpp at {PYTHON}: `make engines` installs it")


def ask(model, **job):
    """The answers of llama_cpp_judge.py, as arrays."""
    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder) / "job.json", Path(folder) / "out.npz"
        asked.write_text(json.dumps({"model": str(model), **job}))
        command = [PYTHON, Path(__file__).parent / "llama_cpp_judge.py", asked, out]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, check=False)
        assert run.returncode == 0, run.stderr[-2000:]
        with np.load(out) as found:
            return {name: found[name] for name in found.files}


def tokens(model, texts):
    """A list of ids for each text."""
    found = ask(model, texts=texts)
    ends = np.cumsum(found["lengths"])
    return [part.tolist() for part in np.split(found["tokens"], ends[:-1])]
