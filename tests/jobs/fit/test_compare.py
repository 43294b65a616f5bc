"""What the report says of bits that are known."""

import numpy
import pytest

from ropewalk.jobs.fit.compare import FITTED, compare


def test_far_short_buckets_and_the_paired_gain():
    rng = numpy.random.default_rng(0)
    hard = rng.normal(3.0, 1.0, (10, 1))  # documents differ far more than plans do
    fitted = hard + rng.normal(0, 0.1, (10, 15))
    other = fitted + 0.2
    other[:, :3] -= 0.5  # tokens 1, 2, 3: inside an original length of 4
    told = compare({FITTED: fitted, "other": other}, 4, (0, 2, 4, 16))
    row = told["other"]
    assert row.gain.value == pytest.approx(0.2)
    assert row.gain.low == pytest.approx(0.2)  # paired: the same in every document
    assert row.gain.high == pytest.approx(0.2)
    assert row.far.high - row.far.low > 0.5  # unpaired
    assert row.short.value == pytest.approx(fitted[:, :3].mean() - 0.3)
    assert row.buckets == pytest.approx([other[:, :1].mean(), other[:, 1:3].mean(), other[:, 3:].mean()])
    assert told[FITTED].gain.value == 0
