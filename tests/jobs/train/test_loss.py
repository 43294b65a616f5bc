"""The loss in chunks against torch's cross entropy of all logits at once."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from ropewalk.jobs.train.data.layout import IGNORED
from ropewalk.jobs.train.loss import Scoring, find_ending, token_losses

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True))


def gemma():
    """Its logits are capped: 2 tanh(logits / 2)."""
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0, attn_implementation="eager"))


def material():
    torch.manual_seed(3)
    ids = torch.randint(1, 96, (2, 20))
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=IGNORED)
    labels[0, 5] = IGNORED
    return ids, labels, torch.arange(20).expand(2, 20)


@pytest.mark.parametrize("make", [llama, gemma])
@pytest.mark.parametrize("logits", [10**9, 7 * 96])  # all at once; seven tokens at a time, which do not divide 40
def test_value_and_gradient_are_those_of_all_logits(make, logits, monkeypatch):
    monkeypatch.setattr("ropewalk.jobs.train.loss.LOGITS", logits)
    torch.manual_seed(0)
    model = make()
    ids, labels, positions = material()
    labels[1, :3] = model(ids).logits[1, :3].argmax(-1)  # three that are hit
    expected = torch.nn.functional.cross_entropy(
        model(ids).logits.transpose(1, 2).double(), labels, ignore_index=IGNORED, reduction="none"
    )
    top = model(ids).logits.argmax(-1) == labels
    expected.sum().backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    scoring = Scoring(model, find_ending(model))
    with scoring.installed():
        found = model(ids, positions, labels)
        found[..., 0].sum().backward()
    torch.testing.assert_close(found[..., 0].double(), expected, rtol=1e-5, atol=1e-6)
    assert found[..., 1].bool().equal(top)
    assert top.sum() >= 3
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda said, name=name: f"{name}: {said}")
    assert model(ids).logits.shape == (2, 20, 96), "taken off, the model is as before"


@pytest.mark.parametrize(("chunk", "logits"), [(8, 10**9), (None, 8 * 50 + 7)])  # said, or as many as make LOGITS numbers
def test_no_more_logits_than_a_chunk_exist_at_a_time(chunk, logits, monkeypatch):
    monkeypatch.setattr("ropewalk.jobs.train.loss.LOGITS", logits)
    weight, sizes = torch.randn(50, 8, requires_grad=True), []

    def head(hidden):
        sizes.append(len(hidden))
        return hidden @ weight.T

    token_losses(torch.randn(1, 33, 8), torch.randint(0, 50, (1, 33)), head, chunk)[..., 0].sum().backward()
    assert max(sizes) == 8
    assert sum(sizes) == 2 * 33 + (chunk is None), "each chunk once forward, and once again backward"


def test_bfloat16_hidden_states_are_scored_in_float32():
    """bfloat16 has three digits: a loss near 9 would be off by up to 0.03."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(1, 16, 32, dtype=torch.bfloat16), torch.randn(5000, 32, dtype=torch.bfloat16)
    labels = torch.randint(0, 5000, (1, 16))
    logits = (hidden[0] @ weight.T).double()
    expected = torch.logsumexp(logits, -1) - logits.gather(1, labels.T)[:, 0]
    found = token_losses(hidden, labels, lambda h: h @ weight.T)[0, :, 0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_finding_the_ending_leaves_the_model_and_the_random_numbers_as_they_were(training):
    model = LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.5)).train(training)
    before = torch.get_rng_state()
    find_ending(model)
    assert {module.training for module in model.modules()} == {training}
    assert torch.equal(torch.get_rng_state(), before), "nothing is dropped while it looks"
