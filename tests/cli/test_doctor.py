"""The doctor at the command line: exit codes for CI, words for people, JSON for programs, half a second, no torch."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk
from ropewalk.cli.main import main
from ropewalk.errors import BadConfig
from support.fake_server import Fake, serving
from support.published import GPT_OSS_20B, LLAMA31_8B, QWEN3_8B, QWEN3_8B_YARN
from support.running import serving as running
from support.serving import opened

SOURCE = str(Path(ropewalk.__file__).parent.parent)


@pytest.fixture
def doctor(capsys, monkeypatch, tmp_path):
    """(exit code, standard output, standard error); configs are written to files of their names."""

    def run(*args, **configs):
        for name, config in configs.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(config))
        words = [str(arg).replace("HERE", str(tmp_path)) for arg in args]
        monkeypatch.setattr(sys, "argv", ["ropewalk", "doctor", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def test_a_healthy_config_is_exit_code_0(doctor):
    code, out, _ = doctor("HERE/x.json", x=LLAMA31_8B)

    assert code == 0
    assert "written: 64 pairs, base 500,000, llama3 x8, 8,192 -> 131,072 tokens, attention factor 1.0000" in out
    assert out.count("as written") == 5


def test_findings_are_exit_code_1_with_words_numbers_and_the_way_out(doctor):
    code, out, _ = doctor("HERE/x.json", "--for", "mlx,llama.cpp", x=GPT_OSS_20B)

    assert code == 1
    assert "MLX-LM ignores truncate: false: a frequency x1.76 off" in out
    assert "llama.cpp ignores truncate: false: a frequency x1.76 off" in out
    assert "Write rope_freqs.weight, where the graph has it." in out


def test_versions_decide(doctor):
    config = {**QWEN3_8B_YARN, "max_position_embeddings": 131_072,
              "rope_scaling": {**QWEN3_8B_YARN["rope_scaling"], "attention_factor": 1.0}}  # fmt: skip
    code, out, _ = doctor("HERE/x.json", "--for", "vllm", "--versions", "vllm=0.29", x=config)
    assert code == 1
    assert "vLLM < 0.30 ignores attention_factor: logits x1.3" in out
    assert doctor("HERE/x.json", "--for", "vllm")[0] == 0


def test_json_for_programs(doctor):
    code, out, _ = doctor("HERE/x.json", "--json", x=GPT_OSS_20B)
    data = json.loads(out)

    assert code == 1
    assert not data["healthy"]
    found = {entry["engine"]: entry["findings"] for entry in data["engines"]}
    assert [len(found[name]) for name in ("transformers", "vllm", "sglang", "llama_cpp", "mlx_lm")] == [0, 0, 0, 1, 1]
    assert found["mlx_lm"][0]["frequency"] == pytest.approx(1.763, abs=1e-3)
    assert found["mlx_lm"][0]["verb"] == "ignores"


def test_a_command_line_with_the_config_it_serves(doctor):
    command = "vllm serve Qwen/Qwen3-8B --max-model-len 131072"
    code, out, _ = doctor(command, "--config", "HERE/x.json", x=QWEN3_8B)

    assert code == 1
    assert "--max-model-len 131,072, above the 40,960 that it derives" in out


def test_trainer_and_rollout(doctor):
    lost = {**QWEN3_8B_YARN, "rope_scaling": {**QWEN3_8B_YARN["rope_scaling"], "attention_factor": 1.0}}
    pair = ("--trainer", "HERE/a.json", "--rollout", "HERE/b.json")

    code, out, _ = doctor(*pair, "--for", "transformers,transformers", a=QWEN3_8B_YARN, b=lost)
    assert code == 1
    assert "differ: a frequency x1 off, attention factor x0.8782, logits x0.7713." in out  # 1 / 1.1386
    code, out, _ = doctor(*pair, a=QWEN3_8B, b=QWEN3_8B)
    assert (code, out) == (0, "transformers 5.23 and vLLM 0.33 rotate alike.\n")
    code, out, _ = doctor(*pair, "--json", a=QWEN3_8B_YARN, b=QWEN3_8B)
    assert code == 1
    assert json.loads(out)["differences"][0]["frequency"] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name a TARGET"),
        (["HERE/none.json"], "no such folder or file"),
        (["HERE/x.json", "--for", "vlm"], "no engine is called 'vlm'. Did you mean 'vllm'?"),
        (["HERE/x.json", "--versions", "vllm"], "Write ENGINE=VERSION"),
        (["HERE/x.json", "--versions", "vllm=soon"], "'soon' is not a version"),
        (["HERE/x.json", "--for", "mlx", "--versions", "vllm=0.31"], "not among the engines looked at"),
        (["--trainer", "HERE/x.json"], "trainer and rollout (--trainer, --rollout) go together"),
        (["--trainer", "HERE/x.json", "--rollout", "HERE/x.json", "--for", "vllm"], "engines (--for) names two"),
    ],
)
def test_bad_input_is_exit_code_2(doctor, args, words):
    code, out, err = doctor(*args, x=QWEN3_8B)

    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_numeric_measures_the_live_model(doctor):
    code, out, _ = doctor("ropewalk-tiny", "--numeric")
    assert code == 0
    assert "ok    model.rotary_emb: cos and sin within" in out


def test_static_mode_does_without_torch(tmp_path):
    """Nor numpy, nor transformers: what makes it half a second is that nothing heavy is loaded."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    code = (
        "import sys; from ropewalk.cli.main import main\n"
        f"sys.argv = ['ropewalk', 'doctor', {str(tmp_path)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print([heavy for heavy in ('torch', 'numpy', 'transformers') if heavy in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


@pytest.mark.parametrize(("rise", "exit_code"), [(0.0, 0), (1.0, 1)])
def test_a_server_is_asked_and_judged(doctor, rise, exit_code, tmp_path):
    with serving(Fake(logprob=lambda at: -2.0 - rise * (at > 256), claimed=600)) as url:
        code, out, _ = doctor(url, "--original-length", "256", "--json")
        assert (code, json.loads(out)["verdict"]) == (exit_code, "FAIL" if rise else "PASS")
        code, out, _ = doctor(url, "--original-length", "256", "--plot", tmp_path / "x.html")
    assert code == exit_code
    assert "fake, claims 600 tokens, original window 256" in out
    assert ("PASS: beyond" in out, "FAIL: beyond" in out) == (not rise, bool(rise))
    assert "ropewalk doctor" in (tmp_path / "x.html").read_text()[:400]


@pytest.mark.parametrize(("method", "verdict", "exit_code"), [("yarn", "ALIKE", 0), ("ntk_by_parts", "DIFFER", 1)])
def test_a_trainer_beside_a_running_rollout(doctor, method, verdict, exit_code):
    """Our own server with yarn, and a trainer that has it too, or has lost the attention factor."""
    with running(opened("yarn", factor=2)) as (client, _):
        url = str(client.base_url).removesuffix("/v1/")
        pair = ("--trainer", "ropewalk-tiny", "--method", method, "--factor", "2", "--rollout", url, "--passages", "5")
        code, out, err = doctor(*pair)
        assert code == exit_code, err
        assert doctor(*pair, "--to", "600", "--json")[0] == exit_code
    assert f"trainer: ropewalk-tiny (transformers, float32, {method} attached)" in out
    assert f"rollout: {url} (echo with logprobs, ids sent)" in out
    assert f"{verdict}: " in out.splitlines()[-1]
    assert out.count(verdict) == 4  # at 256, 512 and 1,024 tokens, and in all


def test_two_running_stacks_in_json(doctor):
    with serving(Fake(claimed=600)) as one, serving(Fake(claimed=600, logprob=lambda at: -2.0 - (at > 256))) as other:
        code, out, _ = doctor("--trainer", one, "--rollout", other, "--original-length", "256", "--json")
    data = json.loads(out)
    assert (code, data["verdict"], data["trainer"], data["rollout"]) == (1, "DIFFER", one, other)
    assert [(band["length"], band["verdict"]) for band in data["bands"]] == [
        (128, "ALIKE"), (256, "ALIKE"), (512, "DIFFER"), (600, "DIFFER")
    ]  # fmt: skip
    assert data["bands"][-1]["mean"]["value"] == pytest.approx(-1.0)


def test_stacks_that_are_not_decided_are_exit_code_3(doctor):
    chance = random.Random(3)
    with serving(Fake(claimed=600)) as one, serving(Fake(claimed=600, logprob=lambda at: -2 + chance.gauss(0, 0.06))) as other:
        assert doctor("--trainer", one, "--rollout", other, "--original-length", "256", "--passages", "2")[0] == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--trainer", "HERE/x.json", "--rollout", "URL", "--for", "vllm"], "leave out engines (--for), versions and plot"),
        (["--trainer", "vllm serve x", "--rollout", "URL"], "a command line, which is read and not run"),
        (["--trainer", "URL", "--rollout", "URL", "--method", "yarn", "--factor", "2"], "both are servers here"),
        (["--trainer", "URL", "--rollout", "URL", "--timeout", "0"], "timeout (--timeout) is 0"),
        (["--trainer", "URL", "--rollout", "http://127.0.0.1:9"], "cannot be reached"),
        (
            ["--trainer", "URL", "--rollout", "URL"],
            "original_length (--original-length), or give config (--config)",
        ),
        (["HERE/x.json", "--method", "yarn", "--factor", "2"], "beside a server's address"),
    ],
)
def test_bad_input_beside_a_server_is_exit_code_2(doctor, monkeypatch, args, words):
    monkeypatch.setattr("ropewalk.checkpoints.hub.checkpoint", unknown)
    with serving(Fake()) as url:
        code, out, err = doctor(*(url if arg == "URL" else arg for arg in args), x=QWEN3_8B)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_answers_that_do_not_decide_are_exit_code_3(doctor):
    with serving(Fake(logprob=lambda at: None, claimed=600)) as url:
        assert doctor(url, "--original-length", "256", "--passages", "3")[0] == 3


def test_a_server_whose_model_is_unknown_needs_the_original_length(doctor, monkeypatch):
    monkeypatch.setattr("ropewalk.checkpoints.hub.checkpoint", unknown)
    with serving(Fake()) as url:
        code, _, err = doctor(url)
    assert code == 2
    assert "--original-length" in err


def unknown(name, weights=True):
    raise BadConfig(f"{name} is not here.")


def test_a_server_is_not_read(doctor):
    code, _, err = doctor("http://127.0.0.1:9", "--for", "vllm")
    assert code == 2
    assert "leave out engines (--for)" in err
    assert doctor("http://127.0.0.1:9")[0] == 2  # nobody there
