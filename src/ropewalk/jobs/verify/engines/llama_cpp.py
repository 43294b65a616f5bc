"""llama.cpp through llama-cpp-python: reads a GGUF. The cache is float32; its default, float16, costs 3e-2 in a logit."""

from typing import Any

TITLE = "llama.cpp"
MODULE = "llama_cpp"
PACKAGES = ("llama-cpp-python",)
READS = "GGUF"
GET = "make engines (about a quarter of an hour, once), or pip install llama-cpp-python"
SECONDS = 5
BATCH = 512
FLOAT32 = 0  # GGML_TYPE_F32


def score(model: str, ids: list[int]) -> Any:
    import numpy
    from llama_cpp import Llama

    llama = Llama(
        model, n_ctx=len(ids), n_batch=BATCH, n_gpu_layers=0, logits_all=True, type_k=FLOAT32, type_v=FLOAT32, verbose=False
    )
    llama.eval(ids)
    logits = llama.scores[: len(ids) - 1]
    found = [_chosen(numpy, logits[i : i + BATCH], ids[i + 1 : i + 1 + BATCH]) for i in range(0, len(ids) - 1, BATCH)]
    llama.close()
    return numpy.concatenate(found)


def _chosen(numpy: Any, logits: Any, targets: list[int]) -> Any:
    logits = logits[: len(targets)].astype(numpy.float64)
    highest = logits.max(-1)
    total = numpy.log(numpy.exp(logits - highest[:, None]).sum(-1)) + highest
    return logits[numpy.arange(len(targets)), targets] - total
