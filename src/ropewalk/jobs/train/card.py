"""The cards of a trained model and of its adapter: what was done to which tensors, on what, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from ropewalk.jobs.train.recipe import Recipe, Stage

SHOWN = 12  # names of tensors
NOT_HELD_OUT = (
    "Nothing: no documents were held out (`held_out` in the recipe). How well it reads, at short lengths and at long ones, is "
    "not known; `ropewalk eval` measures it."
)


@dataclass(frozen=True)
class Done:
    """steps, tokens: of all stages.  thrown_away: steps whose numbers were none.  evaluations: lines of the log, in order.
    base: nats per token of the source inside its window; None where nothing was held out."""

    steps: int
    tokens: int
    thrown_away: int = 0
    evaluations: Sequence[Mapping[str, Any]] = ()
    base: float | None = None
    changed: Sequence[str] = field(default=())
    of: int = 0


def what_was_done(source: str, recipe: Recipe, done: Done) -> str:
    """For the head of the model's card."""
    how = "adapters, merged into the weights," if recipe.lora else "all weights"
    names = ", ".join(f"`{name}`" for name in done.changed[:SHOWN])
    more = f" and {len(done.changed) - SHOWN:,} more" if len(done.changed) > SHOWN else ""
    lost = f" ({done.thrown_away} steps were thrown away: no numbers)" if done.thrown_away else ""
    return (
        f"The weights are those of `{source}` after training by Ropewalk: {how} in {done.steps:,} steps over {done.tokens:,} "
        f"tokens{lost}. {len(done.changed):,} of {done.of:,} tensors changed: {names}{more}. It was trained under the "
        "plan in `ropewalk.json` (fingerprint `{fingerprint}`).\n\n" + recipe_table(recipe)
    )


def recipe_table(recipe: Recipe) -> str:
    head = ["stage", "method", "to", "steps", "rows x tokens", "rate", "schedule", "weight decay", "clip"]
    rows = [
        [
            str(number), stage.method, f"factor {stage.factor:g}" if stage.factor else f"{stage.to:,}", f"{stage.steps:,}",
            _rows(stage),
            f"{stage.rate:g}", f"{stage.schedule}, {stage.warm_up} steps of warm-up", f"{stage.weight_decay:g}",
            f"{stage.clip:g}",
        ]
        for number, stage in enumerate(recipe.stages, 1)
    ]  # fmt: skip
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    lora = (
        f" Adapters of rank {recipe.lora.rank}, alpha {recipe.lora.alpha:g}, on {recipe.lora.targets}." if recipe.lora else ""
    )
    return f"{table}\n\nData: {', '.join(recipe.data)}. Arithmetic in {recipe.precision}, seed {recipe.seed}.{lora}"


def _rows(stage: Stage) -> str:
    rows = f"{stage.batch} x {stage.length:,}" if stage.length else f"{stage.batch} x the target length"
    share = "" if stage.long_share is None else f", {stage.long_share:.0%} of them one document"
    return rows + share + (", positions skipped (PoSE)" if stage.pose else "")


def what_was_measured(recipe: Recipe, done: Done) -> str:
    """Bits per token of the held-out documents before the first step and after the last."""
    if not done.evaluations or done.base is None:
        return NOT_HELD_OUT
    first, last = done.evaluations[0], done.evaluations[-1]
    lengths = list(last["held_out"])
    rows = [("before training, under the plan", first), ("after training", last)] if first is not last else [("after", last)]
    table = [
        "| bits per token at | " + " | ".join(lengths) + " | pass keys |",
        "|---" * (len(lengths) + 2) + "|",
        *("| " + " | ".join([name, *(_bits(line["held_out"].get(n)) for n in lengths), _keys(line)]) + " |"
          for name, line in rows),
    ]  # fmt: skip
    return (
        "\n".join(table) + f"\n\n{recipe.held_out_documents} held-out documents of {', '.join(recipe.held_out)}. Inside the "
        f"original window `{_bits(done.base)}` bits were the source's own, without a plan; after training "
        f"{_bits(last['inside_window'])} ({last['rise_inside_window']:+.1%} of the loss). Documents are few: compare "
        "before you rely on it, with `ropewalk eval`."
    )


def _bits(nats: float | None) -> str:
    return "" if nats is None else f"{nats / log(2):.3f}"


def _keys(line: Mapping[str, Any]) -> str:
    hits, asked = line["passkeys"]
    return f"{hits} of {asked}" if asked else ""


ADAPTER = """---
library_name: peft
base_model: {source}
tags: [ropewalk, long-context, lora]
---
# An adapter of {source} for {target:,} tokens

Trained by Ropewalk under the plan {plan} (fingerprint `{fingerprint}`): the adapter fits a base model that rotates so, and no
other. `ropewalk.json` is that plan; `config.json` in the model's folder beside this one spells it where a config can.

{recipe}

{done}

## Measured

{measured}
"""
