"""The scales of a plan as steps of one long table: which step a request takes, and at which row its positions begin."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

from ropewalk.errors import BadLength, BadOption
from ropewalk.scaling.rope import is_number
from ropewalk.scaling.schedule import Schedule

ASKED = "rope_scale"  # in SamplingParams.extra_args, or vllm_xargs over HTTP
SALT = "ropewalk:"
SAME_SCALE = 1e-3  # relative: 1.414 says sqrt 2


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps 0, 1, ... of a schedule on a grid, as many as the longest request can need; step 0 is scale 1.

    scales: of each step.
    rows: how many positions each step has, which is the tokens, prompt and answer together, of the longest request it takes.
    """

    scales: tuple[float, ...]
    rows: tuple[int, ...]

    @staticmethod
    def of(schedule: Schedule, longest: int) -> "Steps":
        """longest: tokens of a request, vLLM's max_model_len."""
        last = schedule.step(longest - 1)
        return Steps(tuple(schedule.scale(step) for step in range(last + 1)), (*schedule.starts()[:last], longest))

    @property
    def starts(self) -> tuple[int, ...]:
        """The row of each step's position 0."""
        return tuple(accumulate(self.rows[:-1], initial=0))

    def choose(self, n_tokens: int, asked: object = None) -> int:
        """The step of a request of `n_tokens`, prompt and answer together: the least that holds it, or the scale `asked` for.

        More tokens than the last step holds take the last: vLLM ends an answer there. BadOption for a scale that the plan does
        not have, BadLength for one that does not reach so far.
        """
        least = min(bisect_left(self.rows, n_tokens), len(self.rows) - 1)
        if asked is None:
            return least
        step = self._of(asked)
        if step < least:
            raise BadLength(
                f"{ASKED} is {asked!r}, which holds {self.rows[step]:,} tokens; this request has {n_tokens:,}, prompt and\n"
                f"  answer together. Ask for {self.scales[least]:.4g} or more, for fewer tokens, or leave {ASKED} out."
            )
        return step

    def _of(self, asked: object) -> int:
        for step, scale in enumerate(self.scales):
            if is_number(asked) and abs(asked - scale) <= SAME_SCALE * scale:  # type: ignore[operator]
                return step
        raise BadOption(
            f"{ASKED} is {asked!r}; the served plan has the scales {', '.join(f'{scale:.4g}' for scale in self.scales)}.\n"
            f"  Leave {ASKED} out, and the request's length chooses."
        )


def salted(given: str | None, fingerprint: str, step: int) -> str | None:
    """vLLM's cache_salt for a request: cached keys are shared only where salts are equal, and so never between scales.

    Step 0 keeps the client's own salt, or none: its keys are the unstretched model's. BadOption for a salt that could be taken
    for another step's.
    """
    if given and given.startswith(SALT):
        raise BadOption(f"cache_salt is {given!r}; salts that begin with {SALT!r} are the plan's own. Choose another.")
    if not step:
        return given
    return f"{SALT}{fingerprint}:{step}" + (f":{given}" if given else "")
