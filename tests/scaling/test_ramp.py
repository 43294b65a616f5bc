"""The ramp of YaRN: golden vectors, fifty digits, walking, and the paper's own numbers."""

import contextlib
import json
import math
from pathlib import Path

import mpmath
import pytest

from ropewalk.errors import BadOption
from ropewalk.scaling.method import get_method
from ropewalk.scaling.rope import Rope
from support.oracles import turns_by_walking

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "yarn_fp64.json").read_text())
yarn, by_parts = get_method("yarn"), get_method("ntk_by_parts")
LLAMA2 = Rope(128, 10_000.0, 4096)


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_vectors(name):
    golden = GOLDENS[name]

    scaled = yarn(Rope(golden["dim"], golden["base"], golden["L"]), golden["s"], truncate=golden["truncate"])

    assert list(scaled.inv_freq) == pytest.approx(golden["inv_freq_fp64"], rel=1e-12, abs=0)
    assert scaled.attention_factor == pytest.approx(golden["attention_factor"], rel=1e-12)


@pytest.mark.parametrize(("dim", "base", "length"), [(128, 10_000.0, 4096), (64, 150_000.0, 4096), (32, 10_000.0, 2048)])
@pytest.mark.parametrize("options", [{}, {"truncate": False}, {"ramp": "turns"}], ids=str)
def test_fast_pairs_keep_their_speed_and_slow_pairs_get_exactly_one_over_s(dim, base, length, options):
    """Written without the formula: which pairs are fast and which are slow is counted on the circle."""
    rope, s, between = Rope(dim, base, length), 16.0, 0

    scaled = yarn(rope, s, **options)

    for theta, stretched in zip(rope.inv_freq, scaled.inv_freq, strict=True):
        turns = turns_by_walking(theta, length)
        if turns >= 33:
            assert stretched == theta
        elif turns == 0 and (options or theta * length / math.tau < 0.5):  # truncate may keep the ramp going one pair more
            assert stretched == pytest.approx(theta / s, rel=1e-12)
        else:
            assert theta / s * (1 - 1e-12) <= stretched <= theta
            between += theta / s * 1.001 < stretched < theta * 0.999
    assert between >= 3  # else the ramp itself was not tested


@pytest.mark.parametrize(
    ("dim", "base", "length", "s", "fast", "slow"),
    [
        (128, 10_000, 4096, 16, 32, 1),
        (128, 500_000, 8192, 8, 4, 1),
        (64, 150_000, 4096, 32, 32, 1),
        (64, 500, 512, 3, 7.5, 0.25),
    ],
)
def test_the_papers_equations_in_fifty_digits(dim, base, length, s, fast, slow):
    """Eq. 17, 18, 20 and 22 of arXiv:2309.00071v2 as printed: turns, then gamma, then h, then m."""
    with mpmath.workdps(50):
        expected = []
        for i in range(dim // 2):
            theta = mpmath.power(base, mpmath.mpf(-2 * i) / dim)
            r = length / (2 * mpmath.pi / theta)
            gamma = 0 if r < slow else 1 if r > fast else (r - slow) / (mpmath.mpf(fast) - slow)
            expected.append(float((1 - gamma) * theta / s + gamma * theta))
        m = float(mpmath.mpf(1) / 10 * mpmath.log(s) + 1)

    scaled = yarn(Rope(dim, base, length), s, beta_fast=fast, beta_slow=slow, ramp="turns")

    assert list(scaled.inv_freq) == pytest.approx(expected, rel=1e-12, abs=0)
    assert scaled.attention_factor == pytest.approx(m, rel=1e-15)


@pytest.mark.parametrize(("s", "m"), [(4, 1.1386), (16, 1.2773), (32, 1.3466), (40, 1.3689), (1, 1.0)])
def test_the_temperature_of_known_models(s, m):
    """0.1 ln s + 1 worked out by hand; logits grow by its square, 1.30 at s = 4."""
    assert yarn(LLAMA2, s).attention_factor == pytest.approx(m, abs=5e-5)
    assert by_parts(LLAMA2, s).attention_factor == 1


def test_the_authors_mistral_slope_and_an_absolute_attention_factor():
    assert yarn(LLAMA2, 16, temperature_slope=0.07).attention_factor == pytest.approx(1.194, abs=5e-4)  # not 1.277
    assert yarn(LLAMA2, 16, attention_factor=0.5).attention_factor == 0.5


def test_paper_and_released_code_differ_most_at_pair_38_of_llama_2():
    """Measured elsewhere: pair 38 keeps .351 of its speed under the code's ramp and .115 under the paper's.

    Elsewhere the quotient was given as 3.05, which is .351 / .115 after rounding; it is 3.041.
    """
    code, paper = yarn(LLAMA2, 16).inv_freq, yarn(LLAMA2, 16, ramp="turns").inv_freq
    ratios = [c / p for c, p in zip(code, paper, strict=True)]

    assert max(range(64), key=ratios.__getitem__) == 38
    assert (ratios[38], code[38] / LLAMA2.inv_freq[38], paper[38] / LLAMA2.inv_freq[38]) == pytest.approx(
        (3.041, 0.351, 0.1154), abs=5e-4
    )
    assert sum(abs(r - 1) > 0.01 for r in ratios) == 25


@pytest.mark.parametrize(
    ("rope", "start", "end"),
    [
        (LLAMA2, 20, 46),  # 20.95 and 45.03: floor is not round, and ceil is not round
        (Rope(64, 10_000.0, 4096), 10, 23),  # 10.47 and 22.51
        (Rope(64, 150_000.0, 4096), 8, 18),  # 8.09 and 17.40
    ],
)
def test_truncate_rounds_the_ramp_outwards(rope, start, end):
    kept = [new == old for new, old in zip(by_parts(rope, 4).inv_freq, rope.inv_freq, strict=True)]
    slowed = [new == pytest.approx(old / 4) for new, old in zip(by_parts(rope, 4).inv_freq, rope.inv_freq, strict=True)]

    assert (kept.index(False) - 1, slowed.index(True)) == (start, end)


def test_a_ramp_running_off_the_slow_end_never_finishes():
    """A long window: the slowest pair still turns. The code's clamp at d - 1, beyond the last pair, keeps the slope."""
    rope = Rope(64, 10_000.0, 262_144)  # start floor(24.9) = 24, end ceil(36.97) = 37; the last pair is 31
    last = by_parts(rope, 4).inv_freq[-1] / rope.inv_freq[-1]

    assert last == pytest.approx(1 - 0.75 * (31 - 24) / (37 - 24), rel=1e-12)


def test_a_ramp_running_off_the_fast_end_starts_at_pair_0():
    rope = Rope(64, 10_000.0, 64)  # 32 turns: start -4, clamped to 0; 1 turn: end ceil(8.06) = 9
    second = by_parts(rope, 4).inv_freq[1] / rope.inv_freq[1]

    assert by_parts(rope, 4).inv_freq[0] == 1
    assert second == pytest.approx(1 - 0.75 / 9, rel=1e-12)


@pytest.mark.parametrize("ramp", ["index", "turns"])
def test_equal_betas_make_a_step(ramp):
    scaled = by_parts(LLAMA2, 4, beta_fast=8, beta_slow=8, truncate=False, ramp=ramp)
    ratios = [round(new / old, 9) for new, old in zip(scaled.inv_freq, LLAMA2.inv_freq, strict=True)]

    assert sorted(set(ratios)) == [0.25, 1.0]
    assert ratios.count(1.0) == sum(turns >= 8 for turns in LLAMA2.turns)


@pytest.mark.parametrize(("dim", "base", "length"), [(128, 500_000.0, 8192), (64, 10_000.0, 4096), (32, 100.0, 50)])
@pytest.mark.parametrize(("fast", "slow"), [(4.0, 1.0), (32.0, 1.0), (2.5, 0.3)])
def test_llama3_is_ntk_by_parts_with_a_ramp_in_turns(dim, base, length, fast, slow):
    rope = Rope(dim, base, length)

    meta = get_method("llama3")(rope, 8, beta_fast=fast, beta_slow=slow)
    paper = by_parts(rope, 8, beta_fast=fast, beta_slow=slow, ramp="turns")

    assert meta.inv_freq == pytest.approx(paper.inv_freq, rel=1e-12)
    assert meta.attention_factor == paper.attention_factor == 1


@pytest.mark.parametrize("name", ["yarn", "ntk_by_parts", "llama3"])
@pytest.mark.parametrize("beta", [0, -1, math.nan, math.inf, True, "32", 10**400])
def test_betas_are_numbers_above_zero(name, beta):
    for which in ("beta_fast", "beta_slow"):
        with pytest.raises(BadOption, match=rf"{which} is .*; it must be a finite number above 0"):
            get_method(name)(LLAMA2, 4, **{which: beta})


@pytest.mark.parametrize("name", ["yarn", "ntk_by_parts", "llama3"])
def test_swapped_betas_are_an_error(name):
    with pytest.raises(BadOption, match=r"beta_fast is 1 and beta_slow 32; .*beta_fast must be the larger"):
        get_method(name)(LLAMA2, 4, beta_fast=1, beta_slow=32)


@pytest.mark.parametrize("name", ["yarn", "ntk_by_parts"])
def test_the_ramp_has_two_names(name):
    with pytest.raises(BadOption, match=r"ramp is 'log'; it must be 'index' .* or 'turns'"):
        get_method(name)(LLAMA2, 4, ramp="log")


@pytest.mark.parametrize("beta", [1e300, 1e308, 1e-300, 5e-324])
def test_absurd_betas_answer_or_are_refused(beta):
    for options in ({"beta_fast": max(beta, 2.0)}, {"beta_slow": min(beta, 2.0)}):
        with contextlib.suppress(BadOption):
            assert all(0 < new <= old for new, old in zip(yarn(LLAMA2, 4, **options).inv_freq, LLAMA2.inv_freq, strict=True))
