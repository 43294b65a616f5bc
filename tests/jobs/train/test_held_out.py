"""What held-out documents say on the way, against the plain model; on any number of processes the same."""

import types

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM

from ropewalk.jobs.train import export
from ropewalk.jobs.train.held_out import HeldOut, HeldOutLoss, is_flat, read
from ropewalk.jobs.train.log import read_log
from ropewalk.measure.documents import Document
from support import processes
from support.training import one_loop, recipe_of, run, stage_of, texts, tiny_llama, with_tokenizer

TOKENS = 130  # of a document: not what two processes divide


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def documents(count=3):
    rng = numpy.random.default_rng(5)
    return [Document(str(n), tuple(rng.integers(0, 256, TOKENS).tolist()), "") for n in range(count)]


def found_by(source, context, held_out):
    """With factor 1, which changes nothing: so the plain model is the oracle."""
    stage = stage_of(method="none", factor=1.0)
    return one_loop(source, lambda loop, _: read(loop, held_out), stage=stage, recipe={"context": context})


def test_losses_are_the_plain_models(source):
    held_out = HeldOut(documents(), ())
    found = found_by(source, 1, held_out)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float64)
    for row, document in zip(found.sums, held_out.documents, strict=True):
        ids = torch.tensor([document.ids])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        expected = [(losses[a:b].sum(), len(losses[a:b])) for a, b in ((0, 64), (64, 128), (128, 256), (256, 512))]
        numpy.testing.assert_allclose(row, numpy.array(expected, dtype=float), rtol=1e-5, atol=1e-4)
    assert found.edges == (0, 64, 128, 256, 512)
    assert found.mean(0, 128) == pytest.approx(found.sums[:, :2, 0].sum() / (3 * 128))


@pytest.mark.parametrize(("world", "context"), [(2, 1), (2, 2)])
def test_many_processes_read_the_same(source, world, context):
    """Three documents on two groups: one reads a document that is counted once."""
    samples = [greedy(source, right) for right in (True, True, False)]
    held_out = HeldOut(documents(), samples)
    one = processes.run(1, found_by, source, 1, held_out)[0]
    for many in processes.run(world, found_by, source, context, held_out):
        numpy.testing.assert_allclose(many.sums, one.sums, rtol=1e-5, atol=1e-4)
        assert (many.hits, many.asked) == (one.hits, one.asked) == (2, 3)


def greedy(source, right):
    """A document whose last three tokens are the model's own choice, or all but the last of them."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    ids = list(documents()[0].ids[:60])
    for _ in range(3):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    if not right:
        ids[-1] = (ids[-1] + 1) % 256
    return types.SimpleNamespace(ids=tuple(ids), answer_start=60, answer_end=63)


def reading(far, edges=(0, 64, 128)):
    sums = numpy.zeros((6, 2, 2))
    sums[:, 1, 0], sums[:, 1, 1] = far, 100
    return HeldOutLoss(sums, edges, 0, 0)


def test_flat_is_three_evaluations_without_a_gain():
    base = numpy.array([300.0, 310, 290, 305, 295, 320])
    falling = [reading(base - 20 * k) for k in range(5)]
    still = [reading(base) for _ in range(3)]
    assert not is_flat(falling)
    assert not is_flat(still), "three evaluations make two comparisons"
    assert is_flat([*falling, *([falling[-1]] * 3)])
    assert not is_flat([*([falling[0]] * 3), falling[1]]), "the last one gained"


def test_a_stage_that_is_flat_ends_and_a_rise_is_alarmed(tmp_path, monkeypatch):
    """A rate so small that nothing is gained; then one so large that the window is lost."""
    monkeypatch.setattr(export, "check_export", lambda folder: "")
    source, data = with_tokenizer(tmp_path / "model"), texts(tmp_path / "data")
    held_out = {
        "held_out": [str(texts(tmp_path / "held", 3, 4, 200))],
        "held_out_documents": 3,
        "passkeys": 0,
        "evaluate_every": 1,
    }
    told, slow = [], {"rate": 1e-12, "steps": 9, "factor": 2}
    flat = recipe_of(source, data, stages=(slow, {"steps": 2}), stop_when_flat=True, **held_out)
    result = run(flat, tmp_path / "flat", told)
    assert [event.facts["at"] for event in told if event.kind == "flat"] == [3]
    assert [line["at"] for line in read_log(tmp_path / "flat") if "loss" in line] == [1, 2, 3, 10, 11]
    assert (result.steps, result.tokens) == (11, 5 * 128), "tokens are those that were read"
    told.clear()
    run(
        recipe_of(source, data, stages=({"rate": 0.5, "warm_up": 0, "steps": 2, "clip": 100.0},), **held_out),
        tmp_path / "loud",
        told,
    )
    alarms = [event.facts for event in told if event.kind == "alarm"]
    assert alarms
    assert alarms[-1]["rise"] > alarms[-1]["allowed"] == 0.02
