"""Differences by band, and when an agreement is one. Numbers are small enough to be seen by eye."""

import math

import numpy
import pytest

from ropewalk.jobs.verify.compare import EngineScores, band_edges, compare

REFERENCE = EngineScores(numpy.full(10, -1.0), numpy.full(10, -3.0))


def scores(stretched, plain):
    return EngineScores(numpy.array(stretched, dtype=float), numpy.array(plain, dtype=float))


def close(at=None, by=1e-4):
    """Scores that agree with and without the scaling, but for one position."""
    stretched = numpy.full(10, -1.0)
    if at is not None:
        stretched[at] += by
    return EngineScores(stretched, numpy.full(10, -3.0))


def test_bands_are_the_window_and_four_parts_beyond_it():
    assert list(band_edges(128, 640)) == [0, 128, 256, 384, 512, 640]
    assert list(band_edges(100, 110)) == [0, 100, 102, 105, 107, 110]
    assert list(band_edges(4, 6)) == [0, 4, 5, 6]
    with pytest.raises(ValueError, match="4 predictions do not go beyond"):
        band_edges(4, 4)


@pytest.mark.parametrize(("at", "band"), [(0, 0), (3, 0), (4, 1), (9, 4)])
def test_a_difference_is_found_in_its_band_and_nowhere_else(at, band):
    found = compare(REFERENCE, close(at), 4)

    assert [(b.start, b.stop) for b in found.bands] == [(0, 4), (4, 5), (5, 7), (7, 8), (8, 10)]
    assert [b.apart > 0 for b in found.bands] == [i == band for i in range(5)]
    assert found.apart == pytest.approx(1e-4)


def test_it_agrees_only_with_a_control_that_fails():
    found = compare(REFERENCE, close(5), 4)
    assert (found.control, found.floor, found.ratio) == (2.0, 0.0, pytest.approx(2e4))
    assert found.agrees
    assert found.sees

    same = scores([-1.0] * 10, [-1.0] * 10)
    assert compare(REFERENCE, same, 4).agrees
    assert not compare(REFERENCE, same, 4).sees


@pytest.mark.parametrize(("control", "sees"), [(0.0999, False), (0.1001, True)])
def test_the_control_has_to_be_a_hundred_times_as_far_off(control, sees):
    engine = scores([-1.001] + [-1.0] * 9, [-1.0] * 9 + [-1.0 - control])
    assert compare(REFERENCE, engine, 4, tolerance=2e-3).sees is sees


def test_a_control_counts_beyond_the_window_alone():
    """Inside it, a static stretch changes the numbers too; what is to be shown lies beyond."""
    engine = scores([-1.0] * 10, [-9.0] * 4 + [-1.0] * 6)
    found = compare(REFERENCE, engine, 4)
    assert found.bands[0].control == 8.0
    assert found.control == 0.0
    assert not found.sees


@pytest.mark.parametrize("broken", [-9.0, math.nan, -math.inf])
def test_a_control_that_fails_by_another_fault_shows_nothing(broken):
    """Tokens that do not show the scaling, and an engine that breaks without it: its agreement would be that of any engine."""
    blind = EngineScores(numpy.full(10, -1.0), numpy.array([-3.0] * 4 + [-1.0] * 6))
    found = compare(blind, scores([-1.0] * 10, [broken] * 10), 4)

    assert found.agrees
    assert found.control == 0.0
    assert not found.sees


def test_tolerance_is_for_every_position():
    assert not compare(REFERENCE, close(2, 1.1e-3), 4).agrees
    assert compare(REFERENCE, close(2, 1.1e-3), 4, tolerance=1.2e-3).agrees


def test_what_is_no_number_agrees_with_nothing():
    """vLLM's logits are NaN beyond the window with rope_type "dynamic"."""
    found = compare(REFERENCE, close(9, math.nan), 4)
    assert found.apart == math.inf
    assert not found.agrees
    assert found.ratio == 0.0
    assert not compare(REFERENCE, close(9, -math.inf), 4).agrees


def test_an_engine_that_ignores_the_scaling_is_near_the_reference_without_it():
    found = compare(REFERENCE, scores([-3.0] * 10, [-3.0] * 10), 4)
    assert (found.apart, found.unscaled) == (2.0, 0.0)
