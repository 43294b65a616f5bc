"""Run by vLLM's own Python: answers rounds of requests with one engine, and writes tokens and log-probabilities.

    python vllm_requests.py JOB.json OUT.json

JOB: {"model", "engine": LLM's arguments, "rounds": [[{"ids", "max_tokens", "prompt_logprobs", "extra_args"}]]}.
OUT: the rounds, each one batch, of {"tokens", "logprobs", "cached"}: greedy tokens, and the log-probability of each token of
the prompt but the first, where that was asked for, and of the answer. After an error: {"error": its words}.
"""

import json
import sys
from typing import Any


def main(job_file: str, out_file: str) -> None:
    with open(job_file, encoding="utf-8") as stream:
        job = json.load(stream)
    try:
        answer: Any = answers(job)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    with open(out_file, "w", encoding="utf-8") as stream:
        json.dump(answer, stream)


def answers(job: dict[str, Any]) -> list[list[dict[str, Any]]]:
    from vllm import LLM, SamplingParams

    engine = LLM(job["model"], skip_tokenizer_init=True, dtype="float32", max_num_seqs=32, **job["engine"])
    done = []
    for requests in job["rounds"]:
        prompts = [{"prompt_token_ids": r["ids"]} for r in requests]
        params = [
            SamplingParams(
                temperature=0, max_tokens=r["max_tokens"], logprobs=0, prompt_logprobs=0 if r.get("prompt_logprobs") else None,
                detokenize=False, ignore_eos=True, extra_args=r.get("extra_args"),
            )
            for r in requests
        ]  # fmt: skip
        outs = engine.generate(prompts, params, use_tqdm=False)
        done.append([_told(out) for out in outs])
    return done


def _told(out: Any) -> dict[str, Any]:
    (first,) = out.outputs
    prompt = [
        found[token].logprob for token, found in zip(out.prompt_token_ids, out.prompt_logprobs or [], strict=False) if found
    ]
    written = [found[token].logprob for token, found in zip(first.token_ids, first.logprobs, strict=True)]
    return {"tokens": list(first.token_ids), "logprobs": prompt + written, "cached": out.num_cached_tokens}


if __name__ == "__main__":
    main(*sys.argv[1:])
