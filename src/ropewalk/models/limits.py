"""What stops a request before anything is computed: the plan's target length, and the memory for its key-value cache."""

import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ropewalk.errors import BadLength
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import REQUEST
from ropewalk.scaling.spec import ModelSpec

GROUP_LIMIT = Path("/sys/fs/cgroup")  # where a container finds the memory it may use
KEYS_KEPT_ROTATED = 1.5  # a plan that rotates on read keeps keys (half the cache) a second time while it decodes


def check_length(prompt: int, new: int, longest: int, *, plan: ScalingPlan | None = None) -> None:
    """Raises BadLength where a prompt and the tokens to be written after it do not fit into `longest` tokens together."""
    if prompt + new <= longest:
        return
    whose = f"the plan ({plan.name}) reaches" if plan else "the model was made for"
    raise BadLength(
        f"the request needs {prompt + new:,} tokens ({prompt:,} of prompt and {new:,} new), and {whose} {longest:,}.\n"
        f"  {_way_out(prompt, longest)}, or stretch further: a larger factor (--factor), or to (--to)."
    )


def _way_out(prompt: int, longest: int) -> str:
    room = longest - prompt
    return f"Ask for at most {room:,} new tokens" if room > 0 else f"Shorten the prompt by {1 - room:,} tokens or more"


def cache_bytes(spec: ModelSpec, plan: ScalingPlan | None, length: int, dtype: torch.dtype, rows: int = 1) -> int:
    """Key-value cache of `rows` sequences of `length` tokens; 0 where the config does not tell."""
    deferred = plan and any(s.near or (s.dynamic and s.dynamic.semantics != REQUEST) for _, s in plan.stretches)
    return int(rows * spec.cache_bytes(length, dtype.itemsize) * (KEYS_KEPT_ROTATED if deferred else 1))


def check_cache(
    spec: ModelSpec, plan: ScalingPlan | None, length: int, dtype: torch.dtype, device: torch.device, *, rows: int = 1
) -> None:
    """Raises BadLength where the cache of a request is larger than the memory that is free on `device`."""
    needed, free = cache_bytes(spec, plan, length, dtype, rows), available_bytes(device)
    if needed > free:
        times, kind = f", {rows} times," if rows > 1 else "", str(dtype).removeprefix("torch.")
        raise BadLength(
            f"the key-value cache of {length:,} tokens{times} takes {needed / 2**30:.1f} GiB in {kind}, and "
            f"{free / 2**30:.1f} GiB are free on {device}.\n"
            f"  About {int(length * free / needed):,} tokens would fit: shorten the request, or load a smaller dtype."
        )


def most_tokens(spec: ModelSpec, plan: ScalingPlan | None, longest: int, dtype: torch.dtype, device: torch.device) -> int:
    """How much of a window of `longest` tokens has room for its cache in the memory that is free on `device`."""
    needed, free = cache_bytes(spec, plan, longest, dtype), available_bytes(device)
    return longest if needed <= free else int(longest * free / needed)


def available_bytes(device: torch.device) -> int:
    """Memory that could be allocated on `device` now: on the CPU, what is free or can be freed, here and in this container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min(int(psutil.virtual_memory().available), _left_in_container())


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has had: on the accelerator if `device` is one, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _left_in_container(group: Path = GROUP_LIMIT) -> int:
    """What cgroup v2 leaves to this container; its file cache can be freed. No limit: a very large number."""
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(limit - used + int(stat["inactive_file"]), 0)
    except (OSError, ValueError, KeyError):
        return 2**62


# `make test-newest` and `make test-oldest` on a release add it here, never a guess.
TRIED = {
    "transformers": ("5.17", "5.18", "5.19", "5.20", "5.21", "5.22", "5.23", "5.24"),
    "torch": ("2.11", "2.13", "2.14"),
}
_said: set[str] = set()


def untried() -> list[str]:
    """The installed libraries whose release (first two numbers of the version) no drill has seen: "transformers 5.25"."""
    found = []
    for name, releases in TRIED.items():
        try:
            release = ".".join(version(name).split(".")[:2])
        except PackageNotFoundError:  # a checkout on the path, say
            continue
        if release not in releases:
            found.append(f"{name} {release}")
    return found


def say_untried() -> None:
    """Warn once in a process of each library that no drill has seen. For the end of an attach, whose tests have passed."""
    for name in untried():
        if name not in _said:
            _said.add(name)
            warnings.warn(f"{name} has not been tried with this Ropewalk: the self-test at attach passed.", stacklevel=3)
