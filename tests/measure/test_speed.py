"""Speed: plausible numbers of what was really run, one record for each repeat."""

import pytest

from ropewalk.measure.speed import DECODED, REPEATS, measure_speed, speed_keys
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import make_plan


@pytest.mark.parametrize(
    ("method", "decodes"), [("yarn", True), ("dynamic-request", True), ("dynamic", True), ("dynamic-recompute", False)]
)
def test_each_repeat_is_a_record(method, decodes):
    model, calls = load_model("ropewalk-tiny"), []
    plan = make_plan(read_live(model), method=method, target_length=1024)
    keys = speed_keys("hash", plan, 600)
    with attach(model, plan) as attached:
        handle = model.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[1]))
        try:
            records = [measure_speed(model, attached, key, {"dtype": "float32"}, warm=i > 0) for i, key in enumerate(keys)]
        finally:
            handle.remove()
    once = [600 - DECODED, *[1] * DECODED] if decodes else [600]
    assert calls == once * (REPEATS + 1)  # one to warm up
    assert [record.key for record in records] == keys
    assert len({key.name for key in keys}) == REPEATS
    for record in records:
        assert (record.key.protocol, record.key.length, record.facts["length"], len(record.nll)) == ("speed", 600, 600, 0)
        assert record.facts["prefill_tokens_per_second"] > 0
        assert (record.facts["decode_tokens_per_second"] is not None) == decodes
        assert record.facts["peak_bytes"] is None  # of a process on the CPU nothing is known


def test_tokens_per_second_by_hand(monkeypatch):
    """600 tokens: all but sixteen in 2 s, those in 4 s."""
    model, times = load_model("ropewalk-tiny"), iter([10.0, 12.0, 16.0])
    monkeypatch.setattr("ropewalk.measure.speed._now", lambda cuda: next(times))
    plan = make_plan(read_live(model), method="yarn", target_length=1024)
    with attach(model, plan) as attached:
        facts = measure_speed(model, attached, speed_keys("hash", plan, 600)[0], {}, warm=True).facts
    assert (facts["prefill_tokens_per_second"], facts["decode_tokens_per_second"]) == (584 / 2, 16 / 4)
