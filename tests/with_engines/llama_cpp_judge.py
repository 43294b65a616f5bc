"""What llama.cpp makes of a GGUF: run by the python of an environment that has llama-cpp-python, and nothing of Ropewalk.

    python llama_cpp_judge.py JOB.json OUT.npz

JOB: {"model": path, "texts": [...], "ids": [...], "messages": [...], "quantise": [kind, path],
      "dequantise": [[file, start, bytes, ggml's number of the type, numbers], ...]}; each part may be left out.
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy

FLOAT32 = 0  # GGML_TYPE_F32: the cache's default, float16, costs 3e-2 in a logit


class Traits(ctypes.Structure):
    """struct ggml_type_traits of ggml.h."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("block", ctypes.c_int64), ("interleave", ctypes.c_int64), ("size", ctypes.c_size_t),
        ("is_quantised", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )  # fmt: skip


def tokens(llama, texts):
    """Special tokens are read where they are spelt, and what begins and ends a text is added."""
    found = [llama.tokenize(text.encode(), add_bos=True, special=True) for text in texts]
    return {"tokens": numpy.array([i for ids in found for i in ids], int), "lengths": numpy.array([len(ids) for ids in found])}


def logits(llama, ids):
    llama.eval(ids)
    return {"logits": llama.scores[: len(ids)].copy()}


def rendered(llama, messages):
    """The conversation as llama.cpp's own template engine spells it, which knows the usual templates by their looks."""
    chat = (llama_cpp.llama_chat_message * len(messages))()
    kept = []
    for place, message in zip(chat, messages, strict=True):
        kept += [message["role"].encode(), message["content"].encode()]
        place.role, place.content = kept[-2], kept[-1]
    template = llama.metadata["tokenizer.chat_template"].encode()
    room = ctypes.create_string_buffer(1 << 16)
    length = llama_cpp.llama_chat_apply_template(template, chat, len(messages), True, room, len(room))
    return {"rendered": numpy.array(room.raw[:length].decode() if length >= 0 else "")}


def quantised(model, kind, out):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    if llama_cpp.llama_model_quantize(model.encode(), out.encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp did not quantise {model} to {kind}")


def dequantised(places):
    """By ggml's own functions, which llama.cpp computes with."""
    (library,) = Path(llama_cpp.__file__).parent.glob("lib/libggml-base.so")
    traits = ctypes.CDLL(str(library)).ggml_get_type_traits
    traits.restype, traits.argtypes = ctypes.POINTER(Traits), [ctypes.c_int]
    found = {}
    for number, (file, start, size, kind, count) in enumerate(places):
        with open(file, "rb") as stream:
            stream.seek(start)
            raw = stream.read(size)
        out = numpy.empty(count, numpy.float32)
        traits(kind).contents.to_float(raw, out.ctypes.data, count)
        found[f"dequantised{number}"] = out
    return found


def main(job, out):
    with open(job) as file:
        asked = json.load(file)
    ids, texts, messages = asked.get("ids"), asked.get("texts"), asked.get("messages")
    found = {}
    if asked.get("quantise"):
        quantised(asked["model"], *asked["quantise"])
    if asked.get("dequantise"):
        found |= dequantised(asked["dequantise"])
    if ids or texts or messages:
        size = {"n_ctx": len(ids or "1"), "n_batch": 512, "logits_all": True, "type_k": FLOAT32, "type_v": FLOAT32}
        llama = llama_cpp.Llama(asked["model"], n_gpu_layers=0, verbose=False, vocab_only=not ids, **(size if ids else {}))
        found |= tokens(llama, texts) if texts else {}
        found |= logits(llama, ids) if ids else {}
        found |= rendered(llama, messages) if messages else {}
    numpy.savez(out, **found)


main(*sys.argv[1:])
