"""Loading a checkpoint: safetensors only, none of its code, and complaints that a person can act on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.models.auto import modeling_auto as auto
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING as METHODS

from ropewalk.checkpoints.adapters import base_checkpoint, find_adapter
from ropewalk.checkpoints.gguf_places import find_gguf
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.checkpoints.weights import weights_of
from ropewalk.engines.transformers.checkpoint import read_config, text_of
from ropewalk.errors import BadConfig, first_line
from ropewalk.models.adapters import tokenizer_place, with_adapter
from ropewalk.models.from_gguf.checkpoint import folder_of, tokenizer_folder
from ropewalk.progress import SILENT, Progress

CONFIG_VERBS = "  The verbs that read configs (plan, doctor, explore, extend, export) work without its weights."


def load_model(
    model: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    attention: str = "sdpa",
    progress: Progress = SILENT,
) -> Any:
    """A causal language model in evaluation mode; of a model that also sees pictures, the whole, to be read with texts.

    model: a folder, a GGUF, a hub id, or `ropewalk-tiny`; an adapter's folder loads its base, and the adapter into it.
    A GGUF is dequantised once, into a folder that is kept.
    attention: transformers' attention implementation: "sdpa", "eager" or "flash_attention_2".

    Raises BadConfig where a class, a package or a weight is missing: transformers would make up missing weights by chance.
    """
    source = find_gguf(model)
    if source is None:
        folder = checkpoint(model)
    else:
        folder = folder_of(source, str(dtype).removeprefix("torch."), progress, device=device)
    if adapter := find_adapter(folder):
        base = load_model(base_checkpoint(adapter), dtype=dtype, device=device, attention=attention, progress=progress)
        return with_adapter(base, adapter)
    quiet()
    config = read_config(folder)
    weights_of(folder)
    _check_quantised(model, config)
    how = dict(dtype=dtype, use_safetensors=True, trust_remote_code=False, attn_implementation=attention)
    packed = "quantization_config" in {**config, **text_of(config)}
    try:
        loaded, found = _class_for(model, config).from_pretrained(folder, output_loading_info=True, **how)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError) as error:
        besides = f"\n{CONFIG_VERBS}" if packed else ""
        raise BadConfig(f"{model} cannot be loaded: {first_line(error)}{besides}") from error
    _check_weights(model, found)
    if packed:
        _of_one_kind(loaded, dtype)
    return loaded.to(device).eval()


def _class_for(model: str | Path, config: Mapping[str, Any]) -> Any:
    """The class that transformers reads texts with: the causal language model, or the one for pictures and texts."""
    kind = config.get("model_type")
    if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return transformers.AutoModelForCausalLM
    if kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return transformers.AutoModelForImageTextToText
    if kind not in transformers.CONFIG_MAPPING:
        own = " Its own code is not run." if "auto_map" in config else ""
        raise BadConfig(
            f"{model} cannot be loaded: transformers {transformers.__version__} has no model type {kind!r}.{own}\n"
            "  The verbs that read configs (plan, doctor) may know it all the same."
        )
    raise BadConfig(f"{model} cannot be loaded: transformers has no class that writes text with a {kind} model.")


def _check_quantised(model: str | Path, config: Mapping[str, Any]) -> None:
    """transformers passes over a way of quantising that it does not know, and reads packed weights as missing ones."""
    said = text_of(config).get("quantization_config") or config.get("quantization_config")
    if not isinstance(said, Mapping):
        return
    method = str(said.get("quant_method") or ("bitsandbytes" if said.get("load_in_4bit") or said.get("load_in_8bit") else ""))
    if method.removesuffix("_4bit").removesuffix("_8bit") not in {
        m.removesuffix("_4bit").removesuffix("_8bit") for m in METHODS
    }:
        raise BadConfig(
            f"{model} cannot be loaded: its weights are quantised by {method or 'a method that it does not name'!r}, which "
            f"transformers {transformers.__version__} does not read.\n"
            f"{CONFIG_VERBS}"
        )


def _of_one_kind(model: Any, dtype: torch.dtype) -> None:
    """Weights that transformers unpacks, as it does with fp8 on a CPU, come in bfloat16 whatever was asked for (5.23)."""
    for weight in model.parameters():
        if weight.dtype == torch.bfloat16:
            weight.data = weight.data.to(dtype)


def _check_weights(model: str | Path, found: Mapping[str, Any]) -> None:
    for what, keys in (("lacks", found.get("missing_keys")), ("has other shapes for", found.get("mismatched_keys"))):
        names = sorted(key if isinstance(key, str) else key[0] for key in keys or ())
        if names:
            raise BadConfig(
                f"{model} {what} {len(names)} of the model's weights, such as {names[0]}:\n"
                "  transformers would fill them in by chance. Its files are incomplete, are of another model than its\n"
                "  config.json, or are packed in a way that is not read."
            )


def quiet() -> None:
    """Ropewalk has its own progress bars and words for what goes wrong."""
    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_tokenizer(model: str | Path) -> Any:
    """The model's tokenizer. Of a hub id that is not here yet only the tokenizer's files are fetched, not the weights."""
    source = find_gguf(model)
    place = tokenizer_folder(source) if source else tokenizer_place(model)
    try:
        return transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(f"the tokenizer of {model} cannot be loaded: {first_line(error)}") from error


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
            f"(the model has {rows:,}; {token!r} is {i:,}).\n  Give the right one with tokenizer (--tokenizer)."
        )
    for kind in ("bos_token_id", "eos_token_id"):
        ours, theirs = getattr(tokenizer, kind), _stated(model, kind)
        if ours is not None and theirs and ours not in theirs:
            raise BadConfig(
                f"the tokenizer {name} does not belong to this model: its {kind} is {ours}, the model's "
                f"{' or '.join(map(str, sorted(theirs)))}.\n  Give the right one with tokenizer (--tokenizer)."
            )


def _stated(model: Any, kind: str) -> set[int]:
    """The ids that config and generation config give; some give several."""
    values = [getattr(place, kind, None) for place in (model.config.get_text_config(), model.generation_config)]
    return {int(i) for value in values if value is not None for i in (value if isinstance(value, list | tuple) else [value])}
