"""The explorer's arithmetic and its configurations, run in Chromium, against the ground floor in Python."""

import json
import math

import pytest

from ropewalk.cli.plan import _paste, pairs
from ropewalk.engines.transformers.write import read
from ropewalk.errors import RopewalkError
from ropewalk.jobs.explore.models import describe, preset_files
from ropewalk.jobs.explore.page import write_explorer
from ropewalk.scaling.method import get_method
from ropewalk.scaling.names import read_name
from ropewalk.scaling.plan import make_plan
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch
from support.browser import Watched, launched

# Not offered by the page, but a pasted config may ship with it.
REQUESTS = [("dynamic-request", {}), ("dynamic-yarn-request", {})]
FACTORS = (1.0, 1.5, 4.0, 32.0)
# Every method the page offers, and its options away from the defaults.
CASES = [
    ("none", {}),
    ("linear", {}),
    ("ntk", {}),
    ("ntk_by_parts", {}),
    ("ntk_by_parts", {"beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}),
    ("ntk_by_parts", {"ramp": "turns"}),
    ("ntk_by_parts", {"beta_fast": 4.0, "beta_slow": 4.0}),
    ("yarn", {}),
    ("yarn", {"truncate": False, "temperature_slope": 0.07}),
    ("yarn", {"ramp": "turns"}),
    ("yarn", {"beta_fast": 2.5, "beta_growth": 1.0, "truncate": False}),
    ("yarn", {"attention_factor": 1.0, "ramp": "turns"}),
    ("yarn", {"attention_factor": 1.25, "beta_fast": 24.0}),
    ("llama3", {}),
    ("llama3", {"beta_fast": 8.0, "beta_slow": 2.0}),
    ("llama3", {"beta_fast": 2.0, "beta_slow": 2.0}),
    ("rope_theta", {"rope_theta": 5e6}),
    ("proportional", {"proportion": 0.3}),
    ("proportional", {}),
    ("resonance", {}),
    ("resonance", {"over": "ntk"}),
    ("dynamic", {}),
    ("dynamic-yarn", {}),
    ("dynamic-linear", {}),
]
PRESETS = preset_files()
OTHERS = [
    {"model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 32, "max_position_embeddings": 4096, "rope_theta": 1e4},
    {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "rotary_dim": 64, "n_positions": 2048},
    {
        "model_type": "glm4",
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
    {
        "text_config": {
            "model_type": "gemma3_text",
            "head_dim": 256,
            "max_position_embeddings": 131072,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        }
    },
    {
        "model_type": "llama",
        "head_dim": 8,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.0, 2.0, 3.5, 4.0],
            "short_factor": [1.0, 1.0, 1.0, 1.1],
            "original_max_position_embeddings": 2048,
        },
    },
    {
        "model_type": "qwen2_vl",
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    },
    {
        "model_type": "llama",
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "dynamic", "factor": 1.0},
    },
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("explore") / "explorer.html"
    write_explorer(file)
    with launched() as browser, Watched(browser, file) as watched:
        yield watched.page


@pytest.mark.parametrize("preset", PRESETS, ids=[p["id"] for p in PRESETS])
def test_every_frequency_is_the_ground_floors(page, preset):
    spec = read(preset["config"])
    ropes = [rope for _, rope in spec.ropes]
    wanted, asked = [], []
    for rope in ropes:
        for name, options in CASES:
            for factor in FACTORS:
                method = read_name(name).method
                wanted.append(get_method(method)(rope, factor, **options))
                asked.append([describe_rope(rope), name, factor, options])

    got = page.evaluate("cases => cases.map(c => window.ropewalk.compute(...c))", asked)

    assert len(got) == len(ropes) * len(CASES) * len(FACTORS)
    for scaled, found, case in zip(wanted, got, asked, strict=True):
        assert found["attention_factor"] == pytest.approx(scaled.attention_factor, rel=1e-12), case
        assert found["inv_freq"] == pytest.approx(list(scaled.inv_freq), rel=1e-9, abs=0), case


def describe_rope(rope):
    return {"rotary_dim": rope.rotary_dim, "rope_theta": rope.rope_theta, "original_length": rope.original_length}


def test_it_counts_pairs_as_plan_does(page):
    # 24 kept, 16 ramped, 24 stretched: transformers 5.23.0's formula, computed 2026-11 in the research notes.
    rope = read(PRESETS[0]["config"]).rope("all")
    count = "([rope, s]) => { const R = window.ropewalk; return R.pairs(rope, R.compute(rope, 'yarn', s), s); }"

    found = page.evaluate(count, [describe_rope(rope), 4])

    assert (found["kept"], found["ramped"], found["stretched"]) == (24, 16, 24)
    assert found["kind"] == [0] * 24 + [1] * 16 + [2] * 24
    counted = pairs(Stretch(rope, "yarn", 4.0))
    assert found["slowed"] == pytest.approx(counted["slowed_by"], rel=1e-12)


def test_the_scale_of_dynamic_is_the_ground_floors(page):
    stretch = Stretch(read(PRESETS[0]["config"]).rope("all"), "ntk", 4.0, dynamic=Dynamic())
    lengths = [1, 32768, 32769, 60000, 131072, 10**6]

    found = page.evaluate(
        "([rope, lengths]) => lengths.map(l => window.ropewalk.scaleAt(rope, 4, l))", [describe_rope(stretch.rope), lengths]
    )

    assert found == [stretch.scale_at(length) for length in lengths]


@pytest.mark.parametrize("config", [p["config"] for p in PRESETS] + OTHERS, ids=[p["id"] for p in PRESETS] + list("abcdefg"))
def test_a_config_is_read_as_the_ground_floor_reads_it(page, config):
    found = page.evaluate("text => window.ropewalk.readConfig(window.ropewalk.parseConfig(text))", json.dumps(config))

    assert found == json.loads(json.dumps(describe(config)))


@pytest.mark.parametrize("config", [p["config"] for p in PRESETS] + OTHERS, ids=[p["id"] for p in PRESETS] + list("abcdefg"))
@pytest.mark.parametrize("factor", [1.0, 4.0, 7.3])
def test_the_configuration_shown_is_what_python_writes(page, config, factor):
    cases = [*CASES, *REQUESTS, *([("longrope", longrope_options(config))] if longrope_options(config) else [])]
    for name, options in cases:
        spec = read(config)
        layers = [only for only, _ in spec.ropes] if len(spec.ropes) == 1 else None  # named: a plan for sliding layers is one
        plan = make_plan(spec, factor=factor, method=name, options=options, layer_types=layers)
        wanted = _paste(plan, config)
        stretches = {layer: as_page(stretch) for layer, stretch in plan.stretches}

        found = page.evaluate(
            "([config, stretches]) => { const R = window.ropewalk;"
            "return R.paste(R.data.dialects[0], R.readConfig(R.slimConfig(config)), {stretches}); }",
            [config, stretches],
        )

        if "impossible" in wanted:
            assert found == {"refused": wanted["impossible"]}, name
        else:
            same(json.loads(found["text"]), wanted, f"{name} {options}")


def longrope_options(config):
    options = [dict(stretch.options) for _, stretch in read(config).scaling if stretch.method == "longrope"]
    return options[0] if options else None


def as_page(stretch):
    return {
        "rope": describe_rope(stretch.rope),
        "method": stretch.method,
        "factor": stretch.factor,
        "options": dict(stretch.options),
        "dynamic": stretch.dynamic.semantics if stretch.dynamic else False,
    }


def same(found, wanted, where):
    """Equal keys in equal order, equal types, floats to the last few bits (libm and V8 round pow differently)."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, dict):
        assert list(found) == list(wanted), where
        for key in wanted:
            same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for one, other in zip(found, wanted, strict=True):
            same(one, other, where)
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=1e-12), where
    else:
        assert found == wanted, where


def test_it_offers_every_method_of_the_registry_that_needs_no_list(page):
    from ropewalk.scaling.method import methods

    offered = page.evaluate("window.ropewalk.methodNames()")

    assert {read_name(name).method for name in offered} == set(methods()) - {"longrope"}


def test_what_the_page_refuses_python_refuses_too(page):
    bad = [
        {"model_type": "gpt2"},
        {"model_type": "unheard"},
        {"model_type": "llama", "max_position_embeddings": 4096, "hidden_size": None},
        {"model_type": "newcomer", "head_dim": 64, "rope_theta": 10000.0},
        {"model_type": "llama", "head_dim": 63, "max_position_embeddings": 64},
        {"model_type": "llama", "head_dim": 64, "max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarm"}},
        {
            "model_type": "llama",
            "head_dim": 64,
            "max_position_embeddings": 64,
            "rope_scaling": {"type": "yarn", "betafast": 3},
        },
        {"model_type": "llama", "head_dim": 64, "max_position_embeddings": "many"},
        {"head_dim": 64, "max_position_embeddings": 64, "rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}},
    ]
    ask = "c => { try { window.ropewalk.readConfig(c); return 'read'; } catch (error) { return error.message; } }"
    for config in bad:
        with pytest.raises(RopewalkError):
            read(config)
        assert page.evaluate(ask, config) != "read", config
