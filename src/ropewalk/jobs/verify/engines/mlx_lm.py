"""MLX-LM: reads the folder of a transformers checkpoint. On Linux it runs on the CPU."""

from typing import Any

TITLE = "MLX-LM"
MODULE = "mlx_lm"
PACKAGES = ("mlx-lm",)
READS = "config.json"
GET = 'pip install "ropewalk[verify]"'
SECONDS = 3
STEP = 512  # tokens at a time, as any prompt is read; mlx_lm.generate takes 2048


def score(model: str, ids: list[int]) -> Any:
    from pathlib import Path

    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model

    loaded, _ = load_model(Path(model), lazy=True)
    loaded.update(tree_map(lambda x: x.astype(mx.float32) if mx.issubdtype(x.dtype, mx.floating) else x, loaded.parameters()))
    cache = make_prompt_cache(loaded)
    found = []
    for start in range(0, len(ids) - 1, STEP):  # so that the logits of one piece alone are there at a time
        piece, after = ids[:-1][start : start + STEP], ids[start + 1 : start + 1 + STEP]
        logits = loaded(mx.array([piece]), cache=cache)[0].astype(mx.float32)
        chosen = mx.take_along_axis(logits, mx.array(after)[:, None], -1)[:, 0]
        found.append(chosen - mx.logsumexp(logits, -1))
        mx.eval(found[-1])
    return mx.concatenate(found)
