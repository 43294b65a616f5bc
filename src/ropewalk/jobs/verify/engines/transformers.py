"""Stock transformers, which reads the config as anybody's does."""

from typing import Any

TITLE = "transformers"
MODULE = "transformers"
PACKAGES = ("transformers",)
READS = "config.json"
GET = "It comes with Ropewalk."
SECONDS = 3


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
        logits = loaded(torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
        return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()
