"""The smallest detectable difference: against tables, another arithmetic, and by finding it."""

import math
from statistics import NormalDist

import mpmath
import numpy
import pytest

from ropewalk.errors import BadOption
from ropewalk.jobs.evaluate.result import _power
from ropewalk.measure.comparisons import compare
from ropewalk.measure.statistics import documents_needed, in_words, smallest_detectable, student
from ropewalk.measure.tables import Sums


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 11, 12, 39, 501, 5000])
@pytest.mark.parametrize("share", [0.8, 0.95, 0.975])
def test_student_against_the_incomplete_beta_function(share, freedom):
    t = student(share, freedom)

    above = mpmath.betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True) / 2
    assert float(1 - above) == pytest.approx(share, abs=3e-9)


@pytest.mark.parametrize("documents", [6, 12, 40])
def test_the_smallest_difference_against_the_noncentral_t(documents):
    """Power of the paired t test by integrating over what the deviation may come out as: 0.8, to the two decimals claimed."""
    freedom, effect = documents - 1, smallest_detectable(1.0, documents)
    normal = NormalDist()
    scales = numpy.sqrt(numpy.random.default_rng(0).chisquare(freedom, 20_000) / freedom)
    power = numpy.mean([1 - normal.cdf(student(0.975, freedom) * scale - effect) for scale in scales])

    assert power == pytest.approx(0.8, abs=0.01)


def test_a_difference_of_that_size_is_found_four_times_in_five():
    rng = numpy.random.default_rng(6)
    counts, tries = numpy.full(12, 100), 1000
    effect = smallest_detectable(1 / math.sqrt(12), 12)
    found = [
        compare((effect + rng.normal(size=12)) * 100, numpy.zeros(12), counts, samples=999).significant for _ in range(tries)
    ]

    assert 0.74 <= numpy.mean(found) <= 0.82  # the bootstrap, not knowing the deviations to be normal, is a little shyer


def test_as_many_documents_as_needed_and_not_one_fewer():
    error, n = 0.0067, 12
    needed = documents_needed(error, n, 0.01)
    at = lambda k: smallest_detectable(error * math.sqrt(n / k), k)  # noqa: E731

    assert at(needed) <= 0.01 < at(needed - 1)
    assert documents_needed(error, n, smallest_detectable(error, n)) == n


def test_the_research_table_of_documents_for_one_per_cent():
    """Deviations 0.026 and 0.059 nats: 55 and 276 documents with normal quantiles, (1.96 + 0.84)^2 sd^2 / d^2 plus 2."""
    assert documents_needed(0.026 / math.sqrt(40), 40, 0.01) == pytest.approx(55, abs=2)
    assert documents_needed(0.059 / math.sqrt(40), 40, 0.01) == pytest.approx(276, abs=2)


def test_very_many_documents_are_counted_at_once():
    """(1.96 + 0.8416)^2 sd^2 / d^2 with a deviation of 1 and a difference of 1e-6."""
    assert documents_needed(0.1, 100, 1e-6) == pytest.approx(2.80159**2 * 1e12, rel=1e-4)


def test_it_is_said_in_words():
    assert in_words(0.0067, 12, 0.010, unit="bits") == (
        "12 documents can tell differences of 0.021 bits apart; for 0.010 you need 45"
    )
    assert in_words(0.0067, 12, 0.5) == "12 documents can tell differences of 0.021 nats apart"
    assert in_words(0.00002, 12) == "12 documents can tell differences of 6.2e-05 nats apart"
    assert in_words(math.inf, 1).startswith("1 document cannot show any difference")


def test_what_has_no_answer_is_refused():
    with pytest.raises(BadOption, match="1 document cannot say how much documents differ"):
        documents_needed(math.inf, 1, 0.01)
    with pytest.raises(BadOption, match="must be above 0"):
        documents_needed(0.01, 12, 0.0)
    assert smallest_detectable(0.1, 1) == math.inf


def test_two_documents_are_enough_where_they_hardly_differ():
    """t of one degree of freedom, tan(pi (p - 1/2)): 12.706 + 1.376 = 14.083 deviations of the mean of two."""
    least = math.tan(math.pi * 0.475) + math.tan(math.pi * 0.3)
    assert smallest_detectable(1.0, 2) == pytest.approx(least)
    assert documents_needed(1.0, 2, least * 1.001) == 2
    assert documents_needed(1.0, 2, least * 0.999) == 3


def test_level_and_power_that_are_asked_for_count():
    """Normal quantiles, for very many documents: 2.5758 + 0.8416 at 1 %, 1.9600 + 1.2816 at a power of 90 %."""
    assert smallest_detectable(1.0, 10**6, level=0.01) == pytest.approx(2.575829 + 0.841621, abs=1e-4)
    assert smallest_detectable(1.0, 10**6, power=0.9) == pytest.approx(1.959964 + 1.281552, abs=1e-4)
    assert documents_needed(0.1, 100, 1e-3, level=0.01, power=0.9) == pytest.approx((2.575829 + 1.281552) ** 2 * 1e6, rel=1e-4)


def test_what_documents_can_tell_is_said_of_plans_that_read_the_same_ones():
    """Bits that differ by 0.1, 0.2, 0.3: an error of 0.1 / sqrt(3), times t(0.975) + t(0.8) of 2 degrees, 4.3027 + 1.0607."""

    def cell(names, *bits):
        return {"64": Sums(tuple(names), numpy.array(bits) * 100 * math.log(2), numpy.full(3, 100), numpy.full(3, 100))}

    rows = {"none": cell("abc", 3.0, 4.0, 5.0), "yarn": cell("abc", 3.1, 4.2, 5.3), "ntk": cell("abd", 3.1, 4.2, 5.3)}
    assert _power(rows, None) == {"yarn": "3 documents can tell differences of 0.310 bits per token apart"}
    assert _power({}, None) == {}
