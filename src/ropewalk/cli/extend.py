"""Write a checkpoint that stock transformers runs with a stretched window. Weights are linked, never loaded.

Example: `ropewalk extend ropewalk-tiny --factor 8 --method yarn -o tiny-4k`
"""

from ropewalk.api.extend import Extended, extend
from ropewalk.checkpoints.extend import CARD, PLAN
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.flags import LATER, verb
from ropewalk.engines.transformers.checkpoint import text_of, text_path
from ropewalk.engines.transformers.class_defaults import is_native


def _print(console: Console, made: Extended) -> None:
    for sentence in made.notes:
        print(f"note: {sentence}")
    where = "".join(f", inside {key}" for key in text_path(made.config))
    native = is_native(str(text_of(made.config).get("model_type", "")))
    proved = "config proved against the plan" if native else "config written for the model's own code"
    plan = made.plan
    print(f"{made.out}: {plan.name}, {plan.target_length:,} tokens, {proved}{where} ({plan.fingerprint})")
    print(f"  {CARD} says what was done, {PLAN} holds the plan. It is not measured yet: no stretch is free.")


run = verb(extend, _print, after=LATER)
