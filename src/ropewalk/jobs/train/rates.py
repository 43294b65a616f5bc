"""The learning rate as a pure function of the step: nothing to save, nothing to lose on resume."""

import math

from ropewalk.jobs.train.recipe import Stage


def rate_at(stage: Stage, step: int) -> float:
    """step: from 0.  Rises for `warm_up` steps to the highest rate, falls so as to be at `floor` times that when the
    stage is over: the last step still moves something, as in transformers' schedules.
    """
    if step < stage.warm_up:
        return stage.rate * (step + 1) / (stage.warm_up + 1)
    done = (step - stage.warm_up) / max(stage.steps - stage.warm_up, 1)
    shape = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[stage.schedule]
    return stage.rate * (stage.floor + (1 - stage.floor) * shape)
