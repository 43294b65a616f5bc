"""The strongest plain rival of any stretch: the model unchanged that reads only its last tokens, and forgets the rest.

`window` as a method reads a long text in windows of L tokens, L the trained length, each a fresh call without a cache, L/4
tokens further each (`STRIDES`). So a token is predicted from the 3/4 L to L tokens before it, at positions below L, and the
first L from all before them. Where the tokenizer has a BOS, each window begins with it, as a prompt that was cut would. What
lies further back cannot be seen at all: the loss may be low, and the model still reads no further than L.
"""

import json
from dataclasses import dataclass
from typing import Any

from ropewalk.errors import BadConfig, BadLength
from ropewalk.scaling.plan import SCHEMA as PLAN
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.rope import is_whole

METHOD = "window"
STRIDES = 4  # windows that hold a token
SCHEMA = "ropewalk.window/1"  # no plan that an engine could be given


@dataclass(frozen=True, slots=True)
class WindowPlan(ScalingPlan):
    """The plan that changes nothing, and how many tokens are seen at a time."""

    window: int = 0

    def __post_init__(self) -> None:
        ScalingPlan.__post_init__(self)
        if self.window < STRIDES:
            raise BadLength(f"a window of {self.window} tokens is too small; ask for {STRIDES} or more.")

    @property
    def name(self) -> str:
        return f"{METHOD}-{self.window}"

    def to_dict(self) -> dict[str, Any]:
        return {**ScalingPlan.to_dict(self), "schema": SCHEMA, "window": self.window}


def window_size(method: str, original: int) -> int | None:
    """`window` is as long as the model was trained, `window-1024` as long as it says; None for other methods."""
    name, _, size = method.partition("-")
    if name != METHOD:
        return None
    if size and not size.isdecimal():
        raise BadLength(f"{method} is no window: write {METHOD}, or {METHOD}-{original} for {original:,} tokens.")
    return int(size) if size else original


def read_plan(text: str) -> ScalingPlan:
    """A plan of a run folder, which may be a window."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None  # ScalingPlan says what is wrong with it
    if isinstance(data, dict) and data.get("schema") == SCHEMA:
        size: Any = data.get("window")
        if not is_whole(size):
            raise BadConfig(
                f"its window is {size!r}; it must be a whole number of tokens. It was changed or copied in part: run again."
            )
        plain = {name: value for name, value in data.items() if name not in ("schema", "window")}
        plan = ScalingPlan.from_json(json.dumps({**plain, "schema": PLAN}))
        return WindowPlan(plan.stretches, plan.target_length, plan.model, size)
    return ScalingPlan.from_json(text)
