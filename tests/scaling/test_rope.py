"""Rope against other arithmetic: counting by walking, fifty digits, and complex numbers."""

import cmath
import math
import random

import mpmath
import pytest

from ropewalk.errors import BadConfig
from ropewalk.scaling.rope import LARGEST_LENGTH, LARGEST_ROTARY_DIM, Rope, is_number, is_whole
from support.oracles import turns_by_walking

SHAPES = [(128, 10_000.0, 4096), (64, 150_000.0, 4096), (32, 10_000.0, 2048), (2, 500.0, 64)]


@pytest.mark.parametrize(("dim", "base", "length"), SHAPES)
def test_turns_are_what_walking_round_the_circle_counts(dim, base, length):
    rope = Rope(dim, base, length)

    for theta, turns in zip(rope.inv_freq, rope.turns, strict=True):
        if abs(turns - round(turns)) > 1e-6:  # on the starting line a rounding error decides
            assert turns_by_walking(theta, length) == math.floor(turns)


@pytest.mark.parametrize(("dim", "base", "length"), [*SHAPES, (128, 1.5, 10), (256, 1e12, 2**30)])
def test_frequencies_in_fifty_digits(dim, base, length):
    with mpmath.workdps(50):
        expected = [float(mpmath.mpf(base) ** (-mpmath.mpf(2 * i) / dim)) for i in range(dim // 2)]

    assert list(Rope(dim, base, length).inv_freq) == pytest.approx(expected, rel=1e-14)


def test_wavelength_times_frequency_is_one_turn():
    rope = Rope(96, 10_000.0, 4096)

    assert [w * f for w, f in zip(rope.wavelength, rope.inv_freq, strict=True)] == pytest.approx([math.tau] * 48)


@pytest.mark.parametrize("turns", [1, 4, 32, 0.5])
def test_the_pair_that_turns_so_often_is_found_again(turns):
    rope = Rope(128, 10_000.0, 4096)

    pair = rope.pair_turning(turns)

    assert rope.rope_theta ** (-2 * pair / 128) * 4096 / math.tau == pytest.approx(turns, rel=1e-12)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_q_times_k_depends_on_the_distance_alone(layout):
    """Rotated as pairs of real numbers in either layout; the answer is complex: Re(q k* e^(i theta (m - n))), summed."""
    rope, rng = Rope(16, 10_000.0, 4096), random.Random(0)
    q, k = ([rng.gauss(0, 1) for _ in range(16)] for _ in range(2))
    pairs = [(i, i + 8) if layout == "half" else (2 * i, 2 * i + 1) for i in range(8)]

    def rotate(x, position):
        out = list(x)
        for (a, b), theta in zip(pairs, rope.inv_freq, strict=True):
            cos, sin = math.cos(position * theta), math.sin(position * theta)
            out[a], out[b] = x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin
        return out

    def score(m, n):
        return sum(x * y for x, y in zip(rotate(q, m), rotate(k, n), strict=True))

    def by_complex_numbers(distance):
        return sum(
            (complex(q[a], q[b]) * complex(k[a], k[b]).conjugate() * cmath.exp(1j * theta * distance)).real
            for (a, b), theta in zip(pairs, rope.inv_freq, strict=True)
        )

    for m, n in [(7, 3), (1007, 1003), (131_071, 0), (0, 131_071), (5, 5)]:
        assert score(m, n) == pytest.approx(by_complex_numbers(m - n), abs=1e-9)
    assert score(0, 131_071) != pytest.approx(score(131_071, 0), abs=1e-3)  # the sign of the distance matters


@pytest.mark.parametrize("bad", [0, -2, 3, 1, LARGEST_ROTARY_DIM + 2, 64.0, "64", None, True, float("nan")])
def test_a_rotary_dim_is_an_even_count(bad):
    with pytest.raises(BadConfig, match=r"rotary_dim is .*; it must be an even number of channels, 2 to 65536"):
        Rope(bad, 10_000.0, 4096)


@pytest.mark.parametrize("bad", [0, 1, 1.0, -5.0, 1e300, 10**400, float("inf"), float("nan"), None, "1e4", True])
def test_a_rope_theta_is_a_number_above_one(bad):
    with pytest.raises(BadConfig, match=r"rope_theta is .*; it must be a finite number greater than 1"):
        Rope(64, bad, 4096)


@pytest.mark.parametrize("bad", [0, -1, 4096.0, LARGEST_LENGTH + 1, None, "4096", True])
def test_an_original_length_is_a_count_of_tokens(bad):
    with pytest.raises(BadConfig, match=r"original_length is .*; it must be a whole number of tokens"):
        Rope(64, 10_000.0, bad)


def test_the_same_rope_is_equal_and_hashes_alike_however_its_base_was_typed():
    one, other = Rope(64, 10_000, 4096), Rope(64, 10_000.0, 4096)

    assert (one, hash(one), repr(one)) == (other, hash(other), repr(other))


def test_true_is_neither_a_number_nor_whole():
    assert [is_number(x) for x in (1, 1.5, True, "1", float("nan"), float("inf"), 10**400)] == [True, True] + [False] * 5
    assert [is_whole(x) for x in (1, 1.0, False)] == [True, False, False]
