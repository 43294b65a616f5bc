"""One real row of attention logits, for the temperature chapter of the explorer: prints the JSON that is kept there.

Example: `python runs/tools/attention_row.py > src/ropewalk/jobs/explore/attention_row.json`
"""

import json

import torch
from transformers.models.llama import modeling_llama

from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.engines.transformers.checkpoint import BUNDLED, bundled_model
from ropewalk.models.load import load_model, load_tokenizer

TEXT = "def area(width, height):\n    return width *"
LAYER, HEAD = 5, 2  # a row that looks at many tokens: 2.65 bits


def main() -> None:
    rows: list[torch.Tensor] = []
    rotate = modeling_llama.apply_rotary_pos_emb

    def listening(q, k, *args, **kwargs):
        q, k = rotate(q, k, *args, **kwargs)
        repeated = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        rows.append(q[0, :, -1:] @ repeated[0].transpose(-1, -2) / q.shape[-1] ** 0.5)
        return q, k

    folder = bundled_model()
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = [model.config.bos_token_id, *tokenizer(TEXT, add_special_tokens=False)["input_ids"]]
    modeling_llama.apply_rotary_pos_emb = listening
    with torch.no_grad():
        model.float()(torch.tensor([ids]))
    tokens = ["start", *(tokenizer.decode([i]).replace("\n", "↵") for i in ids[1:])]
    logits = [round(value, 3) for value in rows[LAYER][HEAD, 0].tolist()]
    source = f"{BUNDLED} (weights {model_fingerprint(folder)[:12]}), layer {LAYER}, head {HEAD}, the last token of {TEXT!r}"
    print(json.dumps({"source": source, "tokens": tokens, "logits": logits}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
