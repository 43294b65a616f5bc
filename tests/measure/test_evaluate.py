"""Scoring, records and tables on the bundled model and on numbers worked out by hand."""

import random
from types import SimpleNamespace

import numpy
import pytest
import torch
import transformers

from ropewalk.errors import BadConfig
from ropewalk.measure import nll
from ropewalk.measure.nll import ending_of, head_of, score, token_nll
from ropewalk.measure.records import Key, Record, Records
from ropewalk.measure.tables import loss_by_position
from ropewalk.measure.tasks.passkey import make_passkey
from ropewalk.models.load import load_model


def tiny(kind="llama", **options):
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, pad_token_id=0, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


IDS = torch.randint(1, 99, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 0.5}),
        ("cohere", {"logit_scale": 0.3}),
        ("granite", {"logits_scaling": 3.0}),
    ],
)
@pytest.mark.parametrize(("first", "chunk"), [(1, 7), (33, 100)])
def test_nll_is_the_log_softmax_of_the_models_own_logits(kind, options, first, chunk):
    """The oracle is the plain way: all logits, log_softmax in float64, gather."""
    model = tiny(kind, **options)
    with torch.no_grad():
        logits = model(IDS).logits.double()
    wanted = -logits.log_softmax(-1)[:, :-1].gather(-1, IDS[:, 1:, None])[..., 0][:, first - 1 :]
    seen = score(model, IDS, first=first, chunk=chunk)
    assert head_of(model, IDS) is not None
    torch.testing.assert_close(seen.nll.double(), wanted, atol=2e-6, rtol=0)
    assert torch.equal(seen.greedy, (logits.argmax(-1)[:, :-1] == IDS[:, 1:])[:, first - 1 :])


def test_a_cap_that_a_few_small_logits_do_not_show_is_not_left_out():
    """Of this model in bfloat16 no logit of the first tokens is above 3, which a cap of 30 changes by less than is allowed;
    of other tokens one may be 20, and is then 30 tanh(20 / 30) = 17.48 (Gemma 2's modeling file)."""
    model = tiny("gemma2", final_logit_softcapping=30.0, initializer_range=0.1).to(torch.bfloat16)
    with torch.no_grad():
        assert model(IDS[:1]).logits.abs().max() < 3
        after = ending_of(model, IDS[:1])
    assert float(after(torch.tensor(20.0))) == pytest.approx(17.4835, abs=1e-3)


def test_an_unknown_head_falls_back_to_the_models_own_logits():
    model = tiny()
    model.lm_head.register_forward_hook(lambda *_: _[2] * 2)
    plain = token_nll(model, IDS)
    model.base_model.register_forward_hook(lambda module, args, out: None)
    strange = tiny()
    strange.forward = lambda ids, **kw: type("Out", (), {"logits": tiny()(ids).logits.sin()})()
    with torch.no_grad():
        wanted = -tiny()(IDS).logits.sin().log_softmax(-1)[:, :-1].gather(-1, IDS[:, 1:, None])[..., 0]
    assert head_of(strange, IDS) is None
    torch.testing.assert_close(token_nll(strange, IDS), wanted, atol=1e-6, rtol=0)
    assert plain.shape == (2, 39)


@pytest.mark.parametrize(
    ("before", "after", "known"), [(1.0, 1.0, True), (2.0, 1.0, False), (1.0, 2.0, False), (1.0, 1.001, False)]
)
def test_a_head_is_believed_only_where_it_gives_the_models_own_logits(before, after, known):
    """Hidden states are multiplied before the head, or logits after it, by what no config says; also by a thousandth."""
    model = tiny(initializer_range=0.3)
    plain = model.forward

    def forward(ids, **kwargs):
        hidden = model.base_model(ids, use_cache=False).last_hidden_state * before
        return type("Out", (), {"logits": model.lm_head(hidden) * after})()

    with torch.no_grad():
        logits = forward(IDS).logits.double()
        assert (before, after) != (1.0, 1.0) or torch.equal(plain(IDS).logits.double(), logits)
    model.forward = forward
    assert (head_of(model, IDS) is not None) == known
    wanted = -logits.log_softmax(-1)[:, :-1].gather(-1, IDS[:, 1:, None])[..., 0]
    torch.testing.assert_close(token_nll(model, IDS).double(), wanted, atol=5e-6, rtol=0)


def test_first_must_leave_something_to_score():
    with pytest.raises(ValueError, match="first is 0; it must be from 1 to tokens - 1 = 39"):
        token_nll(tiny(), IDS, first=0)


def record(method, protocol, length, nll, item="a", **facts):
    return Record(Key("m", method, method, protocol, item, length), numpy.array(nll, dtype=numpy.float32), facts)


def test_records_survive_the_disk_and_name_themselves_by_their_key(tmp_path):
    records = Records(tmp_path)
    one = record("yarn", "position", 4, [1.0, 2.0, 3.0], document="d")
    assert one.key not in records
    records.add(one)
    records.add(one)
    assert one.key in records
    (seen,) = records
    assert seen.key == one.key
    assert seen.facts == one.facts
    assert numpy.array_equal(seen.nll, one.nll)


def test_a_damaged_record_is_named(tmp_path):
    records = Records(tmp_path)
    one = record("yarn", "position", 4, [1.0])
    records.add(one)
    path = records.path(one.key)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(BadConfig, match="Delete it and run again"):
        list(records)


def test_loss_by_position_by_hand():
    """Two documents of tokens 0 (BOS) to 3; 1 nat = 1.4427 bits. The dynamic one has a shorter reading for tokens 0-1."""
    nat = 1 / numpy.log(2)
    records = [
        record("yarn", "window", 4, [1, 2, 3], document="a"),
        record("yarn", "window", 4, [3, 4, 5], item="b", document="b"),
        record("dynamic", "window", 2, [7], item="c", document="a", shortest=2),
        record("dynamic", "window", 4, [9, 9, 5], document="a", shortest=4),
    ]
    table = loss_by_position(records, [0, 2, 4])
    assert [b.value for b in table["yarn"]] == pytest.approx([2 * nat, 3.5 * nat])
    assert [b.value for b in table["dynamic"]] == pytest.approx([7 * nat, 7 * nat])


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_a_pass_key_sample_is_as_long_as_asked_and_hides_the_key_once(depth):
    encode = lambda text: list(text.encode())  # noqa: E731
    haystack = list(b"line of code\n" * 50)
    sample = make_passkey(haystack, encode, length=400, depth=depth, rng=random.Random(0), bos=256, newlines={10})
    assert len(sample.ids) == 400
    assert sample.ids[0] == 256
    text = bytes(sample.ids[1:]).decode()
    key = text[-sample.answer_length :]
    assert key.isdigit()
    assert text.count(key) == 3  # told twice, asked for once
    assert sample.needle_start == text.index("\n# The pass key") + 1
    assert abs(sample.needle_start / 300 - depth) < 0.15


def test_log_softmax_is_float32_whatever_the_models_dtype():
    """bfloat16 logits of 200 words: the exact loss of these very logits, in float64. In bfloat16 it is off by 0.02."""
    torch.manual_seed(0)
    logits = torch.randn(1, 40, 200).bfloat16()
    targets = torch.randint(0, 200, (1, 40))
    found = nll._score(logits, targets)
    exact = -torch.log_softmax(logits.double(), -1).gather(-1, targets[..., None])[..., 0]
    assert found.nll.dtype == torch.float32
    assert (found.nll - exact).abs().max() < 1e-5
    assert torch.equal(found.greedy, logits.argmax(-1) == targets)


def test_a_bfloat16_model_is_scored_in_float32():
    model = load_model("ropewalk-tiny", dtype=torch.bfloat16)
    ids = torch.randint(1, 1000, (2, 60), generator=torch.Generator().manual_seed(0))
    found = score(model, ids)
    with torch.no_grad():
        logits = model(ids).logits[:, :-1].double()
    exact = -torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
    assert found.nll.dtype == torch.float32
    assert (found.nll - exact).abs().max() < 0.08  # the head alone, run on all positions at once, rounds otherwise
    assert ((found.nll - exact).abs() < 1e-4).float().mean() > 0.5


def test_positions_are_the_tokens_scored():
    model, ids = load_model("ropewalk-tiny"), torch.arange(1, 41)[None]
    everything = score(model, ids)
    some = score(model, ids, positions=torch.tensor([1, 7, 39]))
    assert torch.allclose(some.nll, everything.nll[:, [0, 6, 38]], atol=1e-5)
    assert torch.equal(some.greedy, everything.greedy[:, [0, 6, 38]])
    assert score(model, ids, first=39).nll.shape == (1, 1)
    for bad in ([0, 3], [3, 40], []):
        with pytest.raises(ValueError, match="positions must be"):
            score(model, ids, positions=torch.tensor(bad))
    for first in (0, 40):
        with pytest.raises(ValueError, match=f"first is {first}"):
            score(model, ids, first=first)


def test_no_more_logits_exist_than_their_limit(monkeypatch):
    """Four rows of 40 tokens; the bundled head has 4,096 words: 10 positions a call are 163,840 numbers."""
    model, ids = load_model("ropewalk-tiny"), torch.arange(1, 161).view(4, 40)
    whole = score(model, ids)
    sizes, linear = [], model.get_output_embeddings()
    words = linear.weight.shape[0]
    monkeypatch.setattr(nll, "LOGITS", 4 * 10 * words)
    hook = linear.register_forward_hook(lambda module, args, output: sizes.append(output.numel()))
    try:
        found = score(model, ids)
    finally:
        hook.remove()
    assert max(sizes) == 4 * 10 * words
    assert len(sizes) == 4  # 39 positions
    assert torch.allclose(found.nll, whole.nll, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "words", "rows", "expected"),
    [
        ("cpu", 49_152, 1, 85),  # 4,194,304 numbers, as many as caches hold
        ("cpu", 151_936, 1, 64),  # 27 would read the head's weights oftener than it multiplies
        ("cpu", 151_936, 8, 27),  # eight rows: 64 positions would be more than 33,554,432 numbers
        ("cpu", 50_000_000, 1, 1),
        ("cuda", 49_152, 1, 682),
    ],
)
def test_how_many_positions_have_logits_at_one_time(device, words, rows, expected):
    model = SimpleNamespace(
        device=SimpleNamespace(type=device), get_input_embeddings=lambda: SimpleNamespace(num_embeddings=words)
    )
    assert nll.positions_at_once(model, rows) == expected
