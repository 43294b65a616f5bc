"""Loading a checkpoint: safetensors only, none of its code, and complaints that a person can act on."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from ropewalk.errors import BadConfig
from ropewalk.models.hub import checkpoint
from ropewalk.scaling.checkpoint import local_checkpoint


def load_model(model: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", attention: str = "sdpa") -> Any:
    """A causal language model in evaluation mode.

    model: a folder, a hub id, or `ropewalk-tiny`.
    attention: transformers' attention implementation: "sdpa", "eager" or "flash_attention_2".
    """
    folder = checkpoint(model)
    quiet()
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation=attention
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise BadConfig(f"{model} cannot be loaded: {_first_line(error)}") from error
    return loaded.to(device).eval()


def quiet() -> None:
    """Ropewalk has its own progress bars and words for what goes wrong."""
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_tokenizer(model: str | Path) -> Any:
    """The model's tokenizer. Of a hub id that is not here yet only the tokenizer's files are fetched, not the weights."""
    place = local_checkpoint(model) or str(model)
    try:
        return transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"the tokenizer of {model} cannot be loaded: {_first_line(error)}") from error


def check_tokenizer(tokenizer: Any, model: Any, name: str) -> None:
    """Raises BadConfig for a tokenizer that cannot be the model's: ids without an embedding, or another BOS or EOS.

    Models state BOS and EOS in config.json and in generation_config.json, and released ones contradict themselves:
    agreeing with either is enough, and so is saying nothing.
    name: what the tokenizer is called in the message.
    """
    rows = model.get_input_embeddings().num_embeddings
    outside = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    if outside:
        token, i = max(outside.items(), key=lambda item: item[1])
        raise BadConfig(
            f"the tokenizer {name} does not belong to this model: {len(outside):,} of its tokens have no embedding "
            f"(the model has {rows:,}; {token!r} is {i:,}).\n  Give the right one with --tokenizer."
        )
    for kind in ("bos_token_id", "eos_token_id"):
        ours, theirs = getattr(tokenizer, kind), _stated(model, kind)
        if ours is not None and theirs and ours not in theirs:
            raise BadConfig(
                f"the tokenizer {name} does not belong to this model: its {kind} is {ours}, the model's "
                f"{' or '.join(map(str, sorted(theirs)))}.\n  Give the right one with --tokenizer."
            )


def _stated(model: Any, kind: str) -> set[int]:
    """The ids that config and generation config give; some give several."""
    values = [getattr(place, kind, None) for place in (model.config.get_text_config(), model.generation_config)]
    return {int(i) for value in values if value is not None for i in (value if isinstance(value, list | tuple) else [value])}


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
