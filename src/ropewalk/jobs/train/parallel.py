"""Processes: who holds which rows and columns, and what is added up over all of them. One process needs no group at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ropewalk.checkpoints.files import write_file
from ropewalk.checkpoints.runs import LOCK, one_writer
from ropewalk.errors import BadOption, CannotWrite, Mismatch, OutOfMemory, RopewalkError, Stopped, first_line
from ropewalk.measure.faults import is_out_of_memory
from ropewalk.models.attach import Attached
from ropewalk.models.live import find_tables, read_live
from ropewalk.models.placement import AUTO, find_device

TIMEOUT = timedelta(seconds=int(os.environ.get("ROPEWALK_TIMEOUT", "600")))


@dataclass(frozen=True)
class Parallel:
    """world = data * context processes. `context` of them share each row; each of `data` groups has rows of its own.

    replicate: copies of the sharded model (hybrid sharding): gradients are scattered within a copy, then added between them.
    """

    rank: int = 0
    world: int = 1
    context: int = 1
    replicate: int = 1
    device: str = "cpu"
    mesh: DeviceMesh | None = None

    @property
    def data(self) -> int:
        return self.world // self.context

    @property
    def data_rank(self) -> int:
        return self.rank // self.context

    @property
    def context_rank(self) -> int:
        return self.rank % self.context

    @property
    def context_group(self) -> Any:
        return self.mesh["context"].get_group() if self.mesh is not None and self.context > 1 else None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sharding(self) -> DeviceMesh:
        """The mesh that weights are sharded over: all processes, whether they differ in rows or in columns."""
        shape, names = (self.replicate, self.world // self.replicate), ("replicate", "shard")
        mesh = init_device_mesh(_kind(self.device), shape, mesh_dim_names=names)
        return mesh if self.replicate > 1 else mesh["shard"]

    def add(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all processes. A process that fell silent is noticed here, after TIMEOUT."""
        if self.world > 1:
            try:
                distributed.all_reduce(numbers)
            except RuntimeError as error:
                raise _lost(error) from error
        return numbers

    def wait(self) -> None:
        if self.world > 1:
            try:
                distributed.barrier()
            except RuntimeError as error:
                raise _lost(error) from error

    def agree(self, failed: bool) -> bool:
        """Did any process fail? All of them learn it."""
        return bool(self.add(torch.tensor([float(failed)], device=self.device)).item())

    def everyone(self, value: Any) -> list[Any]:
        """A small value of every process, by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, value)
        return found


@contextmanager
def parallel(context: int = 1, replicate: int = 1, device: str = "cpu") -> Iterator[Parallel]:
    """The processes that torchrun started, or one."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if context < 1 or replicate < 1 or world % context or world % replicate:
        raise BadOption(
            f"{world} processes do not divide into {context} for context parallelism and {replicate} replicas.\n"
            "  Start as many as a multiple of both: torchrun --nproc-per-node N -m ropewalk train ..."
        )
    if world > 1 and _kind(device := find_device(device) if device == AUTO else device) == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    device = find_device(device)
    if world == 1:
        yield Parallel(device=device)
        return
    if _kind(device) == "cuda":
        torch.cuda.set_device(device)
    started = not distributed.is_initialized()
    if started:
        distributed.init_process_group("nccl" if _kind(device) == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        mesh = init_device_mesh(_kind(device), (world // context, context), mesh_dim_names=("data", "context"))
        yield Parallel(rank, world, context, replicate, device, mesh)
    finally:
        if started:
            distributed.destroy_process_group()


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _lost(error: RuntimeError) -> Stopped:
    return Stopped(
        f"another process of this run failed or fell silent: {first_line(error)[:200]}\n"
        "  Its own message is above or in its log. Started again, the run goes on from its last checkpoint."
    )


def rotary_fingerprint(model: Any) -> str:
    """The first 12 hex digits of the SHA-256 of every table's frequencies as they are in memory, dtype and factor included."""
    found = hashlib.sha256()
    for layer_type, tables in sorted(find_tables(model, read_live(model)).items()):
        for table in tables:
            inv_freq = table.inv_freq.detach().cpu()
            m = float(getattr(table.module, f"{table.prefix}attention_scaling"))
            found.update(f"{layer_type} {inv_freq.dtype} {m!r}".encode() + inv_freq.float().numpy().tobytes())
    return found.hexdigest()[:12]


def check_rotary(model: Any, attached: Attached, parallel: Parallel) -> str:
    """Measure cos and sin against the plan on every process; the fingerprint. Raises Mismatch on every process alike."""
    try:
        attached.check()
        mine = rotary_fingerprint(model)
    except Mismatch as error:
        mine = str(error)
    everyone = parallel.everyone(mine)
    wrong = {rank: value for rank, value in enumerate(everyone) if len(value) != 12}
    if wrong:
        rank, value = next(iter(wrong.items()))
        raise Mismatch(f"process {rank} does not rotate as the plan says: {value}")
    if len(set(everyone)) > 1:
        raise Mismatch(
            f"processes rotate differently: {', '.join(f'{rank}: {value}' for rank, value in enumerate(everyone))}.\n"
            "  A buffer was not initialised, or was rounded, on some of them."
        )
    return mine


@contextmanager
def telling(out: Path, processes: Parallel) -> Iterator[None]:
    """A process that fails leaves its error where the others look for it when they find it gone."""
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
                f"another process of this run fell silent: {first_line(error)[:200]}\n"
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
            f"memory ran out: {first_line(error)}\n"
            "  Take shorter rows (length), micro=1, checkpointing, offload, tiles or lora (flags of the same names):\n"
            "  `ropewalk plan --train` says what fits.\n  Started again, the run goes on from its last checkpoint."
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


@contextmanager
def one_run(out: Path, processes: Parallel) -> Iterator[None]:
    """No other run writes this folder; where one does, every process of this one ends."""
    with ExitStack() as held:
        refused = None
        if processes.is_first:
            try:
                held.enter_context(one_writer(out / LOCK))
            except CannotWrite as error:
                refused = error
        if processes.agree(refused is not None):
            raise refused or Stopped("the first process could not have the folder; its message is above.")
        yield
