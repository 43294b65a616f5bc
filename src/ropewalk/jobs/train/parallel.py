"""Processes: who holds which rows and columns, and what is added up over all of them. One process needs no group at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ropewalk.errors import BadOption, Stopped
from ropewalk.jobs.evaluate.placement import find_device

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
    if world > 1 and _kind(device) == "cuda":
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
        f"another process of this run failed or fell silent: {str(error).splitlines()[0][:200]}\n"
        "  Its own message is above or in its log. Started again, the run goes on from its last checkpoint."
    )
