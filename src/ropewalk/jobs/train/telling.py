"""What stops a run, in words: memory that ran out, and the error of another process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ropewalk.errors import CannotWrite, OutOfMemory, RopewalkError, Stopped
from ropewalk.jobs.evaluate.faults import is_out_of_memory
from ropewalk.jobs.files import write_file
from ropewalk.jobs.train.parallel import Parallel


@contextmanager
def telling(out: Path, processes: Parallel) -> Iterator[None]:
    """A process that fails leaves its error where the others look for it when they find it gone."""
    if out.exists() and not out.is_dir():
        raise CannotWrite(f"{out} is a file, and a run needs a folder: choose another -o.")
    place = out / "errors"
    mine = place / f"process-{processes.rank}.txt"
    try:
        mine.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror}. Choose another -o.") from None
    try:
        yield
    except BaseException as error:
        others = _others(place, processes) if processes.world > 1 else ""
        if others and (isinstance(error, Stopped) or _is_lost(error)):
            raise Stopped(f"another process of this run failed: {others}") from error
        if processes.world > 1 and _is_lost(error) and not isinstance(error, RopewalkError):
            raise Stopped(
                f"another process of this run fell silent: {str(error).splitlines()[0][:200]}\n"
                "  It was killed, or its machine is gone. Started again, the run goes on from its last checkpoint."
            ) from error
        if processes.world > 1:
            write_file(mine, f"process {processes.rank}: {type(error).__name__}: {error}\n")
        raise


@contextmanager
def memory_in_words() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"memory ran out: {(str(error) or type(error).__name__).splitlines()[0]}\n"
            "  Take shorter rows (--length), --micro 1, --checkpointing, --offload, --tiles or --lora: "
            "`ropewalk plan --train` says what fits.\n  Started again, the run goes on from its last checkpoint."
        ) from None


def _others(place: Path, processes: Parallel) -> str:
    """The error of another process of this run; an earlier one may have had more."""
    paths = [place / f"process-{rank}.txt" for rank in range(processes.world) if rank != processes.rank]
    found = [path.read_text(encoding="utf-8").strip() for path in paths if path.is_file()]
    return found[0] if found else ""


def _is_lost(error: BaseException) -> bool:
    """gloo and NCCL have no exception of their own for a peer that is gone."""
    words = ("connection", "gloo", "nccl", "peer", "timed out", "socket")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
