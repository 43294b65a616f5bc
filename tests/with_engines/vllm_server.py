"""A vLLM of its own environment as a server on loopback: ENGINES/vllm/bin/python, ENGINES being .venv-engines or what
ROPEWALK_ENGINES names."""

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

import ropewalk

ROOT = Path(ropewalk.__file__).parents[2]
PYTHON = Path(os.environ.get("ROPEWALK_ENGINES", ROOT / ".venv-engines")) / "vllm" / "bin" / "python"
PLAN = "ROPEWALK_VLLM_PLAN"


def need_vllm():
    if not PYTHON.is_file():
        pytest.skip(f"no vLLM at {PYTHON}: `make engines` installs it")


def plain_environment():
    """For one process on a CPU that asks nobody and reports to nobody; without the plan of an outer plugin."""
    kept = {name: value for name, value in os.environ.items() if name not in (PLAN, "PYTHONPATH")}
    return kept | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}


@contextmanager
def vllm_serving(model, log, environment=None):
    """Yields its port. The model is called tiny; float32, nothing compiled."""
    port = free_port()
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", "tiny"]
    command += ["--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as stream, subprocess.Popen(
        command, env=environment or plain_environment(), stdout=stream, stderr=subprocess.STDOUT
    ) as server:  # fmt: skip
        try:
            wait_for(port, server)
            yield port
        finally:
            server.terminate()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port, server):
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    pytest.fail("the server did not start within four minutes")
