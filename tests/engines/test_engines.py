"""What each dialect writes, computed by a second implementation of the engine: the plan's numbers to 1e-6, or a refusal."""

import json
import re
import shlex

import pytest

from ropewalk.engines.config_files import write_config
from ropewalk.engines.engine import engines, get_engine
from ropewalk.engines.transformers.write import read
from ropewalk.errors import CannotExpress, RopewalkError, UnknownName
from ropewalk.scaling.plan import make_plan
from support import engine_oracles as oracle
from support.oracles import transformers_rotary
from support.plans import static_plans
from support.published import GEMMA3_4B_TEXT, GPT_OSS_20B, LLAMA2_7B, LLAMA31_8B, QWEN25_7B

NEW, OLD = (0, 33), (0, 31)
PLANS = static_plans(64)
# Engines that read config.json: (oracle, version to write for).
CONFIG_READERS = {
    "transformers": (lambda config, d: transformers_rotary(config, length=config["max_position_embeddings"]), ""),
    "vllm": (lambda config, d: oracle.vllm(config, d, NEW), ""),
    "vllm 0.29": (lambda config, d: oracle.vllm(config, d, OLD), "0.29"),
    "sglang": (oracle.sglang, ""),
    "mlx_lm": (oracle.mlx_lm, ""),
    "tensorrt_llm": (oracle.tensorrt_llm, ""),
}
REFUSED = {
    "transformers": set(),
    "vllm": {"proportional"},
    # attn_factor stands beside attention_factor there; nothing is lost but Gemma 4's factor
    "vllm 0.29": {"proportional"},
    "sglang": {"proportional"},
    "mlx_lm": {"yarn, not rounded", "yarn, paper's ramp", "resonance"},
    "tensorrt_llm": {"proportional", "yarn, not rounded", "yarn, paper's ramp", "resonance"},
}


def plan_of(config, name, factor=4):
    method, options = PLANS[name]
    return make_plan(read(config), factor=factor, method=method, options=options)


def agrees(plan, answer):
    scaled = plan.stretches[0][1].scaled()
    inv_freq, m = answer
    assert list(inv_freq) == pytest.approx(list(scaled.inv_freq), rel=1e-6, abs=0)
    assert m == pytest.approx(scaled.attention_factor, rel=1e-6)


@pytest.mark.parametrize("config", [LLAMA2_7B, QWEN25_7B], ids=["llama2", "qwen25"])
@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("engine", CONFIG_READERS)
def test_engines_that_read_config_json_compute_the_plan(engine, name, config):
    compute, version = CONFIG_READERS[engine]
    plan, dialect = plan_of(config, name), get_engine(engine.split()[0])

    if name in REFUSED[engine]:
        with pytest.raises(CannotExpress):
            dialect.write(plan, config, version)
        return
    agrees(plan, compute(dialect.write(plan, config, version).files["config.json"], 128))


def test_the_carriers_are_the_measured_ones():
    """serving.md 5.1: mscale beside attention_factor for MLX-LM and SGLang, attn_factor for vLLM before 0.30."""
    plan = plan_of(LLAMA2_7B, "ntk_by_parts", factor=8)

    mlx = get_engine("mlx").write(plan, LLAMA2_7B, "").files["config.json"]["rope_scaling"]
    old = get_engine("vllm").write(plan, LLAMA2_7B, "0.29").files["config.json"]["rope_parameters"]

    assert (mlx["attention_factor"], mlx["mscale"], mlx["mscale_all_dim"]) == (1.0, 1.0, 1.0)
    assert old["attn_factor"] == pytest.approx(0.8278528, abs=1e-6)  # 1 / (0.1 ln 8 + 1) = 1 / 1.2079442
    other = make_plan(read(LLAMA2_7B), factor=8, method="yarn", options={"attention_factor": 1.1})
    part = get_engine("sglang").write(other, LLAMA2_7B, "").files["config.json"]["rope_scaling"]
    assert part["mscale"] == pytest.approx(1.5809, abs=1e-4)  # measured there for m = 1.1 and s = 8


def test_one_config_serves_them_all():
    names = ["transformers", "vllm", "sglang", "mlx_lm", "tensorrt_llm"]
    for name in ("linear", "ntk", "yarn", "ntk_by_parts", "yarn, m = 1.1", "llama3"):
        plan = plan_of(LLAMA2_7B, name)
        _, config = write_config([get_engine(n) for n in names], plan, LLAMA2_7B, {})
        for engine in names:
            agrees(plan, CONFIG_READERS[engine][0](config, 128))


GGUF_REFUSED = {
    "llama2": {"proportional"},
    # qwen2's graph has no rope factors
    "qwen25": {"proportional", "yarn, not rounded", "yarn, paper's ramp", "resonance", "llama3", "longrope"},
}
MODELS = {"llama2": LLAMA2_7B, "qwen25": QWEN25_7B}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PLANS)
def test_llama_cpp_computes_the_plan_from_the_keys_or_from_the_flags(name, model):
    config, plan = MODELS[model], plan_of(MODELS[model], name)
    if name in GGUF_REFUSED[model]:
        with pytest.raises(CannotExpress):
            get_engine("llama.cpp").write(plan, config, "")
        return

    written = get_engine("llama.cpp").write(plan, config, "")

    if "gguf-keys.json" in written.files:
        agrees(plan, oracle.ggml(written.files["gguf-keys.json"]))
    original = {"general.architecture": "x", "x.rope.dimension_count": 128, "x.context_length": 4096,
                "x.rope.freq_base": config.get("rope_theta", 1e4)}  # fmt: skip
    for command in written.commands:
        words = shlex.split(command)
        flags = {word[2:]: words[i + 1] for i, word in enumerate(words) if word.startswith("--")}
        if flags:
            agrees(plan, oracle.ggml(original, flags))
    assert written.files or written.carrier == "flags"


def test_ollama_says_what_a_modelfile_can_and_refuses_what_only_flags_can():
    plan = plan_of(QWEN25_7B, "yarn")
    written = get_engine("ollama").write(plan, QWEN25_7B, "")

    assert written.files["Modelfile"] == "FROM ./x.gguf\nPARAMETER num_ctx 131072\n"
    agrees(plan, oracle.ggml(written.files["gguf-keys.json"]))
    with pytest.raises(CannotExpress, match="from command-line flags alone, and Ollama passes none"):
        get_engine("ollama").write(plan_of(QWEN25_7B, "yarn, betas"), QWEN25_7B, "")


# Formats of an engine's own: (its oracle, the plans it can say)
OWN = {
    "gpt_oss": (oracle.gpt_oss, {"none", "yarn, not rounded"}),
    "deepseek": (oracle.deepseek, {"ntk_by_parts"}),
    "mistral": (oracle.mistral, {"none", "ntk", "rope_theta", "ntk_by_parts", "yarn", "yarn, betas"}),
    "megatron": (
        oracle.megatron,
        {"none", "ntk", "rope_theta", "linear", "ntk_by_parts", "yarn", "yarn, betas", "yarn, not rounded", "yarn, m = 1.1",
         "yarn, slope 0.07"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("engine", OWN)
def test_formats_of_their_own_compute_the_plan(engine, name):
    compute, can = OWN[engine]
    plan, dialect = plan_of(LLAMA2_7B, name), get_engine(engine)

    if name not in can:
        with pytest.raises(CannotExpress):
            dialect.write(plan, LLAMA2_7B, "")
        return
    (data,) = dialect.write(plan, LLAMA2_7B, "").files.values()
    agrees(plan, compute(data))
    (keys,) = dialect.read(json.loads(json.dumps(data)))
    agrees(plan, (keys.scaled().inv_freq, keys.scaled().attention_factor))


def test_every_engine_is_computed_a_second_time():
    """A new one is red here until it has: a row in CONFIG_READERS or OWN, or a test of its own as the two that read GGUFs."""
    proven = {name.split()[0] for name in CONFIG_READERS} | {*OWN} | {"llama_cpp", "ollama"}
    assert proven == set(engines())


def test_megatron_has_llama_31s_bands_and_no_others():
    plan = make_plan(read(LLAMA31_8B), factor=8, method="llama3")
    (data,) = get_engine("megatron").write(plan, LLAMA31_8B, "").files.values()

    agrees(plan, oracle.megatron(data))


def test_a_refusal_says_the_reason_and_the_size_of_the_error():
    """gpt-oss without rounding on engines that round: a factor of 1.76 in one pair (algorithms.md 0b: 0.76)."""
    plan = make_plan(read(GPT_OSS_20B), factor=32, method="yarn", options={"truncate": False})
    for engine in ("mlx", "llama.cpp"):
        with pytest.raises(CannotExpress, match=r"truncate: false") as refused:
            get_engine(engine).write(plan, GPT_OSS_20B, "")
        (bound,) = re.findall(r"leaves a frequency x([\d.]+) off, logits x1\b", str(refused.value))
        assert float(bound) == pytest.approx(1.76, abs=0.01)


@pytest.mark.parametrize("engine", engines())
def test_a_dynamic_plan_is_never_written(engine):
    plan = make_plan(read(LLAMA2_7B), factor=4, method="dynamic-request")
    with pytest.raises(CannotExpress, match="ladder"):
        get_engine(engine).write(plan, LLAMA2_7B, "")


def test_layer_types_that_differ_are_refused_where_there_is_one_table():
    plan = make_plan(read(GEMMA3_4B_TEXT), factor=4, method="yarn")
    for engine in ("llama.cpp", "ollama"):
        with pytest.raises(CannotExpress, match="layer types differ"):
            get_engine(engine).write(plan, GEMMA3_4B_TEXT, "")
    config = get_engine("vllm").write(plan, GEMMA3_4B_TEXT, "").files["config.json"]
    assert config["rope_parameters"]["full_attention"]["factor"] == 4.0
    assert config["rope_parameters"]["sliding_attention"]["rope_type"] == "default"


def test_an_unknown_engine_is_told_the_known_ones():
    with pytest.raises(UnknownName, match=r"no engine is called 'vlm'\. Did you mean 'vllm'"):
        get_engine("vlm")
    assert get_engine("llama.cpp") is get_engine("llama-cpp") is engines()["llama_cpp"]
    assert {engine.name for engine in engines().values()} == set(engines())
    assert issubclass(UnknownName, RopewalkError)
