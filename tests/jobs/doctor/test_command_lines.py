"""What engines make of whole command lines: overrides laid over or merged, windows that nothing stretches to, flags."""

import json

import pytest

from ropewalk.engines.keys import Keys
from ropewalk.errors import BadConfig
from ropewalk.jobs.doctor.static import examine
from ropewalk.jobs.doctor.target import resolve
from support import engine_oracles as oracle
from support.gguf_writer import gguf
from support.oracles import transformers_rotary
from support.published import LLAMA31_8B, PHI3_MINI_128K, QWEN3_8B

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
LONG = {**YARN, "original_max_position_embeddings": 262_144}
# Qwen3.5's text part (field case 02): a window of 262,144, a quarter of each head rotated
NESTED = {"model_type": "qwen3_5", "text_config": {
    "model_type": "qwen3_5_text", "hidden_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256,
    "num_hidden_layers": 32, "max_position_embeddings": 262_144,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25,
                        "mrope_section": [11, 11, 10], "mrope_interleaved": True}}}  # fmt: skip
PARTIAL = {**QWEN3_8B, "model_type": "solar_open",  # whose class reads the share; Qwen3's does not
           "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}}  # fmt: skip
del PARTIAL["rope_theta"], PARTIAL["rope_scaling"]
LLAMA = {"general.architecture": "llama", "llama.context_length": 32_768, "llama.rope.dimension_count": 128,
         "llama.rope.freq_base": 1e4}  # fmt: skip
VLLM, SGLANG = "vllm serve FILE --hf-overrides", "python -m sglang.launch_server --model-path FILE --json-model-override-args"


def looked_at(tmp_path, command, config):
    """(what is found, the keys): FILE in the command is the config, or a GGUF of the keys."""
    path = tmp_path / ("x.gguf" if "general.architecture" in config else "config.json")
    path.write_bytes(gguf(config)) if path.suffix == ".gguf" else path.write_text(json.dumps(config))
    target = resolve(command.replace("FILE", str(path)), lambda name: pytest.fail(name))
    (found,) = examine(target)
    return [loss.said for loss in found.losses], target.layers[0]


def pairs(keys: Keys) -> tuple[int, float, str]:
    return keys.rope.rotary_dim // 2, keys.rope.rope_theta, keys.rope_type


@pytest.mark.parametrize(
    ("command", "config", "says"),
    [
        # vllm 0.32.0, _update_nested: dicts inside text_config are merged; base, share and sections stay
        (f"{VLLM} '{json.dumps({'text_config': {'rope_parameters': LONG, 'max_position_embeddings': 2**20}})}'", NESTED, []),
        # _apply_dict_overrides: anything else is set on the outer config
        (f"{VLLM} '{json.dumps({'rope_parameters': LONG})}'", NESTED, ["vLLM ignores rope_parameters outside text_config"]),
        (f"{VLLM} '{json.dumps({'rope_scaling': LONG, 'rope_theta': 1e7})}'", NESTED, ["outside text_config"]),
        (f"{VLLM}.rope_parameters.rope_type yarn --hf-overrides.rope_parameters.factor 4", NESTED,
         ["outside text_config"]),
        # sglang 0.5.23, config.py:411: text_config.update sets the dict, and the base is gone
        (f"{SGLANG} '{json.dumps({'text_config': {'rope_parameters': LONG, 'max_position_embeddings': 2**20}})}'", NESTED,
         ["SGLang ignores the base"]),
        (f"{SGLANG} '{json.dumps({'rope_parameters': LONG})}'", NESTED,
         ["SGLang ignores rope_parameters outside text_config"]),
        # a flat model: vLLM sets the dict, SGLang merges it
        (f"{VLLM} '{json.dumps({'rope_parameters': {**YARN, 'rope_theta': 1e6}, 'max_position_embeddings': 131_072})}'",
         PARTIAL, ["vLLM >= 0.19.1 ignores partial_rotary_factor"]),
        (f"{SGLANG} '{json.dumps({'rope_parameters': YARN, 'max_position_embeddings': 131_072})}'", PARTIAL, []),
        # transformers 5.23: config.rope_theta = x leaves config.rope_parameters["rope_theta"] as it was (run)
        (f"{VLLM} '{json.dumps({'rope_theta': 8e6})}'", QWEN3_8B, ["ignores rope_theta beside rope_parameters"]),
        (f"{VLLM} '{json.dumps({'rope_parameters': YARN, 'rope_theta': 1e6})}'", QWEN3_8B, ["ignores the base", "caps"]),
    ],
)  # fmt: skip
def test_overrides(tmp_path, command, config, says):
    said, _ = looked_at(tmp_path, command, config)
    assert len(said) == len(says), said
    assert all(any(words in one for one in said) for words in says), said


def test_a_nested_override_keeps_what_it_does_not_name(tmp_path):
    """Field case 02b: 32 of 128 pairs at base 1e7 (model's card), yarn x4; not 128 at 10,000."""
    override = json.dumps({"text_config": {"rope_parameters": LONG, "max_position_embeddings": 2**20}})
    said, keys = looked_at(tmp_path, f"{VLLM} '{override}' --max-model-len 1048576", NESTED)
    assert (said, pairs(keys), keys.factor) == ([], (32, 1e7, "yarn"), 4.0)


@pytest.mark.parametrize(
    ("command", "config", "positions"),
    [
        ("VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve FILE --max-model-len 131072", QWEN3_8B, "40,960..131,071"),
        ("export SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=true; python -m sglang.launch_server --model-path FILE "
         "--context-length 131072", QWEN3_8B, "40,960..131,071"),
        (f"{VLLM} '{{\"max_position_embeddings\": 131072}}' --max-model-len 131072", QWEN3_8B, "40,960..131,071"),
        (f"{VLLM}.max_position_embeddings=131072", QWEN3_8B, "40,960..131,071"),
        (f"{SGLANG} '{{\"max_position_embeddings\": 131072}}'", QWEN3_8B, "40,960..131,071"),
        ("llama-server -m FILE -c 131072", LLAMA, "32,768..131,071"),
        ("llama-cli -m FILE -c 131072 -ngl 99 --no-mmap", LLAMA, "32,768..131,071"),
        ("LLAMA_ARG_CTX_SIZE=131072 llama-server -m FILE", LLAMA, "32,768..131,071"),
        ("llama-server -m FILE --override-kv llama.context_length=int:131072", LLAMA, "32,768..131,071"),
        ("llama-server -m FILE -c 131072 --rope-scaling yarn --rope-scale 2 --yarn-orig-ctx 32768", LLAMA, "65,536..131,071"),
        ("trtllm-serve FILE --max_seq_len 131072", QWEN3_8B, "40,960..131,071"),
    ],
)  # fmt: skip
def test_a_window_that_nothing_stretches_to(tmp_path, command, config, positions):
    said, _ = looked_at(tmp_path, command, config)
    assert [one for one in said if f"no stretch reaches positions {positions}" in one], said


@pytest.mark.parametrize(
    ("command", "config"),
    [
        ("vllm serve FILE --max-model-len auto", QWEN3_8B),
        ("vllm serve FILE --max-model-len 40960", QWEN3_8B),
        ("llama-server -m FILE -c 0", LLAMA),
        ("llama-server -m FILE -c 131072 -np 4", LLAMA),  # a quarter each (llama-context.cpp: n_ctx / n_seq_max)
        ("llama-cli -m FILE -c 131072 --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 32768", LLAMA),
        ("llama-cli -m FILE -c 131072 --rope-freq-scale 0.25", LLAMA),
        ("llama-cli -m FILE -c 65536 --rope-freq-base 80000", LLAMA),  # a larger base stretches, and nobody knows how far
        ("llama-server -m FILE --override-kv llama.context_length=int:131072 -c 131072 --rope-scaling yarn --rope-scale 4 "
         "--yarn-orig-ctx 32768", LLAMA),
        ("llama-server -m FILE --override-kv llama.context_length=int:131072,llama.rope.freq_base=float:1000000", LLAMA),
    ],
)  # fmt: skip
def test_windows_that_are_reached(tmp_path, command, config):
    assert looked_at(tmp_path, command, config)[0] == []


@pytest.mark.parametrize(
    ("flags", "kind", "factor", "base"),
    [
        ("--rope-freq-scale 0.25", "linear", 4.0, 1e4),  # "defaults to linear unless specified by the model"
        ("--rope-scale 4", "linear", 4.0, 1e4),
        ("--rope-freq-base 80000 --rope-freq-scale 0.5", "linear", 2.0, 8e4),
        ("--no-mmap --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 8192", "yarn", 4.0, 1e4),
        ("--rope-scaling yarn --yarn-orig-ctx 8192", "yarn", 1.0, 1e4),  # no scale anywhere is a scale of 1
        ("--rope-freq-scale 0 --rope-freq-base 0 --yarn-attn-factor 1 --yarn-beta-slow -1", "default", 1.0, 1e4),  # the file's
        ("--override-kv llama.rope.freq_base=float:1000000", "default", 1.0, 1e6),
        ("--override-kv llama.rope.scaling.type=str:yarn,llama.rope.scaling.factor=float:4", "yarn", 4.0, 1e4),
    ],
)
def test_what_flags_of_llama_cpp_say(tmp_path, flags, kind, factor, base):
    _, keys = looked_at(tmp_path, f"llama-cli -m FILE {flags}", LLAMA)
    assert (keys.rope_type, keys.factor, keys.rope.rope_theta) == (kind, factor, base)


def test_a_window_that_vllm_is_allowed_is_not_capped(tmp_path):
    """config/model.py: under the variable --max-model-len stays, and yarn's table is as long as L s (yarn_scaling_rope.py).

    Qwen's cards write it so, without max_position_embeddings: ls1intum/edutelligence#744.
    """
    override = json.dumps({"rope_parameters": {**YARN, "rope_theta": 1e6}})
    line = f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 {VLLM} '{override}' --max-model-len"
    assert looked_at(tmp_path, f"{line} 131072", QWEN3_8B)[0] == []
    assert "no stretch reaches positions 131,072..131,999" in looked_at(tmp_path, f"{line} 132000", QWEN3_8B)[0][0]
    assert "caps the window" in looked_at(tmp_path, f"{VLLM} '{override}'", QWEN3_8B)[0][0]


@pytest.mark.parametrize("flags", [f"--rope-scaling '{json.dumps(YARN)}'", "--rope-theta 5000000"])
def test_both_flags_of_rope_are_gone(tmp_path, flags):
    """vllm-project/vllm#28006, in 0.11.1."""
    said, _ = looked_at(tmp_path, f"vllm serve FILE {flags}", QWEN3_8B)
    assert said == [f"vLLM >= 0.11.1 does not run with {flags.partition(' ')[0]}, which is gone"]


@pytest.mark.parametrize(
    ("front", "named"),
    [
        ("docker run --gpus all vllm/vllm-openai:v0.8.5 --model FILE", "vLLM 0.8.5"),
        ("docker run --gpus all vllm/vllm-openai:v0.10.2-x86_64 --model FILE", "vLLM 0.10.2"),
        ("pip install vllm==0.8.5.post1 && vllm serve FILE", "vLLM 0.8.5"),
        ("uv run --with 'vllm[flashinfer]==0.9.1' vllm serve FILE", "vLLM 0.9.1"),
        ("uvx vllm@0.9.1 serve FILE", "vLLM 0.9.1"),
        ("docker run vllm/vllm-openai:latest --model FILE", "vLLM 0.33"),
        ("docker run nvcr.io/nvidia/vllm:25.09-py3 vllm serve FILE", "vLLM 0.33"),
        ("vllm serve FILE", "vLLM 0.33"),
    ],
)
def test_a_version_that_a_line_says(tmp_path, front, named):
    """--rope-scaling was there until 0.11.1 (vllm-project/vllm#28006), and is an error only since."""
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    line = f"{front} --rope-scaling '{json.dumps(YARN)}' --max-model-len 131072".replace("FILE", str(tmp_path))
    (found,) = examine(resolve(line, pytest.fail))
    assert (found.name, bool(found.losses)) == (named, named == "vLLM 0.33")
    (asked,) = examine(resolve(line, pytest.fail), versions={"vllm": "0.29"})
    assert asked.version == "0.29"
    assert examine(resolve(line, pytest.fail), ("sglang",))[0].version == "0.5.23"


LLAMA31 = {**LLAMA, "llama.context_length": 131_072, "llama.rope.freq_base": 5e5}
BANDS = [1.0] * 29 + [2.0] * 6 + [8.0] * 29


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("--rope-scaling yarn --rope-scale 2 --yarn-orig-ctx 131072 -c 262144",
         {"rope-scaling": "yarn", "rope-scale": 2, "yarn-orig-ctx": 131_072}),
        ("--rope-scaling linear --rope-scale 2 -c 262144", {"rope-scaling": "linear", "rope-scale": 2}),
        ("--rope-scale 2 -c 262144", {"rope-scale": 2}),
        ("--rope-scaling none", {"rope-scaling": "none"}),
        ("--rope-freq-base 1000000", {"rope-freq-base": 1e6}),
    ],
)  # fmt: skip
def test_flags_act_beside_the_rope_factors_of_a_gguf(tmp_path, line, flags):
    """Llama 3.1's bands are a tensor, which ggml_rope_cache_init divides by whatever the type; the oracle is ggml's text."""
    (tmp_path / "x.gguf").write_bytes(gguf(LLAMA31, {"rope_freqs.weight": BANDS}))
    (found,) = examine(resolve(f"llama-cli -m {tmp_path}/x.gguf {line}", pytest.fail))
    inv_freq, m = oracle.ggml({**LLAMA31, "rope_freqs.weight": BANDS}, flags)
    assert (found.losses, found.rotations[0].scaled.attention_factor) == ((), pytest.approx(m))
    assert found.rotations[0].scaled.inv_freq == pytest.approx(list(inv_freq))


def test_flags_act_beside_the_bands_of_a_config(tmp_path):
    """conversion/llama.py writes llama3 as rope_freqs.weight: its frequencies by transformers, and linear x2 divides them."""
    line = "llama-cli -m FILE -c 262144 --rope-scale 2"
    said, keys = looked_at(tmp_path, line, LLAMA31_8B)
    bands, _ = transformers_rotary(LLAMA31_8B)
    assert (said, keys.rope_type, keys.target) == ([], "linear", 262_144)
    assert keys.scaled().inv_freq == pytest.approx([theta / 2 for theta in bands], rel=1e-6)
    with pytest.raises(BadConfig, match="beside what the converter makes of longrope"):
        looked_at(tmp_path, line, PHI3_MINI_128K)


def test_flags_beside_two_lists_are_refused(tmp_path):
    lists = {"rope_factors_long.weight": [2.0] * 64, "rope_factors_short.weight": [1.0] * 64}
    (tmp_path / "x.gguf").write_bytes(gguf(LLAMA31, lists))
    with pytest.raises(BadConfig, match="beside the long and short factors"):
        resolve(f"llama-cli -m {tmp_path}/x.gguf --rope-scale 2", pytest.fail)


@pytest.mark.parametrize(
    ("flags", "positions"),
    [
        ("--rope-scaling none", "32,768"),
        ("--rope-freq-scale 1", "32,768"),
        ("--rope-scale 2", "65,536"),
    ],
)
def test_flags_that_stretch_less_far_than_the_file(tmp_path, flags, positions):
    """llama-context.cpp: a type and a scale of the command line stand in place of the file's."""
    stretched = {**LLAMA, "llama.context_length": 131_072, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
                 "llama.rope.scaling.original_context_length": 32_768}  # fmt: skip
    said, _ = looked_at(tmp_path, f"llama-cli -m FILE {flags}", stretched)
    assert said == [f"llama.cpp goes past the window: no stretch reaches positions {positions}..131,071"]
    assert looked_at(tmp_path, f"llama-cli -m FILE {flags} -c {positions.replace(',', '')}", stretched)[0] == []


def test_a_length_that_is_stretched_already(tmp_path):
    """The file's yarn x4 from 32,768 is replaced by x4 from 131,072: no pair is slowed more than before."""
    stretched = {**LLAMA, "llama.context_length": 131_072, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
                 "llama.rope.scaling.original_context_length": 32_768}  # fmt: skip
    line = "llama-cli -m FILE -c 524288 --rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 131072"
    assert "no stretch reaches positions 131,072..524,287" in looked_at(tmp_path, line, stretched)[0][0]


@pytest.mark.parametrize(
    ("override", "config", "positions"),
    [
        # Llama 3.1 was trained at 8,192 and with llama3 x8 (its card): yarn x2 in place of that reaches 16,384
        ({"rope_parameters": {**YARN, "factor": 2.0, "original_max_position_embeddings": 131_072, "rope_theta": 5e5},
          "max_position_embeddings": 262_144}, LLAMA31_8B, "16,384..262,143"),
        ({"rope_parameters": {**YARN, "factor": 16.0, "original_max_position_embeddings": 8192, "rope_theta": 5e5}},
         LLAMA31_8B, None),
        ({"rope_scaling": None}, LLAMA31_8B, "8,192..131,071"),
        ({"rope_scaling": None}, PHI3_MINI_128K, "4,096..131,071"),
        ({"max_position_embeddings": 131_072}, LLAMA31_8B, None),
        ({"architectures": ["X"]}, LLAMA31_8B, None),
    ],
)  # fmt: skip
def test_an_override_in_place_of_a_stretch(tmp_path, override, config, positions):
    """_apply_dict_overrides sets the dict: what stood there is gone, and the new one starts where the model was trained."""
    said, _ = looked_at(tmp_path, f"{VLLM} '{json.dumps(override)}'", config)
    assert [one for one in said if "no stretch reaches" in one] == (
        [f"vLLM goes past the window: no stretch reaches positions {positions}"] if positions else []
    ), said


def test_a_scale_in_place_of_the_files(tmp_path):
    """Linear x4 at 16,384 tokens is a model of 4,096: x16 reaches 65,536."""
    linear = {**LLAMA, "llama.context_length": 16_384, "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    said, keys = looked_at(tmp_path, "llama-cli -m FILE -c 131072 --rope-scale 16", linear)
    assert (keys.rope.original_length, keys.target) == (4096, 65_536)
    assert said == ["llama.cpp goes past the window: no stretch reaches positions 65,536..131,071"]


def test_the_first_of_several_is_said_to_be_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    one = f"vllm serve {tmp_path}"
    assert resolve(one, pytest.fail).title == str(tmp_path)
    assert resolve(f"{one} --port 1 & {one} --port 2", pytest.fail).title == f"{tmp_path} (the first of 2 commands here)"


def test_a_server_caps_a_slot_whatever_linear_flags_say(tmp_path):
    """tools/server/server-context.cpp caps at n_ctx_train, which yarn's flags alone raise (llama-context.cpp)."""
    said, _ = looked_at(tmp_path, "llama-server -m FILE -c 65536 --rope-scale 2", LLAMA)
    assert said == ["llama.cpp caps the window at context_length, whatever these flags stretch: 32,768 tokens"]
    raised = "llama-server -m FILE -c 65536 --rope-scale 2 --override-kv llama.context_length=int:65536"
    assert looked_at(tmp_path, raised, LLAMA)[0] == []


@pytest.mark.parametrize("context", ["", "-c 0"])
@pytest.mark.parametrize("flags", ["--rope-scale 2", "--rope-scaling yarn --rope-scale 2 --yarn-orig-ctx 32768"])
def test_flags_without_a_context_stretch_what_is_not_read(tmp_path, flags, context):
    """llama-context.cpp: n_ctx 0 becomes n_ctx_train, and llama_init_from_model raises that for yarn only afterwards."""
    said, _ = looked_at(tmp_path, f"llama-cli -m FILE {flags} {context}", LLAMA)
    assert said == [
        "llama.cpp caps the window at context_length, where no -c asks for the 65,536 that flags stretch to: 32,768 tokens"
    ]
    assert looked_at(tmp_path, f"llama-cli -m FILE {flags} -c 65536", LLAMA)[0] == []


@pytest.mark.parametrize("program", ["mlx_lm.lora", "python -m mlx_lm lora", "mlx_lm lora"])
def test_mlx_trains_past_the_window_where_it_is_told_so(tmp_path, program):
    """mlx-lm 0.32.2, lora.py hands max_seq_length to tuner/trainer.py, which cuts rows there and asks no config."""
    plain = {"model_type": "llama", "head_dim": 64, "max_position_embeddings": 4096, "rope_theta": 1e4}
    rows = f"{program} --model FILE --train --data rows --max-seq-length"
    assert looked_at(tmp_path, f"{rows} 4096", plain)[0] == []
    assert looked_at(tmp_path, f"{rows} 8192", plain)[0] == [
        "MLX-LM goes past the window: no stretch reaches positions 4,096..8,191"
    ]
    linear = {**plain, "max_position_embeddings": 8192, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert looked_at(tmp_path, f"{rows} 8192", linear)[0] == []


def test_llama_cpp_python_reads_2048_tokens_unless_told(tmp_path):
    """abetlen/llama-cpp-python@03f8007, llama_cpp/server/settings.py: n_ctx is 2048, and 0 is the file's context_length."""
    server = "python -m llama_cpp.server --model FILE"
    capped = ["llama.cpp caps the window at the n_ctx that llama-cpp-python takes where none is given: 2,048 tokens"]
    assert looked_at(tmp_path, f"{server} --rope_freq_scale 0.5", LLAMA)[0] == capped
    assert looked_at(tmp_path, server, LLAMA)[0] == capped
    assert looked_at(tmp_path, f"{server} --n_ctx 2048", LLAMA)[0] == []
    assert looked_at(tmp_path, f"{server} --n_ctx 0", LLAMA)[0] == []
    assert looked_at(tmp_path, server, {**LLAMA, "llama.context_length": 2048})[0] == []


def test_long_lists_are_chosen_once_by_the_context(tmp_path):
    """vLLM: max_model_len > L (phi3_long_rope_scaled_rope.py:51); llama.cpp: n_ctx_seq > L (get_rope_factors)."""
    equal = {**PHI3_MINI_128K, "max_position_embeddings": 4096}
    (tmp_path / "config.json").write_text(json.dumps(equal))
    for diagnosis in examine(resolve(str(tmp_path), pytest.fail), ("vllm", "sglang", "llama.cpp")):
        assert diagnosis.losses == (), diagnosis.engine
    for command in ("vllm serve FILE --max-model-len 4096", "llama-server -m FILE -c 4096"):
        assert looked_at(tmp_path, command, PHI3_MINI_128K)[0] == []
    assert "short_factor" in looked_at(tmp_path, "vllm serve FILE --max-model-len 4097", PHI3_MINI_128K)[0][0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("llama-server -hf a/b:Q4_K_M -c 9", "Give the file, or the config.json of the model, as config (--config)"),
        ("llama-server -m nowhere/x.gguf -c 9", "nowhere/x.gguf: no such folder or file"),
        (
            "docker run -v x:/m ghcr.io/ggml-org/llama.cpp:server -m /m/x.gguf",
            "give its config.json or GGUF as config (--config)",
        ),
        ("ollama run llama3.1", "names of its own library"),
        ("ollama run FILE", "is no GGUF"),
        ("vllm serve FILE --config options.yaml", "Write them on the command line"),
        ("vllm serve --config options.yaml", "Write them on the command line"),
        (
            "trtllm-serve FILE --max_seq_len 9 --extra_llm_api_options o.yaml",
            "or leave it out where it says nothing of the rot",
        ),
        # what each program's own parser has: argparse, click and common/arg.cpp stop at what they do not know
        (
            "python -m sglang.launch_server --model-path FILE --rope-scaling '{}'",
            "--context-length, --json-model-override-args",
        ),
        ("python -m sglang.launch_server --model-path FILE --max-model-len 9", "--max-model-len is an option of vLLM"),
        ("mlx_lm.server --model FILE --hf-overrides '{}'", "It takes what the model's files say"),
        ("vllm serve FILE --json-model-override-args '{}'", "--json-model-override-args is an option of SGLang"),
        ("vllm serve FILE --hf-overrides '{\"max_model_len\": 131072}'", "sets 'max_model_len', which no config has"),
        ("llama-server -m FILE --max-model-len 9", "--max-model-len is an option of vLLM"),
        ("llama-server --models-preset presets.ini -c 9", "Look at one at a time"),
        ("llama-server -m FILE -c 9 --rope-scaling", "--rope-scaling has no value"),
        ("vllm serve FILE --max-model-len", "--max-model-len has no value"),
        # common/arg.cpp: std::stoi("32k") is 32; sglang's and trtllm-serve's are whole numbers of argparse and click
        ("llama-server -m FILE -c 32k", "takes no units"),
        ("python -m sglang.launch_server --model-path FILE --context-length 128k", "Write 128000"),
        ("llama-server -m FILE --override-kv llama.context_length=131072", "KEY=TYPE:VALUE"),
        ("llama-server -m FILE --override-kv llama.context_length=int:many", "'many' is no int"),
        ("llama-server -m FILE --override-kv qwen2.context_length=int:131072 -c 131072", "this GGUF is llama"),
        # common/arg.cpp: --rope-freq-scale N is 1 / factor
        ("llama-server -m FILE --rope-freq-scale 4", "--rope-scale 4, or --rope-freq-scale 0.25"),
        ("llama-server -m FILE --yarn-ext-factor 0.5", "mixes two rotations"),
        # llama-context.cpp: without yarn it is what cos and sin are multiplied by
        ("llama-server -m FILE --rope-scale 4 --yarn-attn-factor 1.2", "multiplies cos and sin here"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_way_out(tmp_path, command, words):
    with pytest.raises(BadConfig) as refusal:
        looked_at(tmp_path, command, LLAMA if any(name in command for name in ("override-kv", "yarn", "freq")) else QWEN3_8B)
    assert words in str(refusal.value)
