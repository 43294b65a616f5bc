"""The model card of an extended checkpoint: what was done, from what, and how to see whether it works."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ropewalk.scaling.dialects.config_files import rotation_keys
from ropewalk.scaling.method import get_method
from ropewalk.scaling.plan import ScalingPlan

CARD = """---
library_name: transformers
base_model: {source}
tags: [ropewalk, long-context, {method}]
---
# {name}, stretched to {target:,} tokens

{done}

{table}

{rules}

## Measured

{measured}

## Use

```python
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

`rope_parameters`, for engines that take it on the command line:

```json
{keys}
```
"""

UNTOUCHED = (
    "The weights are those of `{source}`, untouched. Only the rotary embedding in `config.json` was changed, by Ropewalk,\n"
    "following the plan in `ropewalk.json` (fingerprint `{fingerprint}`)."
)
NOT_MEASURED = (
    "Nothing yet: stretching a window says that the model *can* be asked to read this far, not that it reads well. "
    "Static scaling also changes short inputs. Evaluate both ends before relying on it."
)


def model_card(
    source: Path, plan: ScalingPlan, config: Mapping[str, Any], measured: str = NOT_MEASURED, done: str = UNTOUCHED
) -> str:
    """done: what was done to the weights; it may name {source} and {fingerprint}."""
    rows = ["| layers | method | factor | original length | rope_theta | attention factor |", "|---|---|---|---|---|---|"]
    rules = []
    for layer_type, stretch in plan.stretches:
        rope, method = stretch.rope, get_method(stretch.method)
        options = ", ".join(f"{name}={value}" for name, value in stretch.options if not isinstance(value, tuple))
        m = stretch.scaled().attention_factor
        rows.append(
            f"| {layer_type} | {stretch.name}{f' ({options})' if options else ''} | {stretch.factor:g} | "
            f"{rope.original_length:,} | {rope.rope_theta:g} | {m:.4f} |"
        )
        rules.append(f"*{stretch.name}*: {method.summary} Source: {method.source}.")
    keys = rotation_keys(config)
    return CARD.format(
        source=source.name,
        name=source.name,
        target=plan.target_length,
        method=plan.name,
        done=done.replace("{source}", source.name).replace("{fingerprint}", plan.fingerprint),
        table="\n".join(rows),
        rules="\n\n".join(dict.fromkeys(rules)),
        measured=measured,
        keys=json.dumps(keys.get("rope_parameters", keys), indent=2),
    )
