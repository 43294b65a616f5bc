"""Plans: what make_plan chooses, what JSON keeps, and what is refused."""

import contextlib
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, BadLength, BadOption, RopewalkError, UnknownName
from ropewalk.scaling.names import read_name
from ropewalk.scaling.plan import ScalingPlan, make_plan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch, normal_options
from support.published import CONFIGS, GEMMA3_4B_TEXT, LLAMA2_7B, QWEN3_8B

LLAMA2 = read(LLAMA2_7B)
ROPE = Rope(128, 10_000.0, 4096)


def test_a_target_length_gives_the_factor_and_a_factor_the_target():
    by_length, by_factor = make_plan(LLAMA2, target_length=65_536), make_plan(LLAMA2, factor=16)

    assert by_length == by_factor
    assert (by_length.stretches[0][1].factor, by_factor.target_length) == (16.0, 65_536)


def test_the_factor_counts_from_the_original_length_and_not_from_max_position_embeddings():
    plan = make_plan(read(QWEN3_8B), target_length=131_072)

    assert plan.stretch("all").factor == 4.0  # 131072 / 32768; 3.2 of 40960 would be the classic mistake


def test_sliding_layers_are_left_alone_unless_named():
    spec = read(GEMMA3_4B_TEXT)

    assert [name for name, _ in make_plan(spec, factor=8).stretches] == ["full_attention"]
    assert make_plan(spec, factor=8).stretch("sliding_attention") is None
    assert [name for name, _ in make_plan(spec, factor=8, layer_types=["sliding_attention"]).stretches] == [
        "sliding_attention"
    ]


def test_a_plan_for_two_layer_types_is_read_by_name():
    plan = make_plan(read(GEMMA3_4B_TEXT), factor=2, layer_types=["full_attention", "sliding_attention"])

    assert (plan.stretch("full_attention").rope.rope_theta, plan.stretch("sliding_attention").rope.rope_theta) == (1e6, 1e4)
    assert plan.name == "yarn"


@pytest.mark.parametrize("name", ["yarn", "linear", "none", "dynamic", "dynamic-yarn", "dynamic-linear"])
def test_a_plans_name_gives_the_method_back(name):
    plan = make_plan(LLAMA2, factor=2, method=name)

    assert plan.name == name
    assert plan.is_dynamic == name.startswith("dynamic")
    assert make_plan(LLAMA2, factor=2, method=plan.name) == plan


def test_equal_plans_have_one_hash_and_one_fingerprint_however_their_numbers_were_typed():
    typed = [
        make_plan(LLAMA2, factor=f, options={"beta_fast": b, "beta_slow": s, "truncate": True}, model=m)
        for f, b, s, m in [(4, 16, 1, ""), (4.0, 16.0, 1.0, "elsewhere")]
    ]
    made = ScalingPlan((("all", Stretch(Rope(128, 10_000, 4096), "yarn", 4, (("beta_fast", 16.0),))),), 16_384)

    assert len({*typed, made}) == 1
    assert len({plan.fingerprint for plan in (*typed, made)}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 4.5},
        {"method": "linear"},
        {"method": "dynamic-yarn"},
        {"options": {"beta_slow": 2}},
        {"options": {"truncate": False}},
    ],
    ids=str,
)
def test_another_plan_has_another_fingerprint(change):
    plan, other = make_plan(LLAMA2, factor=4), make_plan(LLAMA2, **{"factor": 4, **change})

    assert plan != other
    assert plan.fingerprint != other.fingerprint


def test_the_fingerprint_itself_does_not_drift():
    """Caches and reports are filed under it."""
    assert make_plan(LLAMA2, factor=4).fingerprint == "f77c237cef4e"


def test_options_are_kept_where_they_differ_from_the_defaults():
    assert normal_options("yarn", {"truncate": False, "beta_fast": 32, "beta_slow": 2}) == (
        ("beta_slow", 2.0),
        ("truncate", False),
    )
    assert normal_options("longrope", {"long_factor": [1, 2]}) == (("long_factor", (1.0, 2.0)),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncate": 1}, r"truncate is 1; it must be true or false"),
        ({"beta_fast": True}, r"beta_fast is True; it must be a finite number"),
        ({"beta_fast": "32"}, r"beta_fast is '32'; it must be a finite number"),
        ({"ramp": 3}, r"ramp is 3; it must be a word"),
        ({"attention_factor": "1"}, r"attention_factor is '1'; it must be a finite number or a list"),
    ],
    ids=str,
)
def test_an_option_is_of_its_defaults_kind(options, message):
    with pytest.raises(BadOption, match=message):
        make_plan(LLAMA2, factor=2, options=options)


def test_errors_of_make_plan():
    with pytest.raises(
        BadLength,
        match=r"target_length 2048 is shorter than original_length 4096\.\n.*only stretches(.|\n)*give original_length",
    ):
        make_plan(LLAMA2, target_length=2048)
    for both_or_none in ({}, {"factor": 2, "target_length": 8192}):
        with pytest.raises(BadLength, match="give either a factor or a target length, and not both"):
            make_plan(LLAMA2, **both_or_none)
    for bad in (0, -1, 8192.0, "8192", True, 2**41):
        with pytest.raises(BadLength, match=r"target_length is .*; it must be a whole number of tokens"):
            make_plan(LLAMA2, target_length=bad)
    with pytest.raises(UnknownName, match=r"no rotary layer type of this model is called 'full_attention'.*\n  known: all"):
        make_plan(LLAMA2, factor=2, layer_types=["full_attention"])
    with pytest.raises(
        BadLength, match=r"nothing to stretch here: only sliding-window layers rotate.*\n.*Name them as layer types"
    ):
        make_plan(read(CONFIGS["COMMAND_R7B"]), factor=2)
    for name, hint in (("dynamic-yarm", "dynamic-yarn"), ("yarm", "yarn"), ("dynamc", "dynamic")):
        with pytest.raises(UnknownName, match=f"no scaling method is called '{name}'. Did you mean '{hint}'"):
            read_name(name)
    with pytest.raises(BadLength, match=r"target_length is .*; it must be a whole number of tokens, 1 to"):
        make_plan(LLAMA2, factor=1e9)  # 4096e9 tokens: a plan that could not be read back


GOOD = json.loads(make_plan(read(GEMMA3_4B_TEXT), factor=8, options={"beta_fast": 16}, method="yarn", model="m").to_json())


def edited(*path, value=None, drop=False):
    data = copy.deepcopy(GOOD)
    at = data
    for key in path[:-1]:
        at = at[key]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(data)


FULL = ("stretches", "full_attention")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", BadConfig, "this is not a Ropewalk plan: JSONDecodeError"),
        ("[]", BadConfig, "this is not a Ropewalk plan: TypeError"),
        ("[" * 100_000, BadConfig, "this is not a Ropewalk plan: RecursionError"),
        ("{}", BadConfig, r"this is not a Ropewalk plan: KeyError: 'schema'\.\n.*ropewalk plan MODEL --to LENGTH --json"),
        (
            edited("schema", value="ropewalk.plan/9"),
            BadConfig,
            "schema is 'ropewalk.plan/9'; this version reads 'ropewalk.plan/1'",
        ),
        (edited("stretches", value={}), BadConfig, "the plan stretches nothing; name at least one layer type"),
        (edited("stretches", drop=True), BadConfig, "KeyError: 'stretches'"),
        (edited("target_length", value="long"), BadLength, "target_length is 'long'; it must be a whole number of tokens"),
        (edited("target_length", value=0), BadLength, "target_length is 0"),
        (edited(*FULL, "factor", value=0.5), BadLength, "factor is 0.5; it must be a number of 1 or more"),
        (edited(*FULL, "factor", value=float("nan")), BadLength, "factor is nan"),
        (edited(*FULL, "method", value="yarm"), UnknownName, "Did you mean 'yarn'"),
        (edited(*FULL, "method", value=["yarn"]), BadConfig, "not a Ropewalk plan"),
        (edited(*FULL, "options", value={"beta_quick": 1}), UnknownName, "no option of yarn is called 'beta_quick'"),
        (edited(*FULL, "options", value={"beta_fast": 0.5}), BadOption, "beta_fast must be the larger"),
        (edited(*FULL, "dynamic", value="no"), BadConfig, "dynamic is .no.; it must be false, or"),
        (edited(*FULL, "rope", "rotary_dim", value=63), BadConfig, "rotary_dim is 63"),
        (edited(*FULL, "rope", "rope_theta", drop=True), BadConfig, "KeyError: 'rope_theta'"),
    ],
)
def test_a_broken_plan_says_what_is_broken(text, kind, message):
    with pytest.raises(kind, match=message):
        ScalingPlan.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8)
    | st.sampled_from([0, 1, -1, 2, 10**400, "yarn", "ntk", "resonance", "all", 4096, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(data, path=()):
    """Every path in nested dicts."""
    for key, value in data.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(places(GOOD))), JSON), min_size=1, max_size=2))
def test_a_mutated_plan_is_read_or_refused(changes):
    data = copy.deepcopy(GOOD)
    for path, value in changes:
        at = data
        for key in path[:-1]:
            at = at.get(key, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict):
            at[path[-1]] = value
    with contextlib.suppress(RopewalkError):
        plan = ScalingPlan.from_json(json.dumps(data))
        assert ScalingPlan.from_json(plan.to_json()) == plan


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(data):
    with pytest.raises(RopewalkError):
        ScalingPlan.from_json(json.dumps(data))
