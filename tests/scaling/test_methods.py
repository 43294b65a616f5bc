"""What every method of the registry promises, and what each adds."""

import contextlib
import inspect
import math

import pytest

from ropewalk.engines.transformers.spell import spell
from ropewalk.errors import BadConfig, BadLength, BadOption, UnknownName
from ropewalk.scaling.method import Scaled, difference, get_method, methods, same
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic
from ropewalk.scaling.stretch import Stretch, normal_options

ROPES = [Rope(128, 10_000.0, 4096), Rope(64, 150_000.0, 4096), Rope(32, 500.0, 300), Rope(4, 10_000.0, 2048)]
LLAMA2 = ROPES[0]
# Options without a default need a value; a longrope list must fit the rope.
NEEDED = {
    "longrope": lambda rope: {"long_factor": tuple(1.0 + i / 9 for i in range(rope.rotary_dim // 2))},
    "rope_theta": lambda rope: {"rope_theta": rope.rope_theta * 50},
}
# Promises that a method does not make, each stated in its docstring.
CHANGES_AT_FACTOR_ONE = {"rope_theta", "resonance"}
MAY_SPEED_UP = {"resonance"}  # rounding a wavelength down


def needed(name, rope):
    return NEEDED.get(name, lambda rope: {})(rope)


@pytest.fixture(params=sorted(methods()))
def name(request):
    return request.param


@pytest.fixture(params=ROPES, ids=lambda rope: f"d{rope.rotary_dim}")
def rope(request):
    return request.param


def stretch(name, rope, factor):
    return Stretch(rope, name, factor, normal_options(name, needed(name, rope)))


def test_a_factor_of_one_changes_nothing(name, rope):
    if name not in CHANGES_AT_FACTOR_ONE:
        assert stretch(name, rope, 1).scaled() == Scaled(rope.inv_freq, 1.0)  # to the last bit


@pytest.mark.parametrize("factor", [1.0, 1.5, 4, 32.0, 1000.0])
def test_no_pair_speeds_up_turns_back_or_overtakes(name, rope, factor):
    scaled = stretch(name, rope, factor).scaled()

    assert len(scaled.inv_freq) == rope.rotary_dim // 2
    assert all(new > 0 for new in scaled.inv_freq)
    assert sorted(scaled.inv_freq, reverse=True) == list(scaled.inv_freq)  # fastest first
    if name not in MAY_SPEED_UP:
        assert all(new <= old * (1 + 1e-15) for new, old in zip(scaled.inv_freq, rope.inv_freq, strict=True))
    assert scaled.attention_factor >= 1


def test_a_larger_factor_never_makes_a_pair_faster(name, rope):
    near, far = (stretch(name, rope, s).scaled().inv_freq for s in (3.0, 7.0))

    if name not in MAY_SPEED_UP:
        assert all(b <= a for a, b in zip(near, far, strict=True))


def test_no_pair_is_slowed_by_more_than_the_factor(name, rope):
    """Other than by a list or a base chosen by hand; resonance adds at most half a token to a turn."""
    if name not in NEEDED:
        for new, old in zip(stretch(name, rope, 8).scaled().inv_freq, rope.inv_freq, strict=True):
            assert math.tau / new <= 8 * math.tau / old * (1 + 1e-12) + (0.5 if name == "resonance" else 0)


def test_a_plan_survives_json(name, rope):
    plan = ScalingPlan((("all", stretch(name, rope, 3.7)),), 4096, "somewhere")

    again = ScalingPlan.from_json(plan.to_json())

    assert again == plan
    assert (hash(again), again.fingerprint, again.model) == (hash(plan), plan.fingerprint, "somewhere")
    assert again.stretches[0][1].scaled() == plan.stretches[0][1].scaled()


def test_names_its_source_and_its_rule(name):
    method = get_method(name)

    assert any(mark in method.source for mark in ("arXiv:", "@", "transformers "))
    assert 20 < len(method.summary) < 110
    assert "theta'_i" in inspect.getdoc(method.function) or "lambda_i" in inspect.getdoc(method.function)
    assert all(option in inspect.getdoc(method.function) for option in method.defaults)


def test_options_are_keyword_only_and_have_defaults_or_are_required(name):
    method = get_method(name)
    positional = [p for p in inspect.signature(method.function).parameters.values() if p.kind is not p.KEYWORD_ONLY]

    assert [p.name for p in positional] == ["rope", "factor"]
    assert method.required == set(NEEDED[name](LLAMA2) if name in NEEDED else ())
    for required in method.required:
        with pytest.raises(BadOption, match=f"{name} needs the option '{required}'; it has no default"):
            method(LLAMA2, 2)


def test_an_unknown_option_is_refused_with_a_suggestion(name):
    option = next(iter(get_method(name).defaults), None)
    misspelt = f"{option}x"

    with pytest.raises(UnknownName, match=f"no option of {name} is called '{misspelt}'") as error:
        get_method(name)(LLAMA2, 2, **{misspelt: 1})
    with pytest.raises(UnknownName, match=f"no option of {name} is called '{misspelt}'"):
        normal_options(name, {misspelt: 1})
    assert option is None or f"Did you mean '{option}'?" in str(error.value)


@pytest.mark.parametrize("bad", [0.5, 0, -2, 1 - 1e-9, math.nan, math.inf, 10**400, 2e9, True, "4", None])
def test_a_factor_is_a_number_of_one_or_more(name, bad):
    with pytest.raises(BadLength, match=r"factor is .*; it must be a number of 1 or more") as error:
        get_method(name)(LLAMA2, bad, **needed(name, LLAMA2))
    assert "factor = target length / original length" in str(error.value)


# Values of the wrong kind, for every option of every method: an answer or our own error, never another.
JUNK = [
    0,
    -1,
    1e308,
    -1e308,
    5e-324,
    math.nan,
    math.inf,
    10**400,
    True,
    "",
    "yarn",
    "resonance",
    None,
    (),
    (1.0,),
    ((),),
    (None,),
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_junk_options_answer_or_are_refused(name, junk):
    for option in get_method(name).defaults:
        for factor in (1, 4):
            with contextlib.suppress(BadOption, BadConfig, UnknownName):
                Stretch(LLAMA2, name, factor, normal_options(name, {**needed(name, LLAMA2), option: junk}))


def test_extreme_ropes_answer_or_are_refused(name):
    for extreme in (Rope(4, 1e299, 2**40), Rope(2, 1.0000001, 1), Rope(1024, 9e299, 1), Rope(6, 1 + 1e-15, 2**40)):
        for factor in (1, 1 + 1e-12, 1e9):
            with contextlib.suppress(BadOption, BadConfig):
                assert all(math.isfinite(f) for f in stretch(name, extreme, factor).scaled().inv_freq)


def test_no_method_of_that_name():
    with pytest.raises(
        UnknownName, match=r"no scaling method is called 'yarm'. Did you mean 'yarn'\?\n  known: .*linear, llama3"
    ):
        get_method("yarm")


def test_what_a_method_answers_is_checked():
    with pytest.raises(BadOption, match="negative or not finite"):
        Scaled((1.0, math.nan))
    for m in (0, -1.0, math.inf, True, "1"):
        with pytest.raises(BadOption, match=r"attention_factor is .*; it must be a finite number above 0"):
            Scaled((1.0,), m)


# Each method's own promises.


def test_linear_is_positions_over_s(rope):
    s = 7.0
    for position in (1, 100, 4096, 28_672):
        for theta, new in zip(rope.inv_freq, get_method("linear")(rope, s).inv_freq, strict=True):
            assert math.cos(position * new) == pytest.approx(math.cos(position / s * theta), abs=1e-10)
            assert math.sin(position * new) == pytest.approx(math.sin(position / s * theta), abs=1e-10)


def test_ntk_leaves_the_first_pair_and_slows_the_last_by_exactly_s(rope):
    scaled = get_method("ntk")(rope, 4).inv_freq

    assert scaled[0] == rope.inv_freq[0] == 1
    assert scaled[-1] == pytest.approx(rope.inv_freq[-1] / 4, rel=1e-12)


def test_ntk_against_numbers_worked_out_elsewhere():
    """s = 4, d = 128: pair 32 keeps .4945, and for s = 2 the base is 20221 (the authors rounded it to 20000)."""
    from ropewalk.scaling.methods.ntk import stretched_theta

    assert get_method("ntk")(LLAMA2, 4).inv_freq[32] / LLAMA2.inv_freq[32] == pytest.approx(0.4945, abs=5e-5)
    assert stretched_theta(LLAMA2, 2) == pytest.approx(20_221, abs=0.5)


def test_ntk_needs_two_pairs():
    with pytest.raises(BadOption, match="ntk cannot stretch a rotary_dim of 2"):
        get_method("ntk")(Rope(2, 10_000.0, 64), 2)


def test_llama3_against_the_values_of_llama_31():
    """8 / 1 / 4 / 8192 over theta 500000: L / 4 = 2048 and L / 1 = 8192 tokens per turn are the ends of the blend."""
    rope = Rope(128, 500_000.0, 8192)

    for old, new in zip(rope.wavelength, get_method("llama3")(rope, 8).inv_freq, strict=True):
        slowed = math.tau / old / new
        assert slowed == pytest.approx(1 if old < 2048 else 8 if old > 8192 else slowed, rel=1e-12)
        assert old < 2048 or old > 8192 or 1 < slowed < 8


@pytest.mark.parametrize("source", sorted(set(methods()) - {"longrope"}))
def test_longrope_carries_any_static_method(source, rope):
    other = stretch(source, rope, 4).scaled()
    factors = tuple(old / new for old, new in zip(rope.inv_freq, other.inv_freq, strict=True))

    carried = get_method("longrope")(rope, 4, long_factor=factors, attention_factor=other.attention_factor)

    assert carried.inv_freq == pytest.approx(other.inv_freq, rel=1e-15)
    assert carried.attention_factor == other.attention_factor


def test_longrope_takes_its_long_list_beyond_the_original_length_and_its_short_one_within():
    long, short = (8.0,) * 64, (2.0,) * 64
    longrope = get_method("longrope")

    assert longrope(LLAMA2, 4, long_factor=long, short_factor=short).inv_freq[5] == LLAMA2.inv_freq[5] / 8
    assert longrope(LLAMA2, 1, long_factor=long, short_factor=short).inv_freq[5] == LLAMA2.inv_freq[5] / 2
    assert longrope(LLAMA2, 1, long_factor=long).inv_freq == LLAMA2.inv_freq
    # Phi-3: s = 32, L = 4096: sqrt(1 + 5/12), since ln 32 / ln 4096 = 5 / 12
    assert longrope(LLAMA2, 32, long_factor=long).attention_factor == pytest.approx(math.sqrt(17 / 12), rel=1e-15)


SCALES = {"long_factor": (1.0, 2.0, 1.0, 8.0), "attention_factor": (1.1, 1.4), "scales": (2.0, 8.0)}


def test_longrope_lists_for_several_scales():
    rope, longrope = Rope(4, 10_000.0, 64), get_method("longrope")

    def slowed(factor):
        scaled = longrope(rope, factor, **SCALES)
        return [*(old / new for old, new in zip(rope.inv_freq, scaled.inv_freq, strict=True)), scaled.attention_factor]

    assert slowed(1) == [1, 1, 1]
    assert slowed(2) == pytest.approx([1, 2, 1.1], rel=1e-15)
    assert slowed(8) == pytest.approx([1, 8, 1.4], rel=1e-15)
    assert slowed(2**0.5) == pytest.approx([1, 2**0.5, 1.05], rel=1e-15)  # half way from 1 to 2 in ln s
    assert slowed(4) == pytest.approx([1, 4, 1.25], rel=1e-15)  # half way from 2 to 8


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scales": ()}, r"scales is \(\)"), ({"scales": (8.0, 2.0)}, "each larger than the one before"),
        ({"scales": (1.0, 8.0)}, "numbers above 1"), ({"scales": (2.0, 4.0)}, "end at factor 4, and say nothing of factor 8"),
        ({"long_factor": (1.0, 2.0)}, "given 2 factors and 2 attention factors; 2 scales of 2 pairs need 4 and 2"),
        ({"attention_factor": (1.1,)}, "4 factors and 1 attention factors"), ({"attention_factor": 1.1}, "must be a list"),
        ({"attention_factor": None}, "must be a list"), ({"long_factor": (1.0, 2.0, -1.0, 8.0)}, r"long_factor\[2\] is -1.0"),
        ({"scales": 2.0}, "scales is 2.0"), ({"scales": None, "long_factor": (1.0, 2.0)}, "it must be one number, unless"),
    ],
)  # fmt: skip
def test_longrope_lists_for_several_scales_must_fit(changed, said):
    with pytest.raises(BadOption, match=said):
        get_method("longrope")(Rope(4, 10_000.0, 64), 8, **(SCALES | changed))


def test_a_longrope_list_must_fit():
    with pytest.raises(BadOption, match=r"given 48 factors for 64 pairs \(rotary_dim 128 / 2\)"):
        get_method("longrope")(LLAMA2, 2, long_factor=(1.0,) * 48)
    with pytest.raises(BadOption, match=r"factor\[3\] is 0; it must be a finite number above 0"):
        get_method("longrope")(LLAMA2, 2, long_factor=(1.0,) * 3 + (0,) + (1.0,) * 60)
    with pytest.raises(BadOption, match=r"short_factor\[0\] is 0"):  # though the long list serves at this scale
        get_method("longrope")(LLAMA2, 2, long_factor=(1.0,) * 64, short_factor=(0,) + (1.0,) * 63)
    with pytest.raises(BadOption, match="long_factor is 4; it must be a list of numbers"):
        get_method("longrope")(LLAMA2, 2, long_factor=4)


def test_proportional_keeps_the_speeds_of_the_full_head_and_stops_the_rest():
    scaled = get_method("proportional")(LLAMA2, 2, proportion=0.25)

    assert scaled.inv_freq == tuple(theta / 2 for theta in LLAMA2.inv_freq[:16]) + (0.0,) * 48
    for bad in (0, -1, 1.5, math.nan, "all"):
        with pytest.raises(BadOption, match=r"proportion is .*; it must be above 0 and at most 1"):
            get_method("proportional")(LLAMA2, 2, proportion=bad)


@pytest.mark.parametrize("over", ["yarn", "linear", "none"])
def test_resonance_turns_in_whole_tokens(over):
    plain, resonant = get_method(over)(LLAMA2, 4), get_method("resonance")(LLAMA2, 4, over=over)

    for theta, new in zip(plain.inv_freq, resonant.inv_freq, strict=True):
        assert math.tau / new == pytest.approx(round(math.tau / new), rel=1e-12)
        assert abs(math.tau / new - math.tau / theta) <= 0.5 * (1 + 1e-9)
    assert resonant.attention_factor == plain.attention_factor


def test_rope_theta_is_the_rope_of_that_base():
    assert get_method("rope_theta")(LLAMA2, 4, rope_theta=1e6).inv_freq == Rope(128, 1e6, 1).inv_freq
    with pytest.raises(BadConfig, match="rope_theta is 0"):
        get_method("rope_theta")(LLAMA2, 4, rope_theta=0)


def test_the_temperature_slope_is_checked():
    for bad in (-0.1, math.nan, "0.1", True):
        with pytest.raises(BadOption, match=r"temperature_slope is .*; it must be a finite number of 0 or more"):
            get_method("yarn")(LLAMA2, 4, temperature_slope=bad)


@pytest.mark.parametrize("length", [1, 300, 4096, 4097, 10_000, 16_384, 100_000])
def test_dynamic_scaling_is_one_within_the_window_then_l_over_L_then_capped(length):
    expected = 1 if length <= 4096 else length / 4096 if length <= 16_384 else 4
    dynamic = Stretch(LLAMA2, "yarn", 4.0, dynamic=Dynamic("request"))

    assert dynamic.scale_at(length) == expected
    assert dynamic.scaled(length) == get_method("yarn")(LLAMA2, expected)
    assert dynamic.scaled() == get_method("yarn")(LLAMA2, 4)
    assert Stretch(LLAMA2, "yarn", 4.0).scale_at(length) == 4


def _transformers_config(rope, head_dim, **parameters):
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=head_dim * 4,
        num_attention_heads=4,
        head_dim=head_dim,
        max_position_embeddings=rope.original_length,
        rope_parameters={"rope_theta": rope.rope_theta, "partial_rotary_factor": rope.rotary_dim / head_dim, **parameters},
    )


FLOAT32 = [  # (rope, head_dim): floor, ceil and round differ; a ramp off the slow end; off the fast end; partial rotation
    (Rope(128, 10_000.0, 4096), 128),
    (Rope(64, 150_000.0, 4096), 64),
    (Rope(64, 10_000.0, 262_144), 64),
    (Rope(64, 10_000.0, 64), 64),
    (Rope(32, 10_000.0, 2048), 128),
    (Rope(64, 1_000_000.0, 32_768), 128),
]


@pytest.mark.parametrize(("rope", "head_dim"), FLOAT32)
@pytest.mark.parametrize(
    ("name", "options", "keys"),
    [
        ("linear", {}, {"rope_type": "linear"}),
        ("yarn", {}, {"rope_type": "yarn"}),
        ("yarn", {"truncate": False}, {"rope_type": "yarn", "truncate": False}),
        ("yarn", {"beta_fast": 16.0, "beta_slow": 2.0}, {"rope_type": "yarn", "beta_fast": 16.0, "beta_slow": 2.0}),
        ("llama3", {}, {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
        ("proportional", {"proportion": 0.25}, {"rope_type": "proportional", "partial_rotary_factor": 0.25}),
        ("longrope", {}, {"rope_type": "longrope"}),
        ("ntk", {}, {"rope_type": "dynamic"}),
    ],
    ids=str,
)
def test_transformers_own_functions_agree(rope, head_dim, name, options, keys):
    """transformers 5.23.0, float32. Its dynamic rule is the published one at factor 1: s = l / L."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    factor, length = 4.0, 4 * rope.original_length
    extra = {"factor": 1.0 if name == "ntk" else factor}
    if name in ("yarn", "llama3", "longrope"):
        extra["original_max_position_embeddings"] = rope.original_length
    if name == "longrope":
        long = [1.0 + i / 3 for i in range(rope.rotary_dim // 2)]
        options, keys = {"long_factor": tuple(long)}, {**keys, "long_factor": long, "short_factor": [1.0] * len(long)}
    if name == "proportional":
        rope = Rope(head_dim, rope.rope_theta, rope.original_length)  # spans the whole head

    config = _transformers_config(rope, head_dim, **extra, **keys)
    theirs, m = ROPE_INIT_FUNCTIONS[keys["rope_type"]](config, seq_len=length)
    ours = get_method(name)(rope, factor, **options)

    assert list(ours.inv_freq) == pytest.approx(theirs.double().tolist(), rel=5e-7, abs=0)
    assert ours.attention_factor == pytest.approx(float(m), abs=1e-7)


@pytest.mark.parametrize(("factor", "words"), [(1e308, "beyond the largest number"), (-2.0, "above 0"), (0.0, "above 0")])
def test_a_base_that_no_number_can_hold(factor, words):
    """Found by fuzzing HunYuan's alpha, which is read into this."""
    from ropewalk.scaling.methods.ntk import stretched_theta

    with pytest.raises(BadOption, match=words):
        stretched_theta(Rope(8, 1e4, 4096), factor)


def test_beta_growth_moves_the_fast_end_with_the_scale():
    """By hand: at s = 8 a growth of 1 is a ramp from 20 turns, at s = 2 one from 5, and it never passes beta_slow."""
    yarn = get_method("yarn")
    for factor, fast in ((8.0, 20.0), (2.0, 5.0)):
        grown = yarn(LLAMA2, factor, beta_fast=2.5, beta_growth=1.0)
        assert grown == yarn(LLAMA2, factor, beta_fast=fast)
    assert yarn(LLAMA2, 8, beta_fast=2.5, beta_growth=-2.0) == yarn(LLAMA2, 8, beta_fast=1.0)
    with pytest.raises(BadOption, match="beta_growth is 5; it must be a number from -4 to 4"):
        yarn(LLAMA2, 4, beta_growth=5)


def test_no_config_names_beta_growth_so_longrope_carries_it():
    plan = Stretch(LLAMA2, "yarn", 8.0, normal_options("yarn", {"beta_fast": 2.5, "beta_growth": 1.0}))
    assert spell(plan)["rope_type"] == "longrope"


def test_two_tables_differ_by_their_worst_pair_and_by_the_square_of_m():
    one = Scaled((1.0, 0.5), 1.0)

    assert difference(one, Scaled((2.0, 0.125), 3.0)) == (4.0, 9.0)
    assert difference(one, Scaled((1.0,), 1.0)) == difference(one, Scaled((1.0, 0.0), 1.0)) == (math.inf, 1.0)
    assert same(one, Scaled((1.0, 0.5 * (1 + 1e-7)), 1.0))
    assert not same(one, Scaled((1.0, 0.5 * (1 + 1e-7)), 1.0), 1e-9)
    assert not same(one, Scaled((1.0, 0.5), 1.0001))
    assert not same(one, None)


def test_the_softmax_counts_where_channels_rotate_and_where_they_do_not():
    one = Scaled((1.0, 0.5), 1.0)

    assert difference(one, Scaled((1.0, 0.5), 2.0, softmax_factor=3.0)) == (1.0, 12.0)  # rotated 2^2 x 3, others 3
    assert difference(one, Scaled((1.0, 0.5), 2.0, softmax_factor=0.25)) == (1.0, 0.25)  # rotated 1, others a quarter
    assert not same(one, Scaled((1.0, 0.5), 2.0, softmax_factor=0.25))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(BadOption, match="softmax_factor is"):
            Scaled((1.0,), 1.0, softmax_factor=wrong)
