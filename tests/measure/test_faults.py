"""Memory that runs out and numbers that are none, on models made to fail at a known place."""

import numpy
import pytest
import torch
import transformers

from ropewalk.errors import NotFinite, OutOfMemory
from ropewalk.measure.faults import BatchSize, check_finite, first_bad_layer, is_out_of_memory
from ropewalk.measure.nll import token_nll
from ropewalk.measure.passes import Measurement, measure
from ropewalk.measure.records import Key, Records
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import make_plan

IDS = list(range(1, 31))


def tiny(dtype=torch.float32):
    config = transformers.LlamaConfig(vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                                      num_attention_heads=4, max_position_embeddings=64)  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval().to(dtype)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        # as torch 2.13 words it when the CPU has no more
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_the_cpus_own_words_are_known():
    """The real thing: a petabyte."""
    with pytest.raises(RuntimeError) as stop:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(stop.value)


class Cramped:
    """Reads slices of at most `room` items, and notes what it was asked for."""

    def __init__(self, room):
        self.room, self.asked = room, []

    def __call__(self, piece):
        self.asked.append(len(piece))
        if len(piece) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(piece)


def test_the_batch_is_halved_until_it_fits_and_stays_there():
    said, read = [], Cramped(2)
    batch = BatchSize(8, said.append)
    assert [x for piece in batch.run(range(11), read, lambda item: 7) for x in piece] == list(range(11))
    assert read.asked == [8, 4, 2, 2, 2, 2, 2, 1]
    assert said == [
        "out of memory with 8 sequences of 7 tokens at a time; going on with 4.",
        "out of memory with 4 sequences of 7 tokens at a time; going on with 2.",
    ]


def test_one_sequence_that_does_not_fit_is_an_error_with_a_way_out():
    batch = BatchSize(2)
    with pytest.raises(OutOfMemory, match=r"one sequence of 131,072 tokens does not fit.*\n.*--dtype bfloat16"):
        list(batch.run([1], Cramped(0), lambda item: 131072))


def test_other_errors_pass():
    def read(piece):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(BatchSize(2).run([1], read, lambda item: 1))


def test_the_layer_that_went_wrong_is_named():
    """An infinite weight in the second layer's down projection: nothing before it is touched."""
    model = tiny()
    model.model.layers[1].mlp.down_proj.weight.data[3, 5] = float("inf")
    nll = token_nll(model, torch.tensor([IDS]))[0]
    with pytest.raises(NotFinite, match=r"model\.layers\.1\.mlp\.down_proj \(Linear, float32\), at token 0\.") as stop:
        check_finite(model, nll.numpy(), IDS, range(1, 30), "the document a.py under yarn")
    assert "29 of 29 tokens of the document a.py under yarn" in str(stop.value)
    assert "the first is token 1 (nan)" in str(stop.value)
    assert not model.model.layers[1].mlp.down_proj._forward_hooks


def test_float16_that_overflows_is_named_with_its_dtype():
    model = tiny(torch.float16)
    model.model.layers[2].mlp.up_proj.weight.data.fill_(60000)
    assert "model.layers.2.mlp" in first_bad_layer(model, IDS)
    assert "float16" in first_bad_layer(model, IDS)


def test_the_position_counts_from_the_start_of_the_sequence():
    nll = numpy.array([1.0, 2.0, float("inf"), float("nan")])
    with pytest.raises(NotFinite, match=r"2 of 4 tokens of x is not a number: the first is token 28 \(inf\)") as stop:
        check_finite(tiny(), nll, IDS, [3, 4, 28, 29], "x")
    assert "do not repeat" in str(stop.value)


def test_numbers_pass():
    check_finite(tiny(), numpy.array([0.0, 30.0]), IDS, [28, 29], "x")


def test_a_document_that_gives_no_numbers_is_named_and_what_was_finished_is_kept(tmp_path):
    """Infinite is the embedding of one token; the second document has it at position 20 and is read from token 7 on."""
    model = load_model("ropewalk-tiny")
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data.clone())  # it was tied to the embedding
    model.get_input_embeddings().weight.data[500] = float("inf")
    plan = make_plan(read_live(model), method="yarn", factor=2)

    def measurement(document, ids):
        key = Key("m", plan.fingerprint, plan.name, "window", document, len(ids))
        return Measurement(key, tuple(ids), ((5, 10), (20, len(ids))), {"document": document, "start": 7})

    good = list(range(100, 140))
    bad = [*good[:20], 500, *good[21:]]
    records = Records(tmp_path)
    with pytest.raises(NotFinite) as stop:
        measure(model, plan, [measurement("a.py", good), measurement("b.py", bad)], records, lambda cost: None)
    # attention weighs what is masked with 0, and 0 times infinity is no number: every loss is wrong, also before token 20
    assert "25 of 25 tokens of the document b.py, read from token 7 under yarn" in str(stop.value)
    assert "the first is token 5 (nan)" in str(stop.value)
    assert "model.embed_tokens (Embedding, float32), at token 20" in str(stop.value)
    assert [r.facts["document"] for r in records] == ["a.py"]
