"""Reading documents with a small model, for the tests of protocols."""

import random

import numpy
import torch
import transformers

from ropewalk.measure.documents import Document
from ropewalk.measure.faults import BatchSize
from ropewalk.measure.passes import bodies, measure, wanted_passes, window_measurements
from ropewalk.measure.protocols import parse_protocol
from ropewalk.measure.records import Readings, Records
from ropewalk.models.live import read_live
from ropewalk.scaling.plan import make_plan

BOS, ORIGINAL = 1, 64


def small_model(**options):
    """Two layers, a window of 64 tokens, and weights large enough that a wrong rotation shows in every loss."""
    config = transformers.LlamaConfig(
        vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=ORIGINAL, initializer_range=0.15, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


def plan_for(model, method, factor=4.0, **options):
    return make_plan(read_live(model), method=method, factor=factor, options=options)


def documents(*tokens, bos=BOS):
    """One random document of each size, BOS before it."""
    rng = random.Random(5)
    start = () if bos is None else (bos,)
    return [Document(f"d{i}", (*start, *(rng.randrange(2, 99) for _ in range(n)))) for i, n in enumerate(tokens)]


def measurements(plan, protocols, texts, bos=BOS):
    wanted = wanted_passes([parse_protocol(text) for text in protocols], texts, plan, bos=bos)
    return list(window_measurements("model", plan, wanted.passes, bodies(texts, bos), bos=bos, tokenizer_hash="t"))


def read_all(folder, model, plan, protocols, texts, *, bos=BOS, batch=1, order=None):
    """Records and their index; `order` shuffles the measurements."""
    made = measurements(plan, protocols, texts, bos)
    if order is not None:
        random.Random(order).shuffle(made)
    records = Records(folder)
    measure(model, plan, made, records, lambda cost: None, batch=BatchSize(batch))
    return records, Readings(records)


@torch.no_grad()
def plain_nll(model, ids):
    """The oracle: all logits, log-softmax in float64; (tokens - 1,) losses of tokens 1, 2, ..."""
    row = torch.tensor([ids])
    logits = model(row, use_cache=False).logits.double()
    return -logits.log_softmax(-1)[0, :-1].gather(-1, row[0, 1:, None])[:, 0].numpy()


def close(a, b, tolerance=1e-5):
    return a is not None and len(a) == len(b) and float(numpy.abs(numpy.asarray(a) - numpy.asarray(b)).max()) <= tolerance
