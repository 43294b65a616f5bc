"""The page's reader of a pasted config against the ground floor's, run by node: no browser is needed for that."""

import json
import random
import shutil
import subprocess
from importlib.resources import files

import pytest

from ropewalk.engines.transformers.own_code import OWN_CODE
from ropewalk.engines.transformers.write import read
from ropewalk.errors import RopewalkError
from ropewalk.jobs.explore.models import describe, known_tables, method_table
from ropewalk.jobs.explore.page import for_script
from support import config_oracle
from support.corpus import CORPUS
from support.mutated_configs import mutated

TRANSFORMERS = json.loads((files("ropewalk.jobs.explore") / "dialects" / "transformers.json").read_text(encoding="utf-8"))
KINDS = (
    "gemma3_text gemma4_text gpt_oss jetmoe llama mistral qwen3_next zamba2 olmo3 modernbert-decoder gpt_neox apertus".split()
)
NESTED = [
    {"model_type": "gemma3", "text_config": {"hidden_size": 3840, "num_attention_heads": 16}},
    {"model_type": "llava", "text_config": {"model_type": "vicuna", "max_position_embeddings": 4096}},
    {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": {}}},
    {"model_type": "internvl_chat", "llm_config": {"model_type": "qwen2", "max_position_embeddings": 4096}},
    {"model_type": "paligemma"},
    {"model_type": "voxtral", "text_config": {}},
    {"model_type": "qwen2_5_vl", "max_position_embeddings": 128_000, "rope_theta": 1e6},
    {"model_type": "falcon", "n_head": 71, "hidden_size": 4544},
    {
        "model_type": "llava",
        "num_attention_heads": 56,
        "hidden_size": 7168,
        "max_position_embeddings": 4096,
        "rope_theta": 5e6,
    },
    {
        "model_type": "gemma4_text",
        "layer_types": ["sliding_attention", "full_attention"],
        "per_layer_config": {"01": {"head_dim": 128}},
    },
    {"model_type": "t5gemma", "decoder": {"hidden_size": 512, "num_attention_heads": 8, "head_dim": 64}},
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "max_sequence_length": 16_384,
        "rope_scaling": {"type": "linear", "factor": 4.0},
    },
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "max_position_embeddings": 16_384,
        "max_sequence_length": 16_384,
        "rope_scaling": {"type": "linear", "factor": 4.0},
    },
    {"model_type": "step3_text", "head_dim": 256, "max_seq_len": 65_536, "rope_theta": 5e5},
    {"model_type": "llama", "model_config": {"hidden_size": 4096}, "context_window_size": 8192},
]


@pytest.fixture(scope="module")
def page():
    """A list of configs -> what the page makes of each, or the words it refuses with."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node on the PATH")
    folder = files("ropewalk.jobs.explore") / "js"
    scripts = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in ("math", "config", "spell"))
    data = for_script({"known": known_tables(), "methods": method_table(), "dialects": [TRANSFORMERS]})
    start = f"globalThis.window = {{ropewalk: {{data: {data}}}}};\n{scripts}\n"
    ask = (
        "const asked = JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify(asked.map(c => {"
        "try { return (%s)(c); } catch (error) { return String(error.message); } })))"
    )

    def run(configs, what="window.ropewalk.readConfig"):
        text = json.dumps(configs)
        done = subprocess.run(
            [node, "-e", start + ask % what], input=text, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


def test_pairs_that_stand_still_are_not_written_to_turn(page):
    """google/gemma-4-31b-it: a quarter of the pairs turns, and yarn would turn the rest."""
    rope = {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}
    plain = {"rope_type": "default", "rope_theta": 1e4}
    config = {"model_type": "gemma4_text", "hidden_size": 5376, "num_attention_heads": 32, "head_dim": 256,
              "global_head_dim": 512, "max_position_embeddings": 262_144,
              "rope_parameters": {"full_attention": rope, "sliding_attention": plain}}  # fmt: skip
    write = """c => { const R = window.ropewalk, model = R.readConfig(c), [full] = model.ropes.filter((r) => !r.local);
        const { rotary_dim, rope_theta, original_length } = full, [dialect] = R.data.dialects;
        const plan = (method, options) => ({ stretches: { full_attention: {
            rope: { rotary_dim, rope_theta, original_length }, method, factor: 2, dynamic: false, options } } });
        const said = (...asked) => R.paste(dialect, model, plan(...asked));
        return ["yarn", "none"].map((m) => said(m, {})).concat([said("proportional", { proportion: 0.25 })]); }"""
    yarn, none, proportional = page([config], write)[0]

    assert "would turn them" in yarn["refused"]
    assert "would turn them" in none["refused"]
    assert '"rope_type": "proportional"' in proportional["text"]


def ours(config):
    try:
        return json.loads(json.dumps(describe(config, read(config))))
    except RopewalkError:
        return None


def test_the_page_reads_configs_as_the_ground_floor_does(page):
    configs = [dict(entry.config) for entry in CORPUS] + NESTED
    configs += [config for kind in KINDS for _, config in config_oracle.variants(kind)]
    configs += [mutated(rng, KINDS)[1] for rng in [random.Random(2)] for _ in range(400)]

    for config, found in zip(configs, page(configs), strict=True):
        wanted = ours(config)
        assert (None if isinstance(found, str) else found) == wanted, (config, found)


def test_what_a_models_own_code_asks_for_is_written(page):
    """transformers 5.23: Ministral 3's attention reads original_max_position_embeddings whatever the rope_type, and the config
    class of Phi-3.5-MoE refuses one without short_mscale and long_mscale."""
    beta = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16_384, "rope_theta": 1e6}
    ministral = {"model_type": "ministral3", "head_dim": 128, "max_position_embeddings": 16_384,
                 "rope_parameters": {"rope_type": "default", **beta}}  # fmt: skip
    phi = {"model_type": "phimoe", "head_dim": 8, "max_position_embeddings": 4096, "rope_theta": 1e4}
    paste = """c => { const R = window.ropewalk, model = R.readConfig(R.slimConfig(c)), [rope] = model.ropes;
        const stretch = { rope, method: c.method, factor: 4, dynamic: false, options: {} };
        return JSON.parse(R.paste(R.data.dialects[0], model, { stretches: { all: stretch } }).text).rope_parameters; }"""
    linear, yarn = page([{**ministral, "method": "linear"}, {**phi, "method": "yarn"}], paste)

    assert linear == {"rope_type": "linear", "factor": 4.0, **beta}
    # YaRN, eq. 22: 0.1 ln 4 + 1
    assert yarn["long_mscale"] == yarn["short_mscale"] == pytest.approx(1.138629436111989)


def llama(**more):
    return {"model_type": "llama", "head_dim": 64, "max_position_embeddings": 4096, "rope_theta": 10000.0, **more}


YARN = {"rope_type": "yarn", "factor": 4.0}
BAD = {
    "another type under the old spelling": llama(
        rope_parameters={"rope_type": "default"}, rope_scaling={"type": "yarn", "factor": 4.0}
    ),
    "a key that one spelling alone has": llama(rope_parameters=YARN, rope_scaling={**YARN, "attention_factor": 1.5}),
    "an object where a number belongs": llama(rope_parameters={**YARN, "beta_fast": {}}),
    "an attention factor that turns the logits round": llama(rope_parameters={**YARN, "attention_factor": -1}),
    "an attention factor that erases them": llama(rope_parameters={**YARN, "attention_factor": 0}),
    "a factor beyond all sense": llama(rope_parameters={"rope_type": "linear", "factor": 1e30}),
}


@pytest.mark.parametrize("config", BAD.values(), ids=BAD)
def test_the_page_refuses_what_the_ground_floor_refuses(page, config):
    """Each was drawn: a plain model where rope_scaling says yarn, a layer type called beta_fast, a negative m."""
    assert ours(config) is None
    assert isinstance(page([config])[0], str)


def test_a_link_holds_a_null_which_is_no_omission(page):
    """transformers 5.23: SeedOssConfig has 128 where head_dim is left out, and 5120 / 80 where it is null; all layers of
    EXAONE-4.0-1.2B rotate, whose sliding_window is null, and those with a window alone where the class gives one."""
    seed = {"model_type": "seed_oss", "hidden_size": 5120, "num_attention_heads": 80, "rope_theta": 1e7}
    exaone = {"model_type": "exaone4", "hidden_size": 2048, "num_attention_heads": 32, "rope_theta": 1e6}
    again = """c => { const R = window.ropewalk, whole = { ...c, max_position_embeddings: 65536 };
        return R.readConfig(R.slimConfig(whole)).ropes.map((r) => [r.layer_type, r.rotary_dim]); }"""
    left_out, null = page([seed, {**seed, "head_dim": None}], again)
    window, none = page([exaone, {**exaone, "sliding_window": None}], again)

    assert (left_out, null) == ([["all", 128]], [["all", 64]])
    assert (window, none) == ([["sliding_attention", 64]], [["all", 64]])


def test_a_model_whose_own_code_decides_is_left_to_the_command_line(page):
    for found in page([{"model_type": kind, "max_position_embeddings": 64} for kind in OWN_CODE]):
        assert "its own code decides" in found
