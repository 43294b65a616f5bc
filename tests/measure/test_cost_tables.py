"""Short-context degradation and speed, from records made by hand."""

import math

import pytest

from ropewalk.measure.tables import speed_table, tax_table
from support.synthetic import plans, taxed, timed

LN2 = 0.6931471805599453
PLANS = plans(["none", "yarn"])
NONE, YARN = PLANS["none"], PLANS["yarn"]


def test_the_tax_pools_tokens_and_counts_documents():
    """Document a: 1 and 2 bits added; b: 6 added to its one token. 9 bits over 3 tokens is 3; a mean over documents would be
    3.75. KL: (1 + 1 + 4) / 3 = 2 bits."""
    records = [
        taxed(YARN, "a", [3 * LN2, 4 * LN2], [2 * LN2, 2 * LN2], [LN2, LN2]),
        taxed(YARN, "b", [6 * LN2], [0.0], [4 * LN2]),
    ]
    tax = tax_table(records)["yarn"]
    assert tax.loss.value == pytest.approx(3.0, abs=1e-6)
    assert tax.kl.value == pytest.approx(2.0, abs=1e-6)
    assert (tax.documents, tax.tokens) == (2, 3)
    assert tax.loss.low < 3.0 < tax.loss.high


def test_no_divergence_is_below_0_nor_its_interval():
    """Two documents as far apart as these give a studentised interval that reaches far below 0."""
    records = [taxed(YARN, "a", [1.0], [1.0], [1e-4]), taxed(YARN, "b", [1.0], [1.0], [3.0])]
    tax = tax_table(records)["yarn"]
    assert tax.kl.low == 0.0 < tax.kl.value < tax.kl.high
    one = tax_table(records[:1])["yarn"]
    assert (one.kl.low, one.kl.high) == (-math.inf, math.inf)  # one document says nothing of others


def test_windows_of_one_document_are_one_document():
    records = [taxed(YARN, "a", [LN2 * i] * i, [0.0] * i, [0.0] * i) for i in (1, 2)] + [taxed(YARN, "b", [0.0], [0.0], [0.0])]
    tax = tax_table(records)["yarn"]
    assert (tax.documents, tax.tokens) == (2, 4)
    assert tax.loss.value == pytest.approx(5 / 4, abs=1e-6)


def test_one_bit_more_is_a_perplexity_twice_as_high():
    records = [taxed(YARN, name, [2 * LN2] * 5, [LN2] * 5, [0.0] * 5) for name in "abc"]
    assert tax_table(records)["yarn"].perplexity == pytest.approx(1.0, abs=1e-6)


def test_a_causal_plan_pays_exactly_nothing():
    records = [taxed(YARN, name, [1.25, 3.5], [1.25, 3.5], [0.0, 0.0]) for name in "abc"]
    tax = tax_table(records)["yarn"]
    assert (tax.loss.value, tax.loss.low, tax.loss.high, tax.perplexity, tax.kl.value) == (0, 0, 0, 0, 0)


def test_speed_is_the_median_of_the_repeats():
    """One repeat that another process disturbed moves the mean of 100, 110 and 30 to 80, and the median not below 100."""
    records = [timed(NONE, 512, i, prefill, 40.0 + i, 1000.0) for i, prefill in enumerate((100.0, 30.0, 110.0))]
    speed = speed_table(records)["none"][512]
    assert (speed.prefill, speed.decode, speed.peak_bytes, speed.repeats) == (100.0, 41.0, 1000.0, 3)


def test_what_was_not_measured_is_none():
    record = timed(NONE, 512, 0, 100.0, 1.0, 1.0)
    del record.facts["decode_tokens_per_second"]
    record.facts["peak_bytes"] = None
    speed = speed_table([record])["none"][512]
    assert (speed.prefill, speed.decode, speed.peak_bytes) == (100.0, None, None)
