"""`ropewalk explore`: writes at once, without torch, and says what went wrong in a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ropewalk as package

# The tree under test, wherever the command is run from.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent)}
RUN = "import sys; from ropewalk.cli.main import main; sys.argv[0] = 'ropewalk'; main()"


def ropewalk(*arguments, then="", cwd=None):
    code = RUN if not then else f"import atexit, sys; atexit.register(lambda: {then}); " + RUN
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=60
    )


def test_it_opens_on_the_bundled_model_and_loads_no_torch(tmp_path):
    out = tmp_path / "page.html"

    done = ropewalk(
        "explore", "ropewalk-tiny", "-o", str(out), "--json", then="print('torch' in sys.modules, file=sys.stderr)"
    )

    said = json.loads(done.stdout)
    assert said["bytes"] == out.stat().st_size
    assert said["model"]["ropes"][0]["original_length"] == 512
    assert done.stderr.strip() == "False"


def test_without_a_model_it_writes_the_presets_here(tmp_path):
    done = ropewalk("explore", cwd=tmp_path)

    assert done.returncode == 0
    assert "explorer.html" in done.stdout
    assert '"id":"gpt-oss-20b"' in (tmp_path / "explorer.html").read_text()


def test_the_original_length_can_be_set_right(tmp_path):
    config = {"model_type": "llama", "head_dim": 64, "max_position_embeddings": 8192, "rope_theta": 1e4}
    (tmp_path / "config.json").write_text(json.dumps(config))

    done = ropewalk("explore", str(tmp_path), "--original-length", "2k", "--json", cwd=tmp_path)

    assert json.loads(done.stdout)["model"]["ropes"][0]["original_length"] == 2048


def test_a_config_without_rope_is_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')

    done = ropewalk("explore", str(tmp_path), cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("ropewalk explore: gpt2 has no rotary embedding")
    assert not (tmp_path / "explorer.html").exists()
