"""The wheel as a user has it, outside the checkout: what it holds, what it brings, and what runs with which extra.

    python tests/wheel.py             the base install: verbs that need no torch, and what the others say
    python tests/wheel.py --full      and with ropewalk[torch]: the bundled model writes and is measured

Builds the wheel and makes environments in a temporary folder. Prints a line for each check; exit 1 where one failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 70  # MiB on disk of everything that the base install adds to an empty environment
WHEEL = 10  # MiB, most of them the bundled model
HEAVY = ("torch", "transformers", "numpy", "huggingface_hub", "plotly", "safetensors")
CARRIED = ("ropewalk/py.typed", "ropewalk/models/ropewalk-tiny/config.json", "ropewalk/models/ropewalk-tiny/model.safetensors")
PLAIN = {
    "general.architecture": "qwen3", "general.name": "x", "qwen3.context_length": 32_768, "qwen3.block_count": 2,
    "qwen3.embedding_length": 256, "qwen3.attention.head_count": 2, "qwen3.attention.key_length": 128,
    "qwen3.rope.freq_base": 1e6, "tokenizer.ggml.tokens": ["a", "b"],
}  # fmt: skip

# Without torch: what runs, and a word of what it prints.
LIGHT = {
    "--version": "ropewalk ",
    "--help": "certificate",
    "plan ropewalk-tiny --to 4096": "max_position_embeddings",
    "plan ropewalk-tiny --to 4096 --json": "fingerprint",
    "plan owner/name --to 4096": "max_position_embeddings",
    "doctor ropewalk-tiny": "as written",
    "doctor tiny.gguf": "llama.cpp",
    "explore ropewalk-tiny -o explorer.html": "explorer.html",
    "extend ropewalk-tiny --to 4096 -o longer": "proved against the plan",
    "export ropewalk-tiny --to 4096 --for vllm,llama.cpp -o served": "COMMANDS.md",
    "export tiny.gguf --to 131072 -o longer.gguf": "longer.gguf",
    "doctor longer.gguf": "llama.cpp",
    "plan --help": "--to",
    "eval --help": "--methods",
}
# Without torch: what does not run, and the extra that it asks for.
LACKING = {
    "eval ropewalk-tiny": "torch",
    "generate ropewalk-tiny --prompt a": "torch",
    "choose ropewalk-tiny --to 1k": "torch",
    "demo": "torch",
    "doctor ropewalk-tiny --numeric": "torch",
    "report served": "report",
    "fit ropewalk-tiny -o plan.json": "fit",
    "train ropewalk-tiny --recipe tiny-cpu --steps 2": "train",
    "serve ropewalk-tiny": "serve",
    "verify longer": "verify",
    "extend owner/name --to 4096 -o other": "hub",
}
FULL = {
    "generate ropewalk-tiny --dynamic yarn --prompt import --max-new-tokens 8": "",
    "eval ropewalk-tiny --methods none,yarn --lengths 512,1024 --documents 2 --samples 1 -o run": "",
    "report run": "report.html",
    "verify longer --engines transformers": "within",
}


class Environment:
    """One of Python's own, made anew, and a folder to work in."""

    def __init__(self, place: Path):
        self.place, self.failed, self.hub = place, 0, "http://127.0.0.1:9"
        venv.create(place / "env", with_pip=True)
        (place / "work").mkdir()
        self.python = place / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.empty = size(self.packages)

    @property
    def packages(self) -> Path:
        return next((self.place / "env").rglob("site-packages"))

    def pip(self, *what: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), *what], check=True)

    def run(self, command: str) -> tuple[int, str, str]:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "COLUMNS": "120", "HF_ENDPOINT": self.hub, "NO_PROXY": "127.0.0.1"
        }  # fmt: skip
        ran = subprocess.run(
            [str(self.python.with_name("ropewalk")), *command.split()], capture_output=True, text=True,
            cwd=self.place / "work", env=variables,
        )  # fmt: skip
        return ran.returncode, ran.stdout, ran.stderr

    def check(self, right: bool, said: str, why: str = "") -> None:
        self.failed += not right
        print(f"{'ok   ' if right else 'FAILS'} {said}" + (f"\n{why}" if not right and why else ""), flush=True)

    def check_all(self, commands: dict[str, str]) -> None:
        for command, word in commands.items():
            began = time.monotonic()
            code, out, err = self.run(command)
            self.check(code == 0 and word in out, f"ropewalk {command} ({time.monotonic() - began:.1f} s)", out + err)


def size(folder: Path) -> float:
    """MiB on disk, as `du` counts."""
    return sum(getattr(p.lstat(), "st_blocks", 0) * 512 or p.lstat().st_size for p in folder.rglob("*")) / 2**20


def build(place: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "-w", str(place)]
    subprocess.run([*command, str(ROOT)], check=True)
    (wheel,) = place.glob("*.whl")
    return wheel


def content(wheel: Path) -> Iterator[tuple[bool, str]]:
    names, mib = zipfile.ZipFile(wheel).namelist(), wheel.stat().st_size / 2**20
    yield mib < WHEEL, f"the wheel has {mib:.1f} MiB, at most {WHEEL}"
    strange = [name for name in names if not name.startswith(("ropewalk/", "ropewalk-"))]
    strange += [name for name in names if ("test" in Path(name).name and "selftest" not in name) or "__pycache__" in name]
    yield not strange, f"the wheel holds the package and nothing else {strange or ''}"
    missing = [name for name in CARRIED if name not in names]
    yield not missing, f"the wheel carries the bundled model and py.typed {missing or ''}"


def light(place: Path, wheel: Path) -> int:
    """The base install alone."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.gguf_writer import gguf

    env = Environment(place)
    for right, said in content(wheel):
        env.check(right, said)
    env.pip(str(wheel))
    added = size(env.packages) - env.empty
    env.check(added <= LIMIT, f"the base install brings {added:.0f} MiB, at most {LIMIT}")
    there = [name for name in HEAVY if (env.packages / name).exists()]
    env.check(not there, f"without {', '.join(HEAVY)} {there or ''}")
    (place / "work" / "tiny.gguf").write_bytes(gguf(PLAIN, {"blk.0.attn_norm.weight": [1.0] * 256}))
    with hub(place / "hub", env.packages / "ropewalk" / "models" / "ropewalk-tiny" / "config.json") as env.hub:
        env.check_all(LIGHT)
        check_lacking(env)
    code = "import ropewalk\ntry: ropewalk.rotation_tables\nexcept ImportError as error: print(error)"
    said = subprocess.run([str(env.python), "-I", "-c", code], capture_output=True, text=True).stdout.strip()
    env.check("ropewalk[torch]" in said, f"ropewalk.rotation_tables from Python: {said}")
    return env.failed


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(folder: Path, config: Path) -> Iterator[str]:
    """A hub of one model's config: owner/name."""
    there = folder / "owner" / "name" / "resolve" / "main" / "config.json"
    there.parent.mkdir(parents=True)
    there.write_bytes(config.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def check_lacking(env: Environment) -> None:
    for command, extra in LACKING.items():
        code, _, err = env.run(command)
        lines = [line for line in err.splitlines() if not line.endswith("...")]  # what it was about to do
        right = code == 2 and len(lines) == 1 and lines[0].endswith(f"not installed: pip install 'ropewalk[{extra}]'")
        env.check(right, f"ropewalk {command}: {lines[-1] if lines else code}", err)


def full(place: Path, wheel: Path) -> int:
    """With the extra torch."""
    env = Environment(place)
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    env.pip(torch)  # first and by its exact version: left to choose, pip takes a build with gigabytes of CUDA
    env.pip(f"{wheel}[torch]")
    print(f"      ropewalk[torch] brings {size(env.packages) - env.empty:,.0f} MiB", flush=True)
    env.check_all({**LIGHT_FIRST, **FULL})
    code, out, err = env.run("generate ropewalk-tiny --prompt import --max-new-tokens 8 --json")
    env.check(code == 0 and bool(json.loads(out)["text"]), "the bundled model writes", err)
    return env.failed


LIGHT_FIRST = {command: word for command, word in LIGHT.items() if command.startswith(("--version", "extend"))}


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also with torch")
    asked = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        wheel = build(place)
        halves = [light, full] if asked.full else [light]
        for half in halves:
            (place / half.__name__).mkdir()
        return 1 if sum(half(place / half.__name__, wheel) for half in halves) else 0


if __name__ == "__main__":
    sys.exit(main())
