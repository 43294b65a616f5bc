"""Every proof passes on a sound run, and goes red for the fault it is there for; and then nothing is trained."""

import numpy
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ropewalk.errors import Mismatch
from ropewalk.jobs.train import attention
from ropewalk.jobs.train import checkpoints as keep
from ropewalk.jobs.train.data.layout import IGNORED
from ropewalk.jobs.train.data.packing import PackedRow
from ropewalk.jobs.train.loop import Loop
from ropewalk.jobs.train.preflight import WAYS_OUT, Preflight, check
from ropewalk.models.live import find_tables, read_live
from support import processes
from support.training import one_loop, recipe_of, run, stage_of, texts, tiny_llama, with_tokenizer


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def prove(source, run, sabotage=lambda live, attached: None, **more):
    """What each proof says. No gradient is left, nor, where what was saved was loaded, another weight."""

    def use(live, attached):
        before = [whole(p) for p in live.trained.weights.values()]
        sabotage(live, attached)
        proofs = {proof.name: proof for proof in Preflight(live, attached, run).proofs()}
        assert all(p.grad is None for p in live.trained.weights.values())
        if proofs["save and load"].passed:
            assert all(whole(p).equal(b) for p, b in zip(live.trained.weights.values(), before, strict=True))
        return proofs

    return one_loop(source, use, **more)


def whole(p):
    return (p.detach().full_tensor() if hasattr(p, "full_tensor") else p.detach()).clone()


def sound(proofs):
    return {name for name, proof in proofs.items() if proof.passed}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lora": True},
        {"stage": stage_of(method="dynamic-yarn-causal-2")},
        {"stage": stage_of(method="near-yarn")},
        {"packed": False},
    ],
)
def test_a_sound_run_passes(source, tmp_path, more):
    proofs = prove(source, tmp_path, **more)
    assert {name: proof.said for name, proof in proofs.items() if proof.passed is False} == {}
    assert list(proofs) == list(WAYS_OUT)
    assert proofs["one process as many"].passed is None
    check(list(proofs.values()))
    assert not (tmp_path / "preflight").exists()


def test_bare_adapters_pass(source, tmp_path):
    """Adapters alone begin as zeros: wiping them with zeros would change nothing."""
    assert prove(source, tmp_path, recipe={"lora": {"also": False}})["save and load"].passed


@pytest.mark.parametrize("exchange", ["gather", "ulysses"])
def test_two_processes_pass(source, tmp_path, exchange):
    for proofs in processes.run(2, prove_there, source, tmp_path, exchange):
        assert all(passed for _, passed, _ in proofs), proofs


def prove_there(source, run, exchange, sabotage=lambda live, attached: None):
    proofs = prove(source, run, sabotage, recipe={"context": 2, "exchange": exchange})
    return [(name, proof.passed, proof.said) for name, proof in proofs.items()]


def rounded(live, attached):
    """What `model.to(bfloat16)` does to the tables of many stacks."""
    for tables in find_tables(live.trained.model, read_live(live.trained.model)).values():
        for table in tables:
            table.inv_freq.copy_(table.inv_freq.bfloat16())


def test_rounded_frequencies(source, tmp_path):
    proofs = prove(source, tmp_path, rounded)
    assert proofs["rotary"].passed is False
    with pytest.raises(
        Mismatch, match=r"preflight: rotary: (.|\n)*Something changed the rotary tables(.|\n)*Nothing was trained"
    ):
        check(list(proofs.values()))


def rounded_on_one(live, attached):
    if live.trained.parallel.rank == 1:
        rounded(live, attached)


def test_rounded_frequencies_on_one_process(source, tmp_path):
    """Both say so, and which: otherwise one would go on alone and wait for ever."""
    for proofs in processes.run(2, prove_there, source, tmp_path, "gather", rounded_on_one):
        name, passed, said = proofs[0]
        assert (name, passed) == ("rotary", False)
        assert "process 1 does not rotate as the plan says" in said


def test_attention_that_ignores_documents(source, tmp_path, monkeypatch):
    def plain(query, key, value, spans, scaling, dropout, window):
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)

    monkeypatch.setattr(attention, "_by_spans", plain)
    proofs = prove(source, tmp_path)
    assert proofs["documents apart"].passed is False
    assert proofs["packed as alone"].passed is False
    assert proofs["causal"].passed, "the fault is another one"


def test_attention_that_sees_nothing(source, tmp_path, monkeypatch):
    """Nothing moves in document 2, nor does anything else: "nothing moves" alone would pass."""
    read = Preflight.read
    monkeypatch.setattr(Preflight, "read", lambda self, ids, two=False, alone=False: read(self, ids, two, alone) * 0)
    proofs = prove(source, tmp_path)
    assert proofs["documents apart"].passed is False
    assert proofs["causal"].passed is False
    assert proofs["save and load"].passed is False


def test_a_look_ahead(source, tmp_path, monkeypatch):
    def ahead(query, key, value, spans, scaling, dropout, window):
        parts = [
            scaled_dot_product_attention(
                *(x[:, :, s.first : s.last] for x in (query, key, value)), scale=scaling, enable_gqa=True
            )
            for s in spans
        ]
        return torch.cat(parts, dim=2)

    monkeypatch.setattr(attention, "_by_spans", ahead)
    proofs = prove(source, tmp_path)
    assert proofs["causal"].passed is False
    assert proofs["documents apart"].passed, "the fault is another one"


def test_a_mean_of_means(source, tmp_path, monkeypatch):
    """What gradient accumulation was in transformers until 4.46: each micro-batch divided by its own tokens."""

    def gradients(self, step):
        for layout in step.micros:
            with self.around(layout):
                losses = self.losses(layout)[..., 0]
                count = (layout.labels != IGNORED).sum()
                (losses.sum() / count / len(step.micros)).backward()
        return torch.zeros(1)

    monkeypatch.setattr(Loop, "gradients", gradients)
    proofs = prove(source, tmp_path)
    assert proofs["accumulation"].passed is False
    assert sound(proofs) == set(WAYS_OUT) - {"accumulation", "one process as many"}


def test_a_load_that_skips_a_tensor(source, tmp_path, monkeypatch):
    tensors = keep.tensors

    def but_one(trained, optimizer):
        found = tensors(trained, optimizer)
        del found["weights.model.layers.1.input_layernorm.weight"]
        return found

    monkeypatch.setattr(keep, "tensors", but_one)
    assert prove(source, tmp_path)["save and load"].passed is False


def lost_keys(live, attached):
    """Of two processes each sees its own keys twice."""
    gathered = attention.collectives.all_gather_single_autograd
    rank = live.trained.parallel.rank

    def own(both, gather_dim, group):
        return gathered(both, gather_dim=gather_dim, group=group).chunk(2, dim=2)[rank].repeat(1, 1, 2, 1)

    attention.collectives.all_gather_single_autograd = own


def test_keys_that_do_not_arrive(source, tmp_path):
    proofs = processes.run(2, prove_there, source, tmp_path, "gather", lost_keys)[0]
    assert {name: passed for name, passed, _ in proofs}["one process as many"] is False


def test_nothing_is_trained_after_a_red_proof(tmp_path, monkeypatch):
    source, data = with_tokenizer(tmp_path / "model"), texts(tmp_path / "texts")
    prove_rotary = Preflight.rotary

    def sabotaged(self):
        rounded(self.loop, self.attached)
        return prove_rotary(self)

    monkeypatch.setattr(Preflight, "rotary", sabotaged)
    told = []
    with pytest.raises(Mismatch, match="preflight: rotary"):
        run(recipe_of(source, data), tmp_path / "out", told)
    assert {event.kind for event in told} <= {"index", "proof"}
    assert not keep.complete(tmp_path / "out")
    assert not (tmp_path / "out" / "log.jsonl").read_text()
    assert not (tmp_path / "out" / "model").exists()


def test_a_row_of_one_word_is_no_trouble(source, tmp_path):
    """There is no other token in the row to put in its place."""

    class Same:
        length = 256

        def row(self, number):
            return PackedRow(numpy.full(256, 7), (256,))

    assert prove(source, tmp_path, packing=Same())["causal"].passed
