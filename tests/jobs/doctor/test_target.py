"""Pasted command lines, and what they make of the config they serve."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ropewalk.engines.commands import is_command, parse_command
from ropewalk.errors import BadConfig, RopewalkError
from ropewalk.jobs.doctor.static import compare, examine
from ropewalk.jobs.doctor.target import resolve
from support.gguf_writer import QWEN3, gguf
from support.published import GEMMA3_4B, LLAMA31_8B, QWEN3_8B, QWEN25_7B

PLAIN_LLAMA = {**LLAMA31_8B, "rope_scaling": None}  # its base, without a stretch that an override would replace
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}


@pytest.fixture
def serve(tmp_path):
    """Write a config, put its folder in a command's FOLDER, and say what the engine does with it."""

    def run(command, config, versions=None):
        (tmp_path / "config.json").write_text(json.dumps(config))
        target = resolve(command.replace("FOLDER", str(tmp_path)), lambda name: pytest.fail(name))
        (found,) = examine(target, (), versions)
        return [loss.said for loss in found.losses], found.rotations, target

    return run


@pytest.mark.parametrize(
    ("text", "engine", "model"),
    [
        ("vllm serve Qwen/Qwen3-8B --max-model-len 131072", "vllm", "Qwen/Qwen3-8B"),
        ("python -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B", "vllm", "Qwen/Qwen3-8B"),
        ("CUDA_VISIBLE_DEVICES=0 vllm serve --tensor-parallel-size 2 a/b", "vllm", "a/b"),
        ("SGLANG_X=1 python3 -m sglang.launch_server --model-path a/b --context-length 9", "sglang", "a/b"),
        ("/opt/llama.cpp/build/bin/llama-server -m x.gguf -c 131072", "llama_cpp", "x.gguf"),
        ("./llama-cli --model=x.gguf --jinja -c 8", "llama_cpp", "x.gguf"),
        ("mlx_lm.generate --model a/b --prompt hello", "mlx_lm", "a/b"),
        ("trtllm-serve a/b --max_seq_len 4096", "tensorrt_llm", "a/b"),
    ],
)
def test_command_lines_are_recognised(text, engine, model):
    assert is_command(text)
    command = parse_command(text)
    assert (command.engine, command.model) == (engine, model)


@pytest.mark.parametrize("text", ["", "vllm", "some folder/with spaces", "Qwen/Qwen3-8B", "python train.py", "ls -l vllm"])
def test_other_texts_are_not(text):
    assert not is_command(text)


def test_a_flag_that_is_gone(serve):
    """vllm-project/recipes#856: --rope-scaling went in 0.11.1."""
    command = f"vllm serve FOLDER --rope-scaling '{json.dumps(YARN)}' --max-model-len 131072"

    said, rotations, _ = serve(command, QWEN3_8B)
    assert said == ["vLLM >= 0.11.1 does not run with --rope-scaling, which is gone"]
    assert rotations[0].scaled is None
    said, rotations, _ = serve(command, QWEN3_8B, {"vllm": "0.10"})
    assert said == []
    assert rotations[0].scaled.attention_factor == pytest.approx(1.1386, abs=1e-4)


def test_an_override_that_loses_the_base(serve):
    """serving.md 1.3: measured 10.1 wrong. Llama 3.1's base is 5e5; the class's own is 1e4: 50^(126/128) in the last pair."""
    override = json.dumps({"rope_parameters": YARN})
    (said,), _, _ = serve(f"vllm serve FOLDER --hf-overrides '{override}'", PLAIN_LLAMA)
    assert "ignores the base: the override replaced the dict that held it, and rope_theta is 10000: a frequency x47" in said
    assert (
        serve(f"vllm serve FOLDER --hf-overrides '{override}'", PLAIN_LLAMA, {"vllm": "0.12"})[0] == []
    )  # transformers 4 kept it
    kept = {"rope_parameters": {**YARN, "rope_theta": 500_000.0}}
    said, _, _ = serve(f"vllm serve FOLDER --hf-overrides '{json.dumps(kept)}'", PLAIN_LLAMA)
    assert said == []
    # SGLang merges
    sglang = "python -m sglang.launch_server --model-path FOLDER --json-model-override-args"
    said, _, _ = serve(f"{sglang} '{json.dumps({'rope_scaling': YARN})}'", PLAIN_LLAMA)
    assert said == []


def test_a_window_beyond_the_derived_one(serve):
    """The example of vLLM's own documentation: 40,960 is derived, 131,072 asked (algorithms.md 1.12)."""
    override = {"rope_parameters": {**YARN, "rope_theta": 1_000_000}}
    command = f"vllm serve FOLDER --max-model-len 131072 --hf-overrides '{json.dumps(override)}'"
    crash = "vLLM >= 0.30 does not run with --max-model-len 131,072, above the 40,960 that it derives (ValueError)"

    assert serve(command, QWEN3_8B)[0] == [crash]
    assert serve(command, QWEN3_8B, {"vllm": "0.29"})[0] == []
    allowed = serve(f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 {command}", QWEN3_8B)[0]
    assert [said for said in allowed if "does not run" in said] == []
    raised = json.dumps({**override, "max_position_embeddings": 131_072})
    assert serve(f"vllm serve FOLDER --max-model-len 131072 --hf-overrides '{raised}'", QWEN3_8B)[0] == []
    sglang = "python -m sglang.launch_server --model-path FOLDER --context-length 65536"
    assert "above the 40,960" in serve(sglang, QWEN3_8B)[0][0]
    allowed = serve(f"SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1 {sglang}", QWEN3_8B)[0]
    assert allowed == ["SGLang goes past the window: no stretch reaches positions 40,960..65,535"]
    assert "above the 32,768" in serve("vllm serve FOLDER --max-model-len 65536", QWEN25_7B, {"vllm": "0.29"})[0][0]


V5_QWEN3 = {**{key: value for key, value in QWEN3_8B.items() if key not in ("rope_theta", "rope_scaling")},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}  # fmt: skip


@pytest.mark.parametrize(
    ("version", "config", "name", "said"),
    [
        # patch_rope_parameters of 0.12, 0.16 and 0.19 was run with transformers 4.57: what it made of each of these
        ("0.12", QWEN3_8B, "rope_parameters", []),
        ("0.19", {**QWEN3_8B, "rope_scaling": YARN}, "rope_parameters", ["rope_scaling of the config takes their place"]),
        ("0.19", {**QWEN3_8B, "rope_scaling": YARN}, "rope_scaling", []),
        # Qwen2-VL as published: its rope_scaling says sections alone, and takes the override's place all the same
        (
            "0.12",
            {**QWEN3_8B, "rope_scaling": {"rope_type": "default", "mrope_section": [16, 24, 24]}},
            "rope_parameters",
            ["rope_scaling of the config takes their place"],
        ),
        ("0.12", V5_QWEN3, "rope_scaling", ["the class's own 10000 is taken"]),
        ("0.19", V5_QWEN3, "rope_parameters", ["the class's own 10000 is taken"]),
        # 0.11 reads rope_scaling of the config (get_config), which an override of rope_parameters leaves as it is
        ("0.11", QWEN3_8B, "rope_parameters", ["what the config says counts"]),
        ("0.11", QWEN3_8B, "rope_scaling", []),
    ],
)
def test_an_override_of_a_vllm_with_transformers_4(serve, version, config, name, said):
    override = {name: {**YARN, "factor": 2.0}, "max_position_embeddings": 65_536}
    found, _, _ = serve(f"vllm serve FOLDER --hf-overrides '{json.dumps(override)}'", config, {"vllm": version})
    assert [words in one for words, one in zip(said, found, strict=True)] == [True] * len(said)


def test_an_override_inside_text_config(serve):
    inner = {"text_config": {"rope_scaling": {"rope_type": "linear", "factor": 16.0}, "rope_theta": 1e6}}
    _, rotations, target = serve(f"vllm serve FOLDER --hf-overrides '{json.dumps(inner)}'", GEMMA3_4B)

    full = {r.layer_type: r.scaled for r in rotations}["full_attention"]
    assert full.inv_freq[0] == 1 / 16
    assert [keys.layer_type for keys in target.layers] == ["full_attention", "sliding_attention"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768", None),
        ("--rope-scaling yarn --rope-freq-scale 0.25 --yarn-orig-ctx 32768", None),
        ("--rope-scaling linear --rope-scale 4", None),
        ("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768 --yarn-beta-fast 8", None),  # the flags do work
        (
            "--rope-scale 4",
            None,
        ),  # "defaults to linear unless specified by the model" (common/arg.cpp): linear is what it says
        # N multiplies 0.1 ln s + 1 (ggml, rope_yarn); 1.0 was the default of common/arg.cpp until 2025, and -1 is since
        ("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768 --yarn-attn-factor 1.0", None),
        ("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768 --yarn-attn-factor -1 --yarn-beta-fast -1", None),
        (
            "--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768 --yarn-attn-factor 0.8782488562869419",
            "ignores attention_factor: logits x1.3",
        ),  # (1 / 0.87825)^2 = 1.2965: m = 1 was meant, as old releases computed it
        ("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768 --context-shift", "multiplies cached keys by 1.1386"),
    ],
)
def test_flags_of_llama_cpp(serve, flags, words):
    said, _, _ = serve(f"llama-cli -m FOLDER -c 131072 {flags}", QWEN25_7B)
    assert said == [] if words is None else [s for s in said if words in s], said


def test_a_raised_context_length_without_yarn_orig_ctx(tmp_path):
    """serving.md 1.1: 5.5 wrong. The GGUF says 131,072, the flags forget that the model was trained at 32,768."""
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf({k: v for k, v in QWEN3.items() if "scaling" not in k}))
    target = resolve(f"llama-server -m {path} --rope-scaling yarn --rope-scale 4", lambda name: pytest.fail(name))
    (found,) = examine(target)
    assert target.layers[0].rope.original_length == 131_072
    told = resolve(
        f"llama-server -m {path} --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768", lambda name: pytest.fail(name)
    )
    assert told.layers[0].rope.original_length == 32_768
    apart = compare(found, examine(told)[0])
    assert apart[0].frequency > 1.5


@pytest.mark.parametrize("name", ["docker-compose.yml", "sft.yaml", "presets.ini", "run.sh", "vllm.service"])
def test_settings_of_a_program_are_no_config(tmp_path, name):
    (tmp_path / name).write_text("model: a/b\nmax-model-len: 131072\n")
    with pytest.raises(
        BadConfig, match=r"is no config.json, and settings of programs are not read(.|\n)*the command line in quo"
    ):
        resolve(str(tmp_path / name), pytest.fail)


def test_a_gguf_and_a_params_json(tmp_path):
    (tmp_path / "x.gguf").write_bytes(gguf(QWEN3))
    target = resolve(str(tmp_path / "x.gguf"), lambda name: pytest.fail(name))
    assert target.engines == ("llama_cpp",)
    assert examine(target)[0].losses == ()
    folder = tmp_path / "mistral"
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps({"dim": 4096, "n_heads": 32, "head_dim": 128, "rope_theta": 1e6,
        "yarn": {"factor": 16, "original_max_position_embeddings": 16_384, "alpha": 1, "beta": 32,
                 "apply_scale": False}}))  # fmt: skip
    (found,) = examine(resolve(str(folder), lambda name: pytest.fail(name)))
    assert (found.engine, found.rotations[0].scaled.attention_factor) == ("mistral", 1.0)


def test_two_formats_in_one_folder(tmp_path):
    """vllm-project/vllm#17777: config.json is stretched, and vLLM takes params.json: factor 16 for 32, 2,048 tokens."""
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 4096,
              "rope_parameters": {"rope_type": "yarn", "factor": 32.0, "attention_factor": 1.0, "rope_theta": 1e4,
                                  "original_max_position_embeddings": 128}}  # fmt: skip
    params = {"dim": 64, "n_heads": 4, "rope_theta": 1e4, "max_position_embeddings": 2048,
              "yarn": {"factor": 16, "original_max_position_embeddings": 128, "apply_scale": False}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "params.json").write_text(json.dumps(params))

    def found():
        return {d.engine: [loss.said for loss in d.losses] for d in examine(resolve(str(tmp_path), pytest.fail))}

    assert found()["vllm"] == []  # without consolidated*.safetensors it is not Mistral's format
    (tmp_path / "consolidated.safetensors").touch()
    assert found()["transformers"] == []
    (said,) = found()["vllm"]
    assert said == "vLLM ignores config.json beside params.json, which it takes instead (2,048 tokens): a frequency x2 off"
    (tmp_path / "params.json").write_text(json.dumps({k: v for k, v in params.items() if k != "yarn"}))
    assert "below the 4,096 that factor says: 2,048 tokens" in found()["vllm"][-1]  # its window stays, the rest is filled in


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("vllm serve FOLDER --hf-overrides '{'", "--hf-overrides is not JSON"),
        ("vllm serve FOLDER --hf-overrides '[1]'", "must be a JSON object"),
        ("vllm serve FOLDER --hf-overrides", "--hf-overrides has no value"),
        ("vllm serve FOLDER --max-model-len lots", "must be a number of tokens"),
        ("vllm serve FOLDER --rope-theta lots", "--rope-theta is 'lots'; it must be a number"),
        ("vllm serve 'FOLDER", "cannot be split into words"),
        ("vllm serve --max-model-len 9", "names no model"),
        ("llama-server -m FOLDER --rope-scaling yarm", "llama.cpp knows none, linear and yarn"),
        ("llama-server -m FOLDER --rope-scale 0", "must be above 0"),
        ("llama-server -m FOLDER --rope-scaling yarn --rope-scale nan", "factor is nan; it must be a finite number"),
        ('vllm serve FOLDER --hf-overrides \'{"rope_scaling": {"rope_type": "yarn", "factor": "4"}}\'', "factor is '4'"),
    ],
)
def test_bad_command_lines(serve, command, words):
    with pytest.raises(BadConfig, match=words.replace("(", r"\(")):
        serve(command, QWEN25_7B)


words = st.sampled_from(
    ["vllm", "serve", "llama-server", "-m", "-c", "--model", "--rope-scale", "4", "nan", "--hf-overrides", "{}", "'", '"', "=",
     "--", "--rope-scaling", "yarn", "A=1", "FOLDER", "--max-model-len=9k", "--rope-theta", "-1", "--yarn-orig-ctx", "0"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, max_size=12))
def test_no_command_line_makes_it_fall_over(tmp_path, line):
    (tmp_path / "config.json").write_text(json.dumps(QWEN25_7B))
    text = " ".join(["vllm serve", *line]).replace("FOLDER", str(tmp_path))

    def missing(name):
        raise BadConfig(name)

    for start in ("", "./llama-server "):
        with contextlib.suppress(RopewalkError):
            examine(resolve(start + text, missing))
