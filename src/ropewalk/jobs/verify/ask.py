"""Asking a witness: its own Python in a process of its own, which can crash, hang or answer nonsense without harm."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy

from ropewalk.jobs.verify import worker
from ropewalk.jobs.verify.interpreters import Interpreter, variables
from ropewalk.jobs.verify.witness import Witness

TIMEOUT = 1800.0  # seconds for all models of one call
TOLD = 12  # last lines of an engine's complaints that are shown


@dataclass(frozen=True, slots=True)
class Answer:
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
) -> list[Answer]:
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
            _kill(process.pid)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            _listen(process.stdout, done)
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:  # interrupted
                _kill(process.pid)
                process.wait()
        if late.is_set():
            return f"it did not answer within {timeout:.0f} s."
        complaints.seek(0)
        return f"it ended with exit code {code}:\n{_last(complaints)}" if code else ""


def _listen(stream: IO[str] | None, done: Callable[[], None]) -> None:
    for line in stream or ():
        if line.startswith("done "):
            done()


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # over already
        os.killpg(group, signal.SIGKILL)


def _last(stream: IO[str]) -> str:
    lines = [line.rstrip() for line in stream if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-TOLD:])


def _read(out: Path, count: int, ended: str) -> Answer:
    failed = Path(f"{out}.json")
    if failed.is_file():
        return Answer(None, str(json.loads(failed.read_text(encoding="utf-8"))["error"]))
    if not out.is_file():
        return Answer(None, ended or "it left no answer.")
    found = numpy.load(out)["logprobs"]
    if found.shape != (count,):
        return Answer(None, f"it answered with numbers of shape {found.shape}; one for each of {count} tokens was asked for.")
    return Answer(found)
