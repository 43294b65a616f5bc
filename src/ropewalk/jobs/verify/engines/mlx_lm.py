"""MLX-LM: reads the folder of a transformers checkpoint. On Linux it runs on the CPU."""

from typing import Any

TITLE = "MLX-LM"
MODULE = "mlx_lm"
PACKAGES = ("mlx-lm",)
READS = "config.json"
GET = 'pip install "ropewalk[verify]"'
SECONDS = 3


def score(model: str, ids: list[int]) -> Any:
    from pathlib import Path

    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.utils import load_model

    loaded, _ = load_model(Path(model), lazy=True)
    loaded.update(tree_map(lambda x: x.astype(mx.float32) if mx.issubdtype(x.dtype, mx.floating) else x, loaded.parameters()))
    logits = loaded(mx.array([ids]))[0, :-1].astype(mx.float32)
    chosen = mx.take_along_axis(logits, mx.array(ids[1:])[:, None], -1)[:, 0]
    found = chosen - mx.logsumexp(logits, -1)
    mx.eval(found)
    return found
