"""What llama.cpp makes of a GGUF: run by the python of an environment that has llama-cpp-python, and nothing of Ropewalk.

    python llama_cpp_judge.py JOB.json OUT.npz

JOB: {"model": path, "texts": [...], "ids": [...], "messages": [...]}; each but the first may be left out.
"""

import json
import sys

import llama_cpp
import numpy

FLOAT32 = 0  # GGML_TYPE_F32: the cache's default, float16, costs 3e-2 in a logit


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
    room = llama_cpp.ctypes.create_string_buffer(1 << 16)
    length = llama_cpp.llama_chat_apply_template(template, chat, len(messages), True, room, len(room))
    return {"rendered": numpy.array(room.raw[:length].decode() if length >= 0 else "")}


def main(job, out):
    with open(job) as file:
        asked = json.load(file)
    ids, texts, messages = asked.get("ids"), asked.get("texts"), asked.get("messages")
    size = {"n_ctx": max(len(ids or ()), 64), "n_batch": 512, "logits_all": True, "type_k": FLOAT32, "type_v": FLOAT32}
    llama = llama_cpp.Llama(asked["model"], n_gpu_layers=0, verbose=False, vocab_only=ids is None, **(size if ids else {}))
    found = {}
    found |= tokens(llama, texts) if texts else {}
    found |= logits(llama, ids) if ids else {}
    found |= rendered(llama, messages) if messages else {}
    numpy.savez(out, **found)


main(*sys.argv[1:])
