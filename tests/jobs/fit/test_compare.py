"""What the report says of bits that are known."""

import numpy
import pytest
import torch

from ropewalk.jobs.fit.compare import FITTED, baselines, bits_by_token, compare
from ropewalk.measure.documents import Document
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from support.architectures import build, tiny_config


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
    assert row.far.value == pytest.approx(other[:, 3:].mean(), abs=1e-12)  # tokens 4 to 15, by numpy's own mean
    assert row.short.value == pytest.approx(fitted[:, :3].mean() - 0.3)
    assert row.buckets == pytest.approx([other[:, :1].mean(), other[:, 1:3].mean(), other[:, 3:].mean()])
    assert told[FITTED].gain.value == 0


def test_the_gain_has_the_same_width_up_and_down_and_a_mean_has_not():
    """Hall 1988 for differences, whose tails are heavy on both sides; means of documents are skewed upwards."""
    rng = numpy.random.default_rng(1)
    fitted = rng.lognormal(0, 1, (10, 15))
    gains = rng.lognormal(0, 1, (10, 1))
    row = compare({FITTED: fitted, "other": fitted + gains}, 4, (0, 16))["other"]
    assert row.gain.value == pytest.approx(gains.mean())
    assert row.gain.high - row.gain.value == pytest.approx(row.gain.value - row.gain.low)
    assert row.far.high - row.far.value > 1.2 * (row.far.value - row.far.low)


def test_bits_are_those_of_all_logits_under_the_plan():
    """float64 log_softmax over ln 2, of tokens 1, 2, ..."""
    model = build(tiny_config("llama"))
    ids = torch.arange(1, 31)[None] % 60
    for plan in baselines(read_live(model), 2.0, ["all"], "m").values():
        with attach(model, plan), torch.no_grad():
            logits = model(ids, use_cache=False).logits[:, :-1].double()
        wanted = -logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[0, :, 0] / numpy.log(2)
        found = bits_by_token(model, plan, Document("d", tuple(ids[0].tolist())))
        assert found == pytest.approx(wanted.numpy(), abs=1e-5)


def test_the_rivals_of_a_fit():
    """docs/fit.md: yarn as released and as in the paper (eq. 18, a ramp linear in turns), ntk, and the causal one."""
    plans = baselines(read_live(build(tiny_config("llama"))), 2.0, ["all"], "m")
    stretches = {name: plan.stretches[0][1] for name, plan in plans.items()}
    assert list(stretches) == ["yarn", "yarn, paper", "ntk", "dynamic-yarn"]
    assert dict(stretches["yarn, paper"].options)["ramp"] == "turns"
    assert stretches["yarn, paper"].scaled().inv_freq != stretches["yarn"].scaled().inv_freq
    assert [bool(s.dynamic) for s in stretches.values()] == [False, False, False, True]
    assert {s.factor for s in stretches.values()} == {2.0}
