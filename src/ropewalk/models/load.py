"""Loading a checkpoint: safetensors only, none of its code, and complaints that a person can act on."""

from pathlib import Path
from typing import Any

import torch
import transformers

from ropewalk.errors import BadConfig
from ropewalk.models.hub import checkpoint


def load_model(model: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", attention: str = "sdpa") -> Any:
    """A causal language model in evaluation mode.

    model: a folder, a hub id, or `ropewalk-tiny`.
    attention: transformers' attention implementation: "sdpa", "eager" or "flash_attention_2".
    """
    folder = checkpoint(model)
    _quiet()
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation=attention
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadConfig(f"{model} cannot be loaded: {_first_line(error)}") from error
    return loaded.to(device).eval()


def _quiet() -> None:
    """Ropewalk has its own progress bars and words for what goes wrong."""
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_tokenizer(model: str | Path) -> Any:
    folder = checkpoint(model)
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"the tokenizer of {model} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
