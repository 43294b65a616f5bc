"""The command line as a person meets it: real processes for what must hold there, `main` in-process for the rest."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ropewalk.api.arguments import as_options
from ropewalk.cli.main import NOT_VERBS
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.plan import bars, pairs
from ropewalk.engines.engine import engines
from ropewalk.errors import BadLength, BadOption
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch
from ropewalk.scaling.units import as_length
from support.command import run

QWEN3_8B = {  # Qwen/Qwen3-8B config.json, as published
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 36, "max_position_embeddings": 40960,
    "rope_theta": 1000000, "rope_scaling": None,
}  # fmt: skip


@pytest.fixture
def ropewalk(capsys, monkeypatch):
    return lambda *args: run(capsys, monkeypatch, *args)


@pytest.fixture
def qwen3(tmp_path):
    folder = tmp_path / "Qwen3-8B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_8B))
    return folder


def test_plan_says_what_is_there_and_what_would_happen(ropewalk, qwen3):
    code, out, _ = ropewalk("plan", qwen3, "--to", "128k")
    assert code == 0
    assert "24 kept, 16 ramped, 24 stretched by 4" in out  # counted from the golden vector of qwen3_s4
    assert "32,768 -> 131,072 tokens, factor 4, attention factor 1.1386" in out
    assert "18.0 GiB in fp16, 9.0 GiB in fp8" in out  # 36 layers x 2 x 8 heads x 128 x 131072 tokens x 2 bytes
    assert "Qwen3 model cards" in out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ["--method", "near-128-self_extend-static", "--option", "group=2,16"],
            ("16 stretched by 10.3333 or more", "1 to 16,"),
        ),
        (["--method", "rerope"], ("32 stretched by 9 or more", "slowed until they stand still,")),
        (["--method", "near-linear"], ("32 stretched by 15\n", "slowed by 1 to 15,")),
    ],
)
def test_a_plan_says_how_far_far_pairs_are_slowed(ropewalk, asked, words):
    """s = (L' - w) / (L - w) of 512 to 4,096, with w = 128, 64 (an eighth) and 256 (a half)."""
    _, out, _ = ropewalk("plan", "ropewalk-tiny", "--to", "4k", *asked)
    assert all(word in out for word in words)


def test_plan_as_json_holds_a_plan_that_extend_takes(ropewalk, tmp_path):
    code, out, _ = ropewalk("plan", "ropewalk-tiny", "--factor", "4", "--option", "beta_fast=16", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["pairs"]["all"]["kept"] + data["pairs"]["all"]["ramped"] + data["pairs"]["all"]["stretched"] == 32
    (tmp_path / "plan.json").write_text(out)
    code, out, _ = ropewalk("extend", "ropewalk-tiny", "--plan", tmp_path / "plan.json", "-o", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out)["fingerprint"] == data["fingerprint"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plan", "no/such/place/here"], "no such folder or file"),
        (["plan", "QWEN", "--to", "128q"], "'128q' is not a length"),
        (["plan", "QWEN", "--to", "1000"], "target_length 1000 is shorter than original_length 32768"),
        (["plan", "QWEN", "--factor", "0.5"], "factor is 0.5; it must be a number of 1 or more"),
        (["plan", "QWEN", "--factor", "nan"], "factor is nan"),
        (["plan", "QWEN", "--factor", "4", "--to", "128k"], "give either a factor or a target length"),
        (["plan", "QWEN", "--factor", "4", "--method", "yarm"], "no scaling method is called 'yarm'. Did you mean 'yarn'?"),
        (["plan", "QWEN", "--factor", "4", "--option", "beta_fsat=3"], "Did you mean 'beta_fast'?"),
        (["plan", "QWEN", "--factor", "4", "--option", "beta_fast"], "Write NAME=VALUE"),
        (["plan", "QWEN", "--factor", "4", "--layers", "sliding"], "no rotary layer type of this model is called 'sliding'"),
        (["extend", "QWEN", "--factor", "4", "-o", "OUT"], "has no *.safetensors file"),
        (["extend", "ropewalk-tiny", "--factor", "4", "-o", "QWEN"], "exists already"),
        (["extend", "ropewalk-tiny", "--plan", "QWEN/config.json", "-o", "OUT"], "this is not a Ropewalk plan"),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_code_2(ropewalk, tmp_path, qwen3, args, message):
    args = [str(a).replace("QWEN", str(qwen3)).replace("OUT", str(tmp_path / "out")) for a in args]
    code, out, err = ropewalk(*args)
    assert code == 2
    assert out == ""
    assert err.startswith(f"ropewalk {args[0]}: ")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "broken", ["", "{", "[1]", '"x"', "\0", '{"a":' * 5000, '{"max_position_embeddings": NaN, "rope_theta": 1e4}']
)
def test_a_broken_config_is_named(ropewalk, tmp_path, broken):
    (tmp_path / "config.json").write_text(broken)
    code, _, err = ropewalk("plan", tmp_path, "--factor", "2")
    assert code == 2
    assert "config.json" in err or "max_position_embeddings" in err


@pytest.mark.parametrize("kind", ["gpt2", "mamba", "bloom"])
def test_a_model_without_rope_is_told_so(ropewalk, tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "max_position_embeddings": 1024}))
    code, _, err = ropewalk("plan", tmp_path, "--factor", "2")
    assert code == 2
    assert "no rotary embedding" in err


def test_replacing_a_trained_stretch_is_said(ropewalk, tmp_path):
    llama31 = {  # meta-llama/Llama-3.1-8B config.json, as published
        "model_type": "llama", "max_position_embeddings": 131072, "hidden_size": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rope_theta": 500000.0,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
                         "original_max_position_embeddings": 8192},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(llama31))
    _, out, _ = ropewalk("plan", tmp_path, "--to", "256k")
    assert "stretched already, by llama3 x8, and this plan replaces that with yarn" in out
    _, out, _ = ropewalk("plan", tmp_path, "--to", "256k", "--method", "llama3")
    assert "replaces" not in out


def test_no_torch_for_plan_and_help():
    code = (
        "import sys\nfrom ropewalk.cli.main import main\nsys.argv = ['ropewalk', *{args}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit(3 if {{'torch', 'transformers', 'numpy'}} & set(sys.modules) else 0)"
    )
    for args in (["--help"], ["plan", "ropewalk-tiny", "--to", "4096"], ["extend", "--help"]):
        done = subprocess.run([sys.executable, "-c", code.format(args=args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    can_fail = subprocess.run([sys.executable, "-c", "import numpy\n" + code.format(args=["--help"])], capture_output=True)
    assert can_fail.returncode == 3


def test_every_verb_has_help_with_an_example(ropewalk):
    import ropewalk.cli as package

    verbs = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - NOT_VERBS - {"__init__"}
    for verb in verbs:
        code, out, _ = ropewalk(verb, "--help")
        assert code == 0
        assert "Example:" in out, verb


@pytest.mark.parametrize(("text", "tokens"), [("4096", 4096), ("128k", 131072), ("1M", 1048576), ("0.5k", 512)])
def test_lengths(text, tokens):
    assert as_length(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "-1", "0", "1.5", "1e99k", "nan", "inf", "12kk"])
def test_lengths_that_are_none(text):
    with pytest.raises(BadLength, match="is not a length"):
        as_length(text)


def test_options():
    assert as_options(["beta_fast=16"]) == dict([("beta_fast", 16.0)])
    assert as_options(["truncate=false"]) == dict([("truncate", False)])
    assert as_options(["ramp=turns"]) == dict([("ramp", "turns")])
    assert as_options(["long_factor=1,2.5"]) == dict([("long_factor", (1.0, 2.5))])
    with pytest.raises(BadOption):
        as_options("=3")


def test_bars_rise_from_kept_to_stretched():
    stretch = Stretch(Rope(128, 1e6, 32768), "yarn", 4.0)
    count = pairs(stretch)
    picture = bars(count["slowed_by"], 4.0)
    assert len(picture) == 64
    assert picture.startswith("▁" * 24)
    assert picture.endswith("█" * 24)
    assert list(picture) == sorted(picture)


def test_plan_says_which_engines_would_read_it_otherwise(ropewalk, qwen3):
    code, out, _ = ropewalk("plan", qwen3, "--factor", "8", "--method", "ntk_by_parts")
    assert code == 0
    assert "MLX-LM ignores attention_factor: logits x1.46" in out  # (0.1 ln 8 + 1)^2
    assert "SGLang >= 0.5.16 ignores attention_factor: logits x1.46" in out
    assert "vLLM" not in out
    assert "ignores" not in ropewalk("plan", qwen3, "--factor", "8", "--method", "yarn")[1]
    data = json.loads(ropewalk("plan", qwen3, "--factor", "8", "--method", "ntk_by_parts", "--json")[1])
    assert {loss["engine"] for loss in data["losses"]} == {"MLX-LM", "SGLang", "TensorRT-LLM"}


def test_json_holds_no_number_that_is_not_finite(capsys):
    """RFC 8259 has no Infinity and no NaN: an interval over one document has ends that are null."""
    print_json({"interval": {"value": 0.5, "ends": (-math.inf, math.inf)}, "loss": [math.nan, 1]})
    said = capsys.readouterr().out
    assert json.loads(said, parse_constant=pytest.fail) == {
        "interval": {"value": 0.5, "ends": [None, None]},
        "loss": [None, 1],
    }


def test_an_error_names_the_command_that_was_typed(tmp_path):
    found = subprocess.run([sys.executable, "-m", "ropewalk", "plan", tmp_path], capture_output=True, text=True, check=False)
    assert found.stderr.startswith("python -m ropewalk plan: ")


def test_a_terminated_verb_removes_what_is_half_written(tmp_path):
    slow = (
        "import sys, time; from pathlib import Path; import ropewalk.cli.explore as verb; from ropewalk.cli.main import main\n"
        "from ropewalk.checkpoints.files import new_folder\n"
        "def run():\n"
        "    with new_folder(Path('out')) as part:\n"
        "        (part / 'half').write_text(''); print('writing', flush=True); time.sleep(60)\n"
        "verb.run = run; sys.argv = ['ropewalk', 'explore']; main()"
    )
    env = {name: value for name, value in os.environ.items() if name != "RANK"}
    process = subprocess.Popen([sys.executable, "-c", slow], cwd=tmp_path, env=env, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_says_so(capsys, monkeypatch, tmp_path):
    (tmp_path / "x.txt").write_text("no checkpoint")
    code, _, err = run(capsys, monkeypatch, "verify", str(tmp_path / "x.txt"))
    assert code == 2
    assert "x.txt is a file. Name the folder that holds config.json and the weights." in err


def test_an_interrupt_is_told(capsys, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("ropewalk.cli.explore.run", stop)
    code, _, err = run(capsys, monkeypatch, "explore")
    assert (code, err) == (130, "ropewalk explore: interrupted. What was finished is kept; run it again to go on.\n")


def test_the_version_is_the_packages(ropewalk):
    import ropewalk as package

    assert ropewalk("--version")[:2] == (0, f"ropewalk {package.__version__}\n")


@pytest.mark.parametrize("verb", ["export", "doctor"])
def test_help_names_every_engine(ropewalk, verb):
    out = " ".join(ropewalk(verb, "--help")[1].split())
    assert f"Engines: {', '.join(engines())}." in out


def test_tab_completion_finds_every_public_name():
    import ropewalk as package

    assert set(package.__all__) <= set(dir(package))
