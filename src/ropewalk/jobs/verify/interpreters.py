"""Which Python runs an engine: engines want their own versions of nearly everything, so most have an environment of their own.

Looked for, in this order: what --python names; ENGINE/bin/python in the folder .venv-engines, or in the one that the variable
ROPEWALK_ENGINES names; the Python that runs Ropewalk.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ropewalk.errors import BadOption
from ropewalk.jobs.verify.witness import Witness

VARIABLE, FOLDER = "ROPEWALK_ENGINES", ".venv-engines"
SECONDS = 60.0  # to start a Python and look whether a package is there

# Importing an engine takes seconds; asking whether it could be imported, and what version it has, does not.
PROBE = """
import importlib.metadata, importlib.util, json, sys
version = None
if importlib.util.find_spec(sys.argv[1]):
    version = ""
    for name in sys.argv[2:]:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
print(json.dumps(version))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """python: that has the engine.  version: of the engine's package; empty where it does not say."""

    python: Path
    version: str


def find(witness: Witness, given: Path | None = None) -> Interpreter | None:
    """The Python that has an engine; None where there is none. BadOption where the one that was named does not have it."""
    if given is not None:
        version = _version(witness, given) if given.is_file() else None
        if version is None:
            what = f"does not have {witness.module}" if given.is_file() else "is not a file"
            raise BadOption(f"--python {witness.name}={given} {what}: name the python of an environment that has the engine.")
        return Interpreter(given, version)
    for python in (environment(witness), Path(sys.executable)):
        if python.is_file() and (version := _version(witness, python)) is not None:
            return Interpreter(python, version)
    return None


def nowhere(witness: Witness) -> str:
    """Where an engine that is not here was looked for, and how to get it."""
    return f"neither in {environment(witness).parent.parent} nor beside Ropewalk. {witness.get}"


def environment(witness: Witness) -> Path:
    """Where `make engines` puts the engine's own Python."""
    return Path(os.environ.get(VARIABLE, FOLDER)) / witness.name / "bin" / "python"


def variables() -> dict[str, str]:
    """The environment of an engine's process: without this one's modules, and told not to ask the hub."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def _version(witness: Witness, python: Path) -> str | None:
    command = [str(python.absolute()), "-c", PROBE, witness.module, *witness.packages]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS, env=variables())
        version = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return version if version is None else str(version)
