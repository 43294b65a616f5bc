"""Stock transformers, which reads the config as anybody's does."""

from typing import Any

TITLE = "transformers"
MODULE = "transformers"
PACKAGES = ("transformers",)
READS = "config.json"
GET = "It comes with Ropewalk."
SECONDS = 3
STEP = 512  # tokens whose logits are float64 at one time


def score(model: str, ids: list[int]) -> Any:
    import torch
    import transformers

    logging: Any = transformers.logging
    logging.set_verbosity_error()
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, attn_implementation="sdpa"
    )
    loaded.eval()
    with torch.inference_mode():
        logits = loaded(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        after = torch.tensor(ids[1:])
        pieces = zip(torch.split(logits, STEP), torch.split(after, STEP))  # noqa: B905
        found = [torch.log_softmax(part.double(), -1).gather(-1, tokens[:, None])[:, 0] for part, tokens in pieces]
        return torch.cat(found).numpy()
