"""Checkpoints of a run: sharded safetensors and one JSON, complete or not there at all.

Weights and moments are written by every process for its own shards (torch's distributed checkpoints in their safetensors
form: no pickle), into a folder whose name says that it is not finished, renamed when all are done. Any number of processes
reads them.
The data's place, the learning rate and the random numbers are functions of the step: there is nothing else to keep.
"""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from ropewalk.checkpoints.files import discard, write_file
from ropewalk.checkpoints.runs import settle
from ropewalk.errors import BadConfig, CannotWrite, first_line
from ropewalk.jobs.train.setup import Trained

FACTS = "checkpoint.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
PART = ".part-"


def folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06d}"


def complete(run: Path) -> list[Path]:
    """The finished checkpoints of a run, oldest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if (path / FACTS).is_file()]
    return sorted(found, key=lambda path: (len(path.name), path.name))  # a millionth step has one digit more


def save(run: Path, trained: Trained, optimizer: torch.optim.AdamW, facts: Mapping[str, Any], keep: int) -> Path:
    """facts: JSON, with the step under "step".  Older checkpoints beyond the `keep` newest are removed afterwards.

    Raises CannotWrite on every process where one could not write; the checkpoints before stay.
    """
    final = folder_of(run, facts["step"])
    part, parallel = final.with_name(PART + final.name), trained.parallel
    problem = ""
    try:
        if parallel.is_first:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = str(error)
    if not parallel.agree(bool(problem)):  # writing is a thing of all together
        try:
            _write(part, tensors(trained, optimizer))
            if parallel.is_first:
                write_file(part / FACTS, json.dumps(facts, indent=1) + "\n")
        except (OSError, RuntimeError, CheckpointException) as error:
            problem = _cause(error)
    if parallel.agree(bool(problem)):
        if parallel.is_first:
            shutil.rmtree(part, ignore_errors=True)
        kept = complete(run)
        raise CannotWrite(
            f"the checkpoint of step {facts['step']} was not written: {problem or 'another process could not write'}\n"
            f"  {f'The one before is whole: {kept[-1]}.' if kept else 'There is none before it.'} "
            "Make room and start the same command again: it goes on from there."
        )
    if parallel.is_first:
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        for old in complete(run)[:-keep]:
            shutil.rmtree(old)
    parallel.wait()
    return final


def sweep(run: Path) -> None:
    """Remove half-written checkpoints that a killed run left here, with a line on stderr."""
    for part in sorted((run / "checkpoints").glob(f"{PART}step-*")):
        if part.is_dir():
            discard(part)


def remove(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)


def load(folder: Path, trained: Trained, optimizer: torch.optim.AdamW) -> dict[str, Any]:
    """Put a checkpoint into the model and the optimiser, whatever number of processes wrote it; its facts."""
    facts = read_facts(folder)
    begin(optimizer)
    wanted = tensors(trained, optimizer)
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning), _unlogged():
            load_shards(wanted, storage_reader=HuggingFaceStorageReader(str(folder)))
    except (Exception, CheckpointException) as error:
        raise BadConfig(
            f"the checkpoint {folder} cannot be read: {_cause(error)}\n  Remove it, and the run goes on from the one before."
        ) from error
    for state in optimizer.state.values():
        state["step"].fill_(float(facts["updates"]))
    return facts


@contextmanager
def _unlogged() -> Iterator[None]:
    """torch writes the traceback of what it raises to the root logger, too."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        facts["updates"], facts["step"], facts["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(
            f"{folder / FACTS} is not what a checkpoint says of itself: {error}\n"
            "  It was changed or copied in part. Remove its folder, and the run goes on from the one before."
        ) from None
    return facts


def begin(optimizer: torch.optim.AdamW, *, anew: bool = False) -> None:
    """AdamW's moments at zero, as its first step would make them, so that there is something to load into.

    anew: also where there are some.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if anew or not optimizer.state.get(p):
                optimizer.state[p] = {
                    "step": torch.tensor(0.0),
                    **{name: torch.zeros_like(p, memory_format=torch.preserve_format) for name in MOMENTS},
                }  # fmt: skip


def tensors(trained: Trained, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """Trained weights and their moments, by name."""
    return dict(_tensors(trained, optimizer))


def _tensors(trained: Trained, optimizer: torch.optim.AdamW) -> Iterator[tuple[str, torch.Tensor]]:
    for name, p in trained.weights.items():
        yield f"weights.{name}", p.detach()
        for moment in MOMENTS:
            if state := optimizer.state.get(p):
                yield f"{moment}.{name}", state[moment]


def _write(part: Path, found: dict[str, torch.Tensor]) -> None:
    writer = HuggingFaceStorageWriter(str(part), save_distributed=True)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that there is one process only
        save_shards(found, storage_writer=writer)


def _cause(error: BaseException) -> str:
    for cause, _ in getattr(error, "failures", {}).values():  # of a distributed checkpoint, by rank
        return _cause(cause)
    return first_line(error)[:300]


RUN, SCHEMA = "run.json", "ropewalk.train/1"
# What may change between a run and its continuation: where it runs and what is watched, not what is computed.
FREE = (
    "device", "checkpointing", "offload", "tiles", "context", "exchange", "replicate", "evaluate_every", "save_every", "keep",
    "track",
)  # fmt: skip


def begin_or_compare(out: Path, mine: dict[str, Any], *, done: bool, write: bool) -> str:
    """A word for what a run computes.  mine: JSON.  done: there are checkpoints; without, what was begun counts for nothing.
    write: record it where nothing that counts is recorded yet.

    Raises BadConfig where `out` holds another run, and names the differences.
    """
    settle(out / RUN, SCHEMA, mine, begun=done, write=write)
    return hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()[:16]
