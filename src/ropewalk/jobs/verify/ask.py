"""Asking a witness: its own Python in a process of its own, which can crash, hang or answer nonsense without harm."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy

from ropewalk.errors import BadOption
from ropewalk.jobs.verify import worker
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
            raise BadOption(
                f"python (--python {witness.name}={given}) {what}: name the python of an environment that has the engine."
            )
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


TIMEOUT = 1800.0  # seconds for all models of one call
TOLD = 12  # last lines of an engine's complaints that are shown


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """logprobs: ln p of ids[1:], float64; None where the engine failed, and `error` says how."""

    logprobs: numpy.ndarray | None
    error: str = ""


def ask(
    witness: Witness,
    interpreter: Interpreter,
    models: Sequence[Path],
    ids: Sequence[int],
    *,
    timeout: float = TIMEOUT,
    done: Callable[[], None] = lambda: None,
) -> list[EngineAnswer]:
    """Let one process score `ids` with each model, one after the other. `done` is called after each."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-ask-") as place:
        outs = [Path(place) / f"{number}.npz" for number in range(len(models))]
        request = Path(place) / "request.json"
        # Absolute, but not resolved: an environment's python is a link to another.
        jobs = [{"model": str(m.absolute()), "out": str(out)} for m, out in zip(models, outs, strict=True)]
        request.write_text(json.dumps({"ids": list(ids), "models": jobs}), encoding="utf-8")
        command = [str(interpreter.python.absolute()), str(Path(worker.__file__)), str(witness.file), str(request)]
        ended = _run(command, Path(place), timeout, done)
        return [_read(out, len(ids) - 1, ended) for out in outs]


def _run(command: list[str], place: Path, timeout: float, done: Callable[[], None]) -> str:
    """Run to the end or the time limit; how it ended, in words, empty where all was well."""
    with (place / "stderr").open("w+", encoding="utf-8", errors="replace") as complaints:
        # A session of its own, so that children of the engine end with it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, errors="replace",
            cwd=place, env=variables(), start_new_session=True,
        )  # fmt: skip
        late = threading.Event()

        def stop() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(min(timeout, threading.TIMEOUT_MAX), stop)  # it takes no longer one, such as infinity
        timer.start()
        try:
            _listen(process.stdout, done)
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:  # interrupted
                _kill(process)
                process.wait()
        if late.is_set():
            return f"it did not answer within {timeout:.0f} s."
        complaints.seek(0)
        return f"it ended with exit code {code}:\n{_last(complaints)}" if code else ""


def _listen(stream: IO[str] | None, done: Callable[[], None]) -> None:
    for line in stream or ():
        if line.startswith("done "):
            done()


def _kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # over already
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _last(stream: IO[str]) -> str:
    lines = [line.rstrip() for line in stream if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-TOLD:])


def _read(out: Path, count: int, ended: str) -> EngineAnswer:
    failed = Path(f"{out}.json")
    if failed.is_file():
        return EngineAnswer(None, str(json.loads(failed.read_text(encoding="utf-8"))["error"]))
    if not out.is_file():
        return EngineAnswer(None, ended or "it left no answer.")
    found = numpy.load(out)["logprobs"]
    if found.shape != (count,):
        return EngineAnswer(
            None, f"it answered with numbers of shape {found.shape}; one for each of {count} tokens was asked for."
        )
    return EngineAnswer(found)
