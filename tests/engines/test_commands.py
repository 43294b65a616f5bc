"""Pasted command lines taken apart: nothing eats its neighbour, and launchers that are not known are named."""

import json

import pytest

from ropewalk.engines.commands import is_command, json_option, length_option, parse_command
from ropewalk.errors import BadConfig

YARN = json.dumps({"rope_type": "yarn", "factor": 4.0})


@pytest.mark.parametrize(
    ("text", "model", "options"),
    [
        ("vllm serve a/b --enable-chunked-prefill --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("vllm serve --enable-chunked-prefill a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("vllm serve a/b --some-new-switch --max-model-len 9", "a/b", {"max-model-len": "9", "some-new-switch": None}),
        ("vllm serve --some-new-switch a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("vllm serve a/b -O3 --max_model_len=9", "a/b", {"max-model-len": "9", "optimization-level": "3"}),
        ("vllm serve -O3 a/b", "a/b", {"optimization-level": "3"}),
        ("vllm serve a/b -tp 2 --max-model-len -1", "a/b", {"tp": "2", "max-model-len": "-1"}),
        ("vllm serve a/b --max-model-len 9 > log.txt 2>&1 &", "a/b", {"max-model-len": "9"}),
        ("vllm serve a/b --max-model-len 9 2>/dev/null | tee log", "a/b", {"max-model-len": "9"}),
        ("vllm serve a/b \\\n  --trust-remote-code \\\n  --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("cd /models && vllm serve a/b --max-model-len 9 ; echo done", "a/b", {"max-model-len": "9"}),
        ("docker run --gpus all vllm/vllm-openai:v0.20 --model a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("docker run --name vllm -it --rm vllm/vllm-openai a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("podman run -v x:/m ghcr.io/ggml-org/llama.cpp:server-cuda -m /m/x.gguf -c 9", "/m/x.gguf", {"ctx-size": "9"}),
        ("docker run lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path a/b", "a/b", {"model-path": "a/b"}),
        ("torchrun --nproc 2 -m vllm.entrypoints.openai.api_server --model a/b", "a/b", {"model": "a/b"}),
        ("nohup bash -lc 'cd /x && vllm serve a/b --max-model-len 9' &", "a/b", {"max-model-len": "9"}),
        ("uv run --with vllm vllm serve a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("conda run -n vllm vllm serve a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("python vllm/entrypoints/openai/api_server.py --model a/b", "a/b", {"model": "a/b"}),
        ("sglang serve --model-path a/b --enable-p2p-check --context-length 9", "a/b", {"context-length": "9"}),
        ("python -m mlx_lm server --model a/b", "a/b", {"model": "a/b"}),
        ("llama-server -m x.gguf --no-mmap --rope-scaling yarn -fa -c 9", "x.gguf", {"rope-scaling": "yarn", "ctx-size": "9"}),
        ("./main -m x.gguf -c 9", "x.gguf", {"ctx-size": "9"}),
        ("llama-server.exe -m x.gguf -c 9", "x.gguf", {"ctx-size": "9"}),
        ("python -m llama_cpp.server --model x.gguf --n_ctx 9", "x.gguf", {"ctx-size": "9"}),
        ("llama-cli -m x.gguf --override-kv a=int:1 --override-kv b=str:c", "x.gguf", {"override-kv": "a=int:1,b=str:c"}),
        ("llama-server -hf a/b:Q4_K_M -c 9", "a/b:Q4_K_M", {"hf-repo": "a/b:Q4_K_M"}),
        # as compose files, units of systemd and lists of YAML have them
        ("command: vllm serve a/b --max-model-len 9", "a/b", {"max-model-len": "9"}),
        ("command: >-\n  vllm serve a/b\n  --max-model-len 9\n", "a/b", {"max-model-len": "9"}),
        ("ExecStart=/usr/bin/llama-server -m x.gguf -c 9", "x.gguf", {"ctx-size": "9"}),
        ("- vllm\n- serve\n- a/b\n- --hf-overrides={\"x\": 1}\n- \"--max-model-len\"\n- '9'", "a/b",
         {"hf-overrides": '{"x": 1}', "max-model-len": "9"}),
    ],
)  # fmt: skip
def test_every_word_finds_its_place(text, model, options):
    assert is_command(text)
    command = parse_command(text)
    assert command.model == model
    assert options.items() <= dict(command.options).items()


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        ("--hf-overrides.rope_parameters.factor 4", {"rope_parameters": {"factor": 4}}),
        ("--hf_overrides.rope_parameters.rope_type=yarn", {"rope_parameters": {"rope_type": "yarn"}}),
        ("--hf-overrides.a.b 1 --hf-overrides.a.c=128k --hf-overrides.d true", {"a": {"b": 1, "c": 128_000}, "d": True}),
        ("--hf-overrides.mrope_section+ 16,24", {"mrope_section": ["16", "24"]}),
        ("--hf-overrides '{\"x\": 1}' --hf-overrides.y 2", {"y": 2}),  # appended, and argparse takes the last
        ("--hf-overrides '{\"x\": 1}'", {"x": 1}),
    ],
)  # vllm 0.32.0, utils/argparse_utils.py, FlexibleArgumentParser.parse_args
def test_dotted_options_of_vllm(flags, meant):
    assert json_option(parse_command(f"vllm serve a/b {flags} --enable-x"), "hf-overrides") == meant


def test_variables_of_llama_cpp_count_where_the_flag_is_absent():
    """common/arg.cpp: the environment is handled before the command line, which then overwrites it."""
    front = "LLAMA_ARG_ROPE_SCALING_TYPE=yarn LLAMA_ARG_ROPE_SCALE=4 LLAMA_ARG_CTX_SIZE=9 LLAMA_ARG_CONTEXT_SHIFT=1"
    options = parse_command(f"{front} llama-server -m x.gguf --rope-freq-scale 0.5").options
    assert options["rope-scaling"] == "yarn"
    assert options["ctx-size"] == "9"
    assert "context-shift" in options
    assert "rope-scale" not in options  # the other name of the same number was on the line
    docker = parse_command("docker run -e LLAMA_ARG_CTX_SIZE=9 --env=LLAMA_ARG_MODEL=x.gguf ghcr.io/ggml-org/llama.cpp:server")
    assert (docker.model, docker.options["ctx-size"]) == ("x.gguf", "9")
    exported = parse_command("export VLLM_ALLOW_LONG_MAX_MODEL_LEN=1; vllm serve a/b")
    assert exported.environment == {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}


@pytest.mark.parametrize(
    ("word", "tokens"),
    [("131072", 131_072), ("128k", 128_000), ("128K", 131_072), ("25.6k", 25_600), ("1M", 2**20), ("auto", None), ("-1", None),
     ("0", None)],
)  # fmt: skip
def test_lengths_are_vllms(word, tokens):
    assert length_option(parse_command(f"vllm serve a/b --max-model-len {word} -q x"), "max-model-len") == tokens


@pytest.mark.parametrize("text", ["services:\n  a:\n    image: b/c\n    command: --model d", "[Service]\nEnvironment=A=1"])
def test_a_whole_file_of_settings_is_no_command_line(text):
    with pytest.raises(BadConfig, match=r"this is a file of settings(.|\n)*the words of its command alone"):
        parse_command(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("koboldcpp --model x.gguf --contextsize 9", "--ropeconfig SCALE BASE is --rope-freq-scale"),
        ("python koboldcpp.py --model x.gguf", "koboldcpp: there is no such file, and this launcher is not known"),
        ("lmdeploy serve api_server a/b --rope-scaling-factor 4", "lmdeploy"),
        ("text-generation-launcher --model-id a/b --rope-scaling dynamic", "text-generation-inference"),
        ("docker run ghcr.io/huggingface/text-generation-inference:2 --model-id a/b", "text-generation-inference: there"),
        ("transformers serve a/b", "doctor FOLDER --for transformers"),
        ("python train.py --backend vllm", "train: there is no such file"),
        ("aphrodite run a/b", "Known are vllm serve"),
        ("llama-factory train x.yaml", "look at the checkpoint that it saves"),
        ("llamafactory-cli train --rope_scaling yarn", "look at the checkpoint that it saves"),
        ("python3 -m verl.trainer.main_ppo a.path=b", "Write the stretch into the config before"),
        ("llama-swap --config x.yaml", "It starts llama-server with the lines of its config"),
        ("python test_inference.py -m a -rs 4", "its rope_scale is linear"),
    ],
)
def test_launchers_that_are_not_known_are_named(text, words):
    assert not is_command(text)
    with pytest.raises(BadConfig, match="not known") as refusal:
        parse_command(text)
    assert words in str(refusal.value)
