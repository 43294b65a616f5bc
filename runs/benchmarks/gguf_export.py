"""How long stretching a GGUF takes beside `cp` of the same file, and how much memory: alternating, medians, one line each.

    python runs/benchmarks/gguf_export.py [gigabytes] [rounds]

The file is random bytes behind a valid header, written next to the copies and removed at the end. Each copy is removed before
the next is made and the disk is asked to finish its writing in between, so that every copy finds the same conditions.
"""

import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from timing import in_turns, ratio, timed

LLAMA = {
    "general.architecture": "llama", "llama.context_length": 4096, "llama.rope.dimension_count": 128,
    "llama.rope.freq_base": 10_000.0, "llama.block_count": 32, "tokenizer.ggml.tokens": [f"w{i}" for i in range(128_000)],
}  # fmt: skip
STRETCH = (sys.executable, "-m", "ropewalk", "export", "{source}", "--factor", "4", "-o", "{out}")
# By keys alone, and with one tensor more.
COMMANDS = {"cp": ("cp", "{source}", "{out}"), "yarn": STRETCH, "list": (*STRETCH, "--option", "truncate=false")}


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def value(item: object) -> bytes:
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    if isinstance(item, list):
        return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))
    return struct.pack("<If", 6, item) if isinstance(item, float) else struct.pack("<II", 4, item)


def write_source(path: Path, size: int) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(LLAMA)) + b"".join(text(name) + value(item) for name, item in LLAMA.items())
    head += text("blk.0.weight") + struct.pack("<IQIQ", 1, size, 24, 0)  # int8
    with path.open("wb") as stream:
        stream.write(head + bytes(-len(head) % 32))
        for _ in range(size // 2**24):
            stream.write(os.urandom(2**24))


def megabytes(command: list[str]) -> float:
    """The largest memory of a child process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: {errors.decode()}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main(gigabytes: float = 4, rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory(prefix="ropewalk-bench-") as folder:
        source, out = Path(folder) / "x.gguf", Path(folder) / "y.gguf"
        write_source(source, int(gigabytes * 1e9) // 2**24 * 2**24)
        print(f"{source.stat().st_size / 1e9:.2f} GB, {rounds} rounds")

        def side(command: tuple[str, ...]) -> Callable[[], tuple[float, float]]:
            def run() -> tuple[float, float]:
                os.sync()
                taken = timed(lambda: megabytes([part.format(source=source, out=out) for part in command]))
                out.unlink()
                return taken

            return run

        found = in_turns({name: side(command) for name, command in COMMANDS.items()}, rounds)
    seconds = {name: [taken for taken, _ in runs] for name, runs in found.items()}
    for name, taken in seconds.items():
        peak = max(mb for _, mb in found[name])
        print(f"{name:5} {statistics.median(taken):6.2f} s, x cp: {ratio(taken, seconds['cp'])}; at most {peak:.0f} MB")


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((float, int), sys.argv[1:], strict=False)))
