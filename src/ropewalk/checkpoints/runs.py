"""A run on disk: which one a folder holds, whether it is the one asked for, and that one process at a time writes it."""

import json
import os
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, CannotWrite

LOCK = ".lock"  # in a run's folder, while it is written
BEYOND = 2**30  # bytes into a lock, where nothing is written
EMPTY = 1.0  # seconds, after which a lock that says nothing is what a killed process left
SCHEMA = "schema"
NAMES = ("model",)  # of a run that also has the model's fingerprint: by that it is the same, wherever it lies


def settle(
    path: Path, schema: str, wanted: Mapping[str, Any], *, begun: bool = True, write: bool = True, grows: Collection[str] = (),
    names: Collection[str] = (),
) -> None:  # fmt: skip
    """Write what this run is, or see that what is there says the same. Raises BadConfig, naming what differs.

    begun: is there anything that a run of other settings must not go on with? Without, what is there is written over.
    grows: settings that may ask for more than is there: what the run has stays right. The run is then the larger one.
    names: settings that are names alone, of what other settings tell by its bytes: the run keeps those that it has.
    """
    wanted = json.loads(json.dumps({SCHEMA: schema, **wanted}))
    there = read(path) if path.exists() else None
    if there is not None and there.setdefault(SCHEMA, schema) == schema and not begun:  # old runs of training named none
        there = None
    if there is None:
        if write:
            write_file(path, json.dumps(wanted, indent=2) + "\n")
        return
    wanted = {**wanted, **{name: there[name] for name in names if name in there}}
    other = _differ(there, wanted)
    if wrong := [(name, before, now) for name, before, now in other if not (name in grows and _holds(now, before))]:
        more = " or, with the rest as it is, for more," if grows else ""
        raise BadConfig(
            f"{path.parent} holds another run; what differs:\n{_lines(wrong)}\n"
            f"  Ask for the same{more} to go on with it, or choose another folder (-o)."
        )
    if other and write:
        write_file(path, json.dumps(wanted, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """What a run says of itself. Raises BadConfig for what is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}, not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise BadConfig(
            f"{path} cannot be read: {error}.\n"
            "  It was changed or copied in part. Choose another place (-o), or delete it to begin anew."
        ) from None
    return found


def differences(there: Any, wanted: Any) -> str:
    """A line for each, such as "  stages.0.rate: 2e-05 there, 1e-05 asked for"; empty where there are none."""
    return _lines(_differ(there, wanted))


def _lines(found: list[tuple[str, Any, Any]]) -> str:
    return "\n".join(f"  {name}: {_short(before)} there, {_short(now)} asked for" for name, before, now in found)


def _holds(more: Any, less: Any) -> bool:
    """Every entry as it was, in whatever order, or a number that is not smaller."""
    if isinstance(more, dict) and isinstance(less, dict):
        return less.items() <= more.items()
    if isinstance(more, list) and isinstance(less, list):
        return all(item in more for item in less)
    return isinstance(more, int) and isinstance(less, int) and more >= less


def _differ(there: Any, wanted: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Into objects of the same keys, and lists of as many objects: elsewhere the whole says more than its parts."""
    if isinstance(there, dict) and isinstance(wanted, dict) and (not name or there.keys() == wanted.keys()):
        keys = dict.fromkeys([*there, *wanted])
        return [found for key in keys for found in _differ(there.get(key), wanted.get(key), f"{name}.{key}".strip("."))]
    if isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        pairs = list(zip(there, wanted, strict=True))
        if pairs and all(isinstance(item, dict) for pair in pairs for item in pair):
            return [found for i, pair in enumerate(pairs) for found in _differ(*pair, f"{name}.{i}")]
    return [] if there == wanted else [(name, there, wanted)]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-30:]}"


@contextmanager
def one_writer(lock: Path, what: Path | None = None) -> Iterator[None]:
    """Hold the lock: no other process that sees this file system writes meanwhile. Raises CannotWrite where one does.

    what: is written, for people; the lock's folder unless said.  Of several processes of one run, the first alone asks.
    The lock of a process of this machine that is gone is taken over.
    """
    what = what or lock.parent
    pid, mine = os.getpid(), json.dumps(_myself())
    try:
        if lock.parent.exists() and not lock.parent.is_dir():
            raise CannotWrite(f"{lock.parent} is a file, and a run needs a folder: choose another place (-o).")
        lock.parent.mkdir(parents=True, exist_ok=True)
        while not _create(lock, mine) and not _take_over(lock, what, mine):
            pass
    except OSError as error:
        if isinstance(error, CannotWrite):
            raise
        raise CannotWrite(f"{what} cannot be written: {error.strerror}. Choose another place (-o).") from None
    try:
        yield
    finally:
        with suppress(OSError):
            if os.getpid() == pid and lock.read_text(encoding="utf-8") == mine:  # a fork leaves it alone
                lock.unlink()


def _create(lock: Path, mine: str) -> bool:
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(mine)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _take_over(lock: Path, what: Path, mine: str) -> bool:
    """What a process that is gone has left; False where it is not that file any more. Raises CannotWrite where it lives.

    The file is written over, not replaced, while the system lets no one else do so: of many who find it, one gets it.
    """
    text = _read(lock)
    holder = _holder(text)
    if holder and not _is_gone(holder):
        here = holder.get("host") == socket.gethostname()
        more = "" if here else f"\n  If that process is gone, delete {lock}."
        raise CannotWrite(
            f"{what} is being written by another run: process {holder.get('pid')} on "
            f"{'this machine' if here else holder.get('host')}, since {holder.get('since')}.\n"
            f"  Wait until it has ended, or choose another place (-o).{more}"
        )
    with suppress(FileNotFoundError), lock.open("r+", encoding="utf-8", errors="replace") as stream:
        _lock(stream)
        if os.path.samestat(os.fstat(stream.fileno()), lock.stat()) and stream.read() == text:
            stream.seek(0)
            stream.truncate()
            stream.write(mine)
            return True
    return False


def _lock(stream: TextIO) -> None:
    """Until it is closed, or its process ends, nobody else gets past here with this file."""
    if sys.platform == "win32":
        import msvcrt

        stream.seek(BEYOND)  # what is locked there cannot be read by others either
        msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        stream.seek(0)
    else:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX)


def _read(lock: Path) -> str:
    """What the lock says; a process that has just made it may not have written yet."""
    until = time.monotonic() + EMPTY
    while True:
        try:
            text = lock.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        if text or time.monotonic() > until:
            return text
        time.sleep(0.02)


def _holder(text: str) -> dict[str, Any] | None:
    """None where it says nothing that could be a process."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and type(found.get("pid")) is int else None


def _myself() -> dict[str, Any]:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "began": _began(os.getpid()), "since": now}


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Of this machine, and dead; of others nobody here can say."""
    if holder.get("host") != socket.gethostname():
        return False
    pid = holder["pid"]
    if not _is_alive(pid):
        return True
    began, now = holder.get("began"), _began(pid)  # its number may have gone to another process since
    return began is not None and now is not None and began != now


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 would interrupt it
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return bool(kernel.GetLastError() == 5)  # access denied: there, and another's
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return _began(pid) != "dead"


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; "dead" where it only waits to be counted. None: not known."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "dead" if state in "ZX" else rest[18]
    except (OSError, ValueError, IndexError):
        return None
