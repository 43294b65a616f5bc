"""`ropewalk verify` at the command line: exit codes for CI, words for people, JSON for programs."""

import json
import shutil
import sys

import numpy
import pytest

from ropewalk.checkpoints.export import export
from ropewalk.checkpoints.gguf import open_gguf, stretch_gguf
from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.verify import run as job
from ropewalk.jobs.verify.as_gguf import write_gguf
from ropewalk.jobs.verify.ask import EngineAnswer
from ropewalk.jobs.verify.subject import gguf_keys
from ropewalk.scaling.plan import make_plan
from support.command import run
from support.verifying import extended, small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return extended(tmp_path_factory.mktemp("verify"))


@pytest.fixture
def verify(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ROPEWALK_ENGINES", str(tmp_path / "no-engines"))
    return lambda *args: run(capsys, monkeypatch, "verify", *args)


def test_an_engine_that_is_not_here_is_skipped_with_the_way_to_get_it(verify, folder):
    """vLLM is never beside Ropewalk: it wants a transformers of its own."""
    pytest.importorskip("mlx_lm")
    code, out, _ = verify(folder, "--engines", "vllm", "--tokens", 200)
    assert code == 3
    assert "skip  vLLM is not here: neither in " in out
    assert "make engines (3.5 GB)" in out


def test_json(verify, folder):
    code, out, _ = verify(folder, "--engines", "mlx,vllm", "--tokens", 200, "--json")
    data = json.loads(out)

    assert (code, data["exit_code"]) == (3, 3)
    (found,) = data["verified"]
    assert found["healthy"]
    assert (found["tokens"], found["original_length"], found["target_length"]) == (200, 128, 512)
    mlx, vllm = found["testimonies"]
    assert (mlx["engine"], mlx["status"], vllm["status"]) == ("mlx_lm", "agrees", "is not here")
    assert 100 * mlx["apart"] < mlx["control"]
    assert [band["start"] for band in mlx["comparison"]["bands"]][:2] == [0, 128]


def test_a_difference_is_exit_code_1(verify, folder, monkeypatch):
    nothing = EngineAnswer(numpy.zeros(199))  # every token is certain
    monkeypatch.setattr(job, "ask", lambda *_, **__: [nothing, nothing])
    code, out, _ = verify(folder, "--engines", "mlx", "--tokens", 200)
    assert code == 1
    assert "FAILS MLX-LM" in out
    assert "off by up to" in out
    assert "off without any scaling too" in out


def test_what_is_no_number_is_null_in_json(verify, folder, monkeypatch):
    nonsense = EngineAnswer(numpy.full(199, numpy.nan))
    monkeypatch.setattr(job, "ask", lambda *_, **__: [nonsense, nonsense])
    code, out, _ = verify(folder, "--engines", "mlx", "--tokens", 200, "--json")
    (one,) = json.loads(out, parse_constant=pytest.fail)["verified"][0]["testimonies"]
    assert (code, one["status"], one["apart"], one["comparison"]["bands"][0]["apart"]) == (1, "differs", None, None)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engines", "vlm"], "no engine is called 'vlm'. Did you mean 'vllm'?"),
        (["--engines", "ollama"], "no engine that can be run as a witness is called 'ollama'"),
        (["--python", "vllm"], "'vllm' is not a python. Write ENGINE=PATH"),
        (["--python", "vllm=/nowhere/python"], "python (--python vllm=/nowhere/python) is not a file"),
        (["--python", f"vllm={sys.executable}"], "does not have vllm: name the python of an environment that has the engine"),
        (["--tokens", "129"], "129 tokens cannot show the stretch: from 130"),
        (["--tolerance", "0"], "tolerance and timeout (--tolerance, --timeout) must be above 0"),
    ],
)
def test_bad_input_is_exit_code_2(verify, folder, args, words):
    code, out, err = verify(folder, *args)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_what_is_not_there_or_not_stretched(verify, tmp_path):
    assert "no such folder or file" in verify(tmp_path / "none")[2]
    code, _, err = verify("ropewalk-tiny")
    assert code == 2
    assert "is not stretched" in err


@pytest.mark.parametrize("plan", [b"\xff", b'{"schema": '])
def test_a_plan_that_is_damaged_is_named(verify, tmp_path, plan):
    folder = tmp_path / "out"
    shutil.copytree(bundled_model(), folder)
    (folder / "ropewalk.json").write_bytes(plan)
    code, _, err = verify(folder)
    assert code == 2
    assert f"{folder / 'ropewalk.json'}: " in err
    assert "Traceback" not in err


def plan_for(source, method="yarn", **options):
    return make_plan(read(read_config(source)), factor=4, method=method, options=options)


def test_an_export_is_verified_part_by_part(verify, tmp_path):
    """The temperature of ntk_by_parts needs other keys for MLX-LM; one folder serves both, and the GGUF's keys join it."""
    source = small(tmp_path / "source")
    export(source, plan_for(source, "ntk_by_parts"), ["transformers", "mlx", "llama.cpp"], tmp_path / "served")
    code, out, _ = verify(tmp_path / "served", "--tokens", 200)

    assert code == 0, out
    assert "served/checkpoint" in out
    assert "ok    MLX-LM" in out
    assert "ok    transformers" in out
    assert "ntk_by_parts x4, 128 -> 512 tokens; 200 scored, 71 of them beyond the original window" in out
    assert "nats at every position; without the scaling" in out
    assert "positions 128 to 144:" in out
    assert "llama.cpp" in out
    assert "vLLM" not in out  # it was not exported for


def test_an_export_of_keys_alone(verify, tmp_path):
    source = small(tmp_path / "source")
    export(source, plan_for(source), ["llama.cpp"], tmp_path / "served")
    code, _, err = verify(tmp_path / "served")
    assert code == 2
    assert "holds keys for a GGUF and no weights" in err


@pytest.mark.parametrize(
    "text", ["{}", "[]", "nonsense", '{"parts": [{"folder": "../x", "target_length": 1, "engines": []}]}']
)
def test_a_summary_that_is_none(verify, tmp_path, text):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "export.json").write_text(text)
    code, _, err = verify(tmp_path / "served")
    assert code == 2
    assert "is not the summary of an export" in err


def test_a_gguf_is_for_llama_cpp_alone(verify, tmp_path):
    source = small(tmp_path / "source")
    config = read_config(source)
    none = make_plan(read(config), factor=1, method="none")
    plain = write_gguf(source, config, gguf_keys(none, config), tmp_path / "plain.gguf")
    stretch_gguf(open_gguf(plain), plan_for(source), tmp_path / "stretched.gguf")

    code, _, err = verify(tmp_path / "stretched.gguf", "--engines", "vllm")
    assert code == 2
    assert "is for llama_cpp, and not for vllm" in err
    code, _, err = verify(plain)
    assert code == 2
    assert "is not stretched: its keys say plain RoPE" in err
