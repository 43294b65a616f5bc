"""Every family: what it searches and what it writes are one thing, and its start is the paper's."""

import itertools
import math

import pytest
import torch

from ropewalk.errors import BadOption, UnknownName
from ropewalk.jobs.fit.family import families, get_family, octaves
from ropewalk.scaling.method import get_method
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.schedule import Dynamic

TINY = Rope(64, 10_000.0, 512)
QWEN = Rope(128, 1_000_000.0, 32_768)
CAUSAL = Dynamic("causal", 8)
# A near family is causal, and no one table says it: what is its own is in test_near_family.py.
STATIC = [name for name, family in families().items() if not family.must_be_dynamic]
CASES = [(name, None) for name in STATIC] + [(name, CAUSAL) for name in families() if name != "monotone"]


def points(space):
    draw = torch.Generator().manual_seed(0)
    yield torch.zeros(space.size, dtype=torch.float64)
    yield from (torch.tensor(u, dtype=torch.float64) for u in space.known)
    for width in (0.3, 5.0):
        yield space.inside(width * torch.randn(space.size, dtype=torch.float64, generator=draw))


@pytest.mark.parametrize("rope", [TINY, QWEN], ids=["tiny", "qwen"])
@pytest.mark.parametrize(("name", "dynamic"), CASES)
def test_the_law_is_the_stretch(name, dynamic, rope):
    space = get_family(name).space(rope, 8.0, dynamic)
    for u in points(space):
        stretch = space.stretch(u.tolist())
        assert stretch.dynamic == dynamic
        for scale in (1.1, 2.0**0.5, 1.5, 3.0, 8.0) if dynamic else (8.0,):
            inv_freq, m = space.frequencies(u, scale)
            wanted = stretch.scaled_by(scale)
            torch.testing.assert_close(inv_freq, torch.tensor(wanted.inv_freq, dtype=torch.float64), rtol=1e-12, atol=0)
            assert float(m) == pytest.approx(wanted.attention_factor, rel=1e-12)


@pytest.mark.parametrize("name", STATIC)
def test_factors_stay_between_one_and_s(name):
    space = get_family(name).space(TINY, 8.0, None)
    for u in points(space):
        slowed = [theta / new for theta, new in zip(TINY.inv_freq, space.stretch(u.tolist()).scaled().inv_freq, strict=True)]
        assert all(1 - 1e-12 <= f <= 8 + 1e-9 for f in slowed)
        if name != "yarn":
            assert all(f == pytest.approx(1) for f, turns in zip(slowed, TINY.turns, strict=True) if turns >= 35)
        if name == "monotone":
            assert all(a <= b + 1e-12 for a, b in itertools.pairwise(slowed))


def test_the_search_starts_at_the_papers_numbers():
    released = get_method("yarn")(TINY, 8.0)
    exact = get_method("yarn")(TINY, 8.0, truncate=False)
    for name, wanted, tolerance in (("yarn", exact, 1e-12), ("free", released, 1e-12), ("monotone", released, 0.25)):
        start = get_family(name).space(TINY, 8.0, None)
        scaled = start.stretch([0.0] * start.size).scaled()
        assert scaled.inv_freq == pytest.approx(wanted.inv_freq, rel=tolerance), name
        assert scaled.attention_factor == pytest.approx(0.1 * math.log(8) + 1, rel=1e-12)


def test_causal_lists_begin_at_the_growing_ramp_and_leave_the_window_alone():
    space = get_family("free").space(TINY, 8.0, CAUSAL)
    stretch = space.stretch(space.known[0])
    for scale in (2.0, 4.0, 8.0):  # 2.5 s turns and more are kept, 0.8 and fewer slowed by all of s
        scaled = stretch.scaled_by(scale)
        slowed = [old / new for old, new in zip(TINY.inv_freq, scaled.inv_freq, strict=True)]
        assert all(
            f == pytest.approx(1, rel=1e-12) for f, turns in zip(slowed, TINY.turns, strict=True) if turns > 2.5 * scale
        )
        assert all(f == pytest.approx(scale, rel=1e-12) for f, turns in zip(slowed, TINY.turns, strict=True) if turns < 0.8)
        assert scaled.attention_factor == pytest.approx(1 + 0.05 * math.log(scale), rel=1e-12)
    assert stretch.scaled_by(1.0).inv_freq == TINY.inv_freq
    assert octaves(8.0) == (2**0.5, 2.0, 4.0, 8.0)
    assert octaves(5.0) == (2**0.5, 2.0, 4.0, 5.0)
    assert octaves(1.2) == (1.2,)


def test_a_list_of_factors_serves_one_scale_only():
    with pytest.raises(
        BadOption, match=r"monotone fits one list of factors for one scale[^\n]*\n[^\n]*the family free or near or yarn"
    ):
        get_family("monotone").space(TINY, 8.0, CAUSAL)


def test_an_unknown_family():
    with pytest.raises(UnknownName, match="known: free, monotone, near, yarn"):
        get_family("fre")
