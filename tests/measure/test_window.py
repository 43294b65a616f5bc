"""The model unchanged on its last tokens: against a plain loop of one call per token, in every window that the rule names."""

import json
import math

import numpy
import pytest
import torch

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, BadLength
from ropewalk.jobs.evaluate.job import evaluate
from ropewalk.jobs.evaluate.request import EvalRequest, make_plans
from ropewalk.measure.in_windows import score_in_windows, seen_of
from ropewalk.measure.records import Readings
from ropewalk.measure.task import Sample
from ropewalk.measure.window import WindowPlan, read_plan, window_size
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import ScalingPlan, make_plan

SPEC = read(read_config(bundled_model()))
BOS = 0


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


def window_plan(size=512):
    plan = make_plan(SPEC, factor=8, method="none")
    return WindowPlan(plan.stretches, plan.target_length, plan.model, size)


def one_by_one(model, ids, window, bos):
    """-ln p and whether it is the likeliest, token by token: windows start at 0, S, 2 S, ... with S = window / 4."""
    stride, found = window // 4, []
    for i in range(1, len(ids)):
        start = 0 if i < window else math.ceil((i + 1 - window) / stride) * stride
        seen = ids[start:i]
        assert len(seen) == i or window - stride <= len(seen) < window
        if bos:
            seen = [ids[0], *seen[1:]]
        with torch.no_grad():
            logits = model(torch.tensor([seen])).logits[0, -1]
        found.append((-torch.log_softmax(logits, -1)[ids[i]].item(), logits.argmax().item() == ids[i]))
    nll, greedy = zip(*found, strict=True)
    return numpy.array(nll), numpy.array(greedy)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("tokens", [10, 16, 17, 49, 50, 60])
def test_every_token_is_predicted_from_its_window(model, tokens, bos):
    rows = torch.randint(1, 1000, (2, tokens), generator=torch.Generator().manual_seed(0))
    rows[:, 0] = BOS
    nll, greedy = score_in_windows(model, rows, torch.arange(1, tokens), 16, bos=bos)
    for row, seen, hits in zip(rows.tolist(), nll, greedy, strict=True):
        wanted, right = one_by_one(model, row, 16, bos)
        assert abs(seen.numpy() - wanted).max() < 1e-4
        assert (hits.numpy() == right).all()


def test_only_wanted_tokens_are_read_for(model, monkeypatch):
    ids = torch.randint(1, 1000, (1, 400), generator=torch.Generator().manual_seed(1))
    everything = score_in_windows(model, ids, torch.arange(1, 400), 64, bos=False).nll
    read, forward = [], model.base_model.forward
    monkeypatch.setattr(model.base_model, "forward", lambda ids, **k: read.append(ids.shape) or forward(ids, **k))
    some = score_in_windows(model, ids, torch.tensor([3, 200, 201]), 64, bos=False).nll
    assert torch.allclose(some, everything[:, [2, 199, 200]], atol=1e-5)
    assert read == [(1, 64), (1, 64)]


def test_no_call_is_larger_than_the_text(model, monkeypatch):
    ids = torch.randint(1, 1000, (2, 400), generator=torch.Generator().manual_seed(1))
    score_in_windows(model, ids[:, :100], torch.arange(1, 100), 64, bos=True)
    read, forward = [], model.base_model.forward
    monkeypatch.setattr(model.base_model, "forward", lambda ids, **k: read.append(ids.numel()) or forward(ids, **k))
    score_in_windows(model, ids, torch.arange(1, 400), 64, bos=True)
    assert max(read) <= ids.numel()


def test_what_a_window_is_called():
    assert [window_size(name, 512) for name in ("window", "window-1024", "none", "yarn")] == [512, 1024, None, None]
    with pytest.raises(BadLength, match="window-x is no window"):
        window_size("window-x", 512)
    with pytest.raises(BadLength, match="window of 3 tokens is too small"):
        window_plan(3)


def test_it_is_a_plan_of_its_own_that_no_engine_takes():
    plan = window_plan()
    assert (plan.name, plan.is_dynamic, plan.stretches) == (
        "window-512",
        False,
        make_plan(SPEC, factor=8, method="none").stretches,
    )
    assert len({plan.fingerprint, window_plan(256).fingerprint, make_plan(SPEC, factor=8, method="none").fingerprint}) == 3
    assert read_plan(plan.to_json()) == plan
    assert read_plan(make_plan(SPEC, factor=8).to_json()) == make_plan(SPEC, factor=8)
    with pytest.raises(BadConfig, match=r"schema is 'ropewalk.window/1'"):
        ScalingPlan.from_json(plan.to_json())


@pytest.mark.parametrize("size", [None, "512", [512], 512.5, float("inf"), True])
def test_a_window_of_a_broken_file_is_named(size):
    data = {**json.loads(window_plan().to_json()), "window": size}
    with pytest.raises(BadConfig, match=r"its window is .*; it must be a whole number of tokens"):
        read_plan(json.dumps(data))
    with pytest.raises(BadConfig, match="this is not a Ropewalk plan"):
        read_plan("[" * 100_000)


def test_methods_by_name():
    plans = make_plans(EvalRequest("ropewalk-tiny", methods=("none", "window", "yarn")), SPEC, [512, 1024])
    assert list(plans) == ["none", "window-512", "yarn"]
    assert isinstance(plans["window-512"], WindowPlan)
    assert plans["window-512"].window == 512
    assert plans["window-512"].target_length == 1024


def sample(prompt=100, answer=4, new=4, start=BOS):
    ids = (start, *range(1, prompt + answer))
    return Sample("passkey", 128, 0.5, 3, ids, prompt, prompt + answer, ("x",), new, (10, 20), {"a": 1})


def test_of_a_prompt_its_last_tokens_are_seen_with_bos_before_them():
    seen = seen_of(window_plan(64), sample(), (BOS,))
    assert seen.prompt == (BOS, *range(41, 100))  # 60 tokens: 64 less the answer's 4
    assert seen.answer == (100, 101, 102, 103)
    assert (seen.task, seen.length, seen.depth, seen.index, seen.references, seen.new_tokens) == (
        "passkey", 128, 0.5, 3, ("x",), 4,
    )  # fmt: skip
    assert seen.needle is None


def test_without_bos_the_last_tokens_alone():
    assert seen_of(window_plan(64), sample(start=7), ()).prompt == tuple(range(40, 100))
    assert seen_of(window_plan(64), sample(start=7), (BOS,)).prompt == tuple(range(40, 100))


def test_room_is_kept_for_what_may_be_written():
    assert len(seen_of(window_plan(64), sample(new=32), (BOS,)).prompt) == 32
    with pytest.raises(BadLength, match="no room for an answer"):
        seen_of(window_plan(64), sample(new=64), (BOS,))


def test_what_fits_is_seen_whole_and_other_plans_see_everything():
    whole = sample()
    assert seen_of(window_plan(104), whole, (BOS,)) is whole
    assert seen_of(window_plan(103), whole, (BOS,)) is not whole
    assert seen_of(make_plan(SPEC, factor=8), whole, (BOS,)) is whole


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    request = EvalRequest(
        "ropewalk-tiny", methods=("none", "window-256"), lengths=(256, 512, 1024), documents=2, tasks=("passkey",), samples=2,
        depths=(0.0, 0.95), device="cpu",
    )  # fmt: skip
    return evaluate(tmp_path_factory.mktemp("run"), request)


def test_a_run_reads_documents_and_keys_through_the_window(outcome, model):
    readings = Readings(outcome.records)
    for document in outcome.prepared.documents:
        seen = readings.covering("window-256", document.name, 1, 1024)
        ids = torch.tensor([document.ids[:1024]])
        wanted = score_in_windows(model, ids, torch.arange(1, 1024), 256, bos=True).nll[0].numpy()
        assert abs(seen - wanted).max() < 1e-4
        unchanged = readings.covering("none", document.name, 1, 1024)
        assert abs(seen - unchanged)[:255].max() < 1e-4
        assert abs(seen - unchanged)[255:].max() > 0.1


def test_a_key_outside_the_window_is_not_found_and_one_inside_is(outcome):
    found = {
        (r.facts["length"], r.facts["depth"]): r.facts["score"]
        for r in outcome.records
        if r.key.method == "window-256" and r.key.protocol == "passkey"
    }
    assert found[1024, 0.0] == found[512, 0.0] == 0
    assert found[1024, 0.95] == found[512, 0.95] == 1


def test_the_samples_are_those_of_the_others(outcome):
    items = {
        method: {r.key.item for r in outcome.records if r.key.method == method and r.key.protocol == "passkey"}
        for method in ("none", "window-256")
    }
    assert items["none"] == items["window-256"]


def test_it_pays_no_tax_and_has_no_speed(outcome):
    assert {r.key.protocol for r in outcome.records if r.key.method == "window-256"} == {"window", "passkey"}
    assert {r.key.protocol for r in outcome.records if r.key.method == "none"} == {"window", "passkey", "speed"}


def test_the_report_knows_it_again(outcome):
    from ropewalk.jobs.report.headline import certificate
    from ropewalk.jobs.report.run_folder import read_run

    made = certificate(read_run(outcome.out))
    assert made["methods"] == ["none", "window-256"]
    assert made["missing"] == []
    assert made["headline"]["method"] == "none"
    row = made["verdicts"][1]
    assert row["sentence"].startswith("window-256 sees 256 tokens at a time, so it reads no further")
    assert row["length"] <= 256
    assert json.loads((outcome.out / "plans" / "window-256.json").read_text())["window"] == 256
