"""`ropewalk plan --train` as a person meets it."""

import json
import subprocess
import sys

import pytest

from ropewalk.cli.parts.plan_train import parse_stages
from ropewalk.errors import BadOption
from ropewalk.jobs.train.sizing.cost import TokenStage
from ropewalk.scaling.units import parse_tokens
from support import shapes
from support.command import run


@pytest.fixture
def train(capsys, monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(shapes.LLAMA31_8B))
    return lambda *args: run(capsys, monkeypatch, "plan", tmp_path, "--to", "128k", *args)


def test_what_fits_and_what_a_stage_costs(train):
    code, out, _ = train("--train", "--gpus", "8xH100-80", "--tokens", "64k:1.7b,128k:0.8b", "--price", "3")
    assert code == 0
    assert "8.03 billion parameters at 131,072 tokens on 8 x H100-80" in out
    assert "Cheapest that fits: down to context parallel 2." in out
    assert "stage 1, 65,536 tokens: 406 steps of 64 sequences" in out  # 1.7e9 / (64 * 65,536) = 405.3
    assert "stage 2" in out


def test_json_says_the_same(train):
    found = json.loads(train("--train", "--gpus", "8xH100-80", "--tokens", "1b", "--json")[1])["training"]
    assert [rung["fits"] for rung in found["rungs"]][:3] == ["no", "no", "yes"]
    assert found["parameters"] == 8_030_261_248
    assert found["stages"][0]["cost"]["dollars"] is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--gpus", "8xH100-80"), "add --train"),
        (("--train",), "give --gpus"),
        (("--train", "--gpus", "8xH1000"), "Did you mean 'H100-80'"),
        (("--train", "--gpus", "H200", "--mfu", "40"), "at most 1"),
        (("--train", "--gpus", "H200", "--price=-1"), "dollars per card"),
        (("--train", "--gpus", "H200", "--tokens", "lots"), "not a number of tokens"),
        (("--train", "--gpus", "H200", "--tokens", "x:1b"), "not a length"),
    ],
)
def test_bad_input_is_refused_in_our_words(train, args, words):
    code, _, err = train(*args)
    assert code == 2
    assert words in err


def test_budgets_count_as_papers_do():
    assert parse_tokens("1.7b") == 1_700_000_000
    assert parse_stages("64k:1m", 1, 7) == (TokenStage(65_536, 1_000_000, 7),)
    with pytest.raises(BadOption):
        parse_tokens("nan")


def test_a_simulation_that_fails_leaves_the_formula(train, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "ImportError: no such thing"))
    code, out, _ = train("--train", "--gpus", "8xH100-80", "--simulate")
    assert code == 0
    assert "not simulated, so the formula stands: ImportError: no such thing." in out


def test_planning_loads_no_torch():
    code = (
        "import sys\nfrom ropewalk.cli.main import main\n"
        "sys.argv = 'ropewalk plan ropewalk-tiny --to 4096 --train --gpus H200'.split()\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
        "sys.exit(3 if {'torch', 'transformers', 'numpy'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
