"""Compose files and Kubernetes manifests say what the command lines in them say."""

import json
import shlex

import pytest

from ropewalk.engines.commands import parse_command
from ropewalk.errors import BadConfig
from ropewalk.jobs.doctor.deployments import command_lines
from ropewalk.jobs.doctor.static import examine
from ropewalk.jobs.doctor.target import is_deployment, resolve
from ropewalk.progress import Silent
from support.published import QWEN3_8B

# Qwen3-8B's card: its stretch, and the length that goes with it.
YARN = '{"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}}'
PASTED = f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve FOLDER --hf-overrides '{YARN}' --max-model-len 131072"

COMPOSE_LIST = f"""
services:
  web:
    image: ghcr.io/open-webui/open-webui:main
    environment: [OPENAI_API_BASE_URL=http://vllm:8000/v1]
  vllm:
    image: vllm/vllm-openai:latest
    command: ["--model", "FOLDER", "--hf-overrides", '{YARN}', "--max-model-len", 131072]
    environment:
      - VLLM_ALLOW_LONG_MAX_MODEL_LEN=1
      - HF_TOKEN=${{HF_TOKEN}}
"""
COMPOSE_TEXT = f"""
x-shared: &shared
  image: vllm/vllm-openai:${{TAG:-v0.8.5}}
  environment:
    VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1
services:
  vllm:
    <<: *shared
    command: >
      --model FOLDER
      --hf-overrides '{YARN}'
      --max-model-len ${{LENGTH}}
"""
POD = f"""
apiVersion: v1
kind: Service
metadata: {{name: llm}}
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: llm
        image: registry.example/ours:1
        command: ["/bin/sh", "-c"]
        args:
        - vllm serve FOLDER --hf-overrides '{YARN}' --max-model-len $(LENGTH)
        env:
        - {{name: VLLM_ALLOW_LONG_MAX_MODEL_LEN, value: "1"}}
        - {{name: LENGTH, value: "131072"}}
        - name: HF_TOKEN
          valueFrom: {{secretKeyRef: {{name: hf, key: token}}}}
"""


def looked_at(tmp_path, text):
    """What is found of a file, or of a line."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    text = text.replace("FOLDER", str(tmp_path))
    if "\n" in text:
        (tmp_path / "made.yaml").write_text(text)
        text = str(tmp_path / "made.yaml")
    (found,) = examine(resolve(text, pytest.fail))
    return found


# As a public collection of Compose files has it (noonghunna/club-3090): a script of several lines that is given the command.
SCRIPT = f"""
services:
  llm:
    image: ${{IMAGE:-vllm/vllm-openai:latest}}
    environment: [VLLM_ALLOW_LONG_MAX_MODEL_LEN=1, "DEVICES=${{ALL:-${{SOME:-all}}}}", CUDA_VISIBLE_DEVICES]
    entrypoint:
      - /bin/bash
      - -c
      - |
        # without a bridge between the cards
        source /etc/detect.sh
        if [ "$${{_LINKED:-0}}" = "1" ]; then
          exec vllm serve "$$@"
        else
          exec vllm serve --disable-custom-all-reduce "$$@"
        fi
      - --
    command:
      - --override-generation-config
      - '{{"temperature":${{TEMP:-${{TEMPERATURE:-1.0}}}},"top_k":${{TOP_K:-64}}}}'
      - --model
      - FOLDER
      - --hf-overrides
      - '{YARN}'
      - --max-model-len
      - "${{MAX_MODEL_LEN:-${{LENGTH:-262144}}}}"
"""


@pytest.mark.parametrize("text", [COMPOSE_LIST, COMPOSE_TEXT, POD, SCRIPT])
def test_a_file_is_its_command_line(tmp_path, text):
    (tmp_path / ".env").write_text("# of the stack\nexport TAG='latest'\nLENGTH=131072 # tokens\n")
    found, pasted = looked_at(tmp_path, text), looked_at(tmp_path, PASTED)
    assert found == pasted
    # Without the variable vLLM takes no length beyond the config's, so all of it was read.
    other = looked_at(tmp_path, PASTED.partition(" ")[2])
    assert found != other


def test_the_first_of_several_is_looked_at(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    (tmp_path / "c.yml").write_text(
        "services:\n"
        f"  one: {{image: 'vllm/vllm-openai:v0.11.0', command: --model {tmp_path}}}\n"
        f"  two: {{image: x, entrypoint: [python, -m, sglang.launch_server], command: --model-path {tmp_path}}}\n"
    )
    target = resolve(str(tmp_path / "c.yml"), pytest.fail)
    assert (target.engines, target.version) == (("vllm",), "0.11.0")
    assert "the first of 2" in target.title
    assert parse_command(command_lines(tmp_path / "c.yml", print)).of == 2


def test_a_variable_of_the_container_reaches_its_shell():
    assert parse_command("docker run -e MODEL=a/b -e X=1 img bash -c 'vllm serve $MODEL'").model == "a/b"
    assert parse_command("bash -c 'vllm serve \"$@\"' -- a/b --max-model-len 9").options == {"max-model-len": "9"}
    assert parse_command("sh -c 'cd /x\nvllm serve a/b\nvllm serve c/d'").of == 2
    command = parse_command("docker run -e VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 img sh -c 'vllm serve a/b'")
    assert command.environment == {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services:\n  db: {image: postgres}\n", r"no container of \S+c.yml starts an engine (.|\n)*: db \(postgres\)"),
        ("services:\n  db:\n", r"none has a name"),
        (
            "services:\n  llm: {image: vllm/vllm-openai, command: '--model ${MODEL}'}\n",
            r"the command of llm takes MODEL from elsewhere\.\n  Write the value in",
        ),
        (
            "services:\n  llm: {image: vllm/vllm-openai, command: '--model ${MODEL:?set it}'}\n",
            r"takes MODEL from elsewhere",
        ),
        (
            "spec:\n  containers:\n  - {name: a, image: vllm/vllm-openai, args: [--model, $(M)]}\n",
            "of a takes M from elsewhere",
        ),
        ("services:\n  llm: [\n", r"is not valid YAML"),
        ("spec:\n  containers:\n  - name: {{ .Values.name }}\n    args: [\n", "It is a template: `helm template` fills it in"),
        ('services:\n  llm: {image: vllm/vllm-openai, command: "--model \'a"}\n', "command of llm cannot be split into words"),
        ("services:\n  llm: {image: !secret x}\n", "is not valid YAML"),
        (
            "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(40))
            + "services:\n  db: {image: *a39, command: [*a39], environment: [*a39], entrypoint: *a39}\n",
            r"starts an engine (.|\n)*: db\.",
        ),
        ("a: &a\n  b: *a\n  containers:\n  - 3\n", "none has a name"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, text, says):
    (tmp_path / "c.yml").write_text(text)
    assert is_deployment(tmp_path / "c.yml")
    with pytest.raises(BadConfig, match=says):
        resolve(str(tmp_path / "c.yml"), pytest.fail)


def test_variables_from_elsewhere_are_told(tmp_path):
    told = []
    (tmp_path / "c.yml").write_text("services:\n  llm: {image: vllm/vllm-openai, command: --model a/b, env_file: x}\n")
    line = command_lines(tmp_path / "c.yml", told.append)
    assert line == "docker run vllm/vllm-openai --model a/b"
    assert told == ["llm takes settings from elsewhere too (env_file), which are not read here."]


@pytest.mark.parametrize(
    ("text", "line"),
    [  # the tables of the Compose specification's "Interpolation", and of Kubernetes' $(VAR) and $$(VAR)
        ("services:\n  a: {command: [vllm, serve, '${A-x}', '${B:-y}', '${A:+z}', '$$C']}\n", "vllm serve 1 y z '$C'"),
        (
            "containers:\n- {name: a, args: [vllm, serve, $(A), $$(A)], env: [{name: A, value: b}]}\n",
            "-e A=b vllm serve b '$(A)'",
        ),
        (
            "services:\n  a: {command: [vllm, serve, '${B:-${C-${A}}}', '${A:-$$x}', '${B:+--x ${B}}']}\n",
            "vllm serve 1 1 ''",
        ),
        (
            "services:\n  a: {command: [vllm, serve, m, --x, true], environment: {A: true, B:}}\n",
            "-e A=true vllm serve m --x true",
        ),
    ],
)
def test_variables_are_filled_in(tmp_path, text, line):
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "c.yml").write_text(text)
    assert command_lines(tmp_path / "c.yml", print) == f"docker run {line}"


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("vllm serve a/b --nnodes $(N) --host=$(N)", False),  # an operator's own variables: kubernetes-sigs/lws
        ("vllm serve $(N)/b", True),
        ("vllm serve a/b $(N)", True),
        ("vllm serve a/b --max-model-len $(N)", True),
        ("vllm serve a/b --max-model-len=$(N)", True),
        ("vllm serve a/b --hf-overrides.rope_theta $(N)", True),
        ("vllm serve a/b --enforce-eager $(N)", True),
        ("vllm serve a/b --port=1 $(N)", True),
        ("vllm serve a/b --$(N) 3", True),
        ("sh -c 'start --size=$(N); vllm serve a/b'", False),
    ],
)
def test_only_what_may_count_is_asked_for(tmp_path, words, refused):
    (tmp_path / "c.yml").write_text(json.dumps({"containers": [{"name": "a", "args": shlex.split(words)}]}))
    if refused:
        with pytest.raises(BadConfig, match="command of a takes N from elsewhere"):
            command_lines(tmp_path / "c.yml", print)
    else:
        assert parse_command(command_lines(tmp_path / "c.yml", print)).model == "a/b"


def test_a_container_may_say_all_in_variables(tmp_path):
    """llama.cpp, tools/server/README.md: its Docker Compose example."""
    (tmp_path / "c.yml").write_text(
        "services:\n  llm:\n    image: ghcr.io/ggml-org/llama.cpp:server\n    environment:\n"
        "      LLAMA_ARG_MODEL_URL: https://example.com/x.gguf\n      LLAMA_ARG_CTX_SIZE: 4096\n"
    )
    command = parse_command(command_lines(tmp_path / "c.yml", print))
    assert (command.engine, command.model, command.options["ctx-size"]) == (
        "llama_cpp",
        "https://example.com/x.gguf",
        "4096",
    )


def test_resolve_tells_what_it_does_not_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    (tmp_path / "c.yml").write_text(
        f"spec: {{containers: [{{name: a, image: vllm/vllm-openai, args: [--model, {tmp_path}], envFrom: [{{}}]}}]}}\n"
    )
    told = []
    watch = Silent()
    watch.note = told.append
    resolve(str(tmp_path / "c.yml"), pytest.fail, progress=watch)
    assert told == ["a takes settings from elsewhere too (envFrom), which are not read here."]
