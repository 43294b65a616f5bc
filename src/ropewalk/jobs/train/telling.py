"""What a run's events say to whoever watches: sentences that stay, and how far it is."""

from typing import Any

from ropewalk.jobs.train.log import TrainEvent
from ropewalk.progress import Progress

MARKS = {True: "ok  ", False: "FAIL", None: "-   "}  # of a proof


class Telling:
    """Tells a Progress of every event; one method for each kind."""

    def __init__(self, progress: Progress):
        self._progress, self._stage, self._tokens, self._steps = progress, "", 0, 0

    def __call__(self, event: TrainEvent) -> None:
        getattr(self, f"_{event.kind}")(**event.facts)

    def _begin(self, stage: str) -> None:
        if stage != self._stage:
            self._progress.begin(stage)
            self._stage = stage

    def _proof(self, name: str, passed: bool | None, said: str, seconds: float) -> None:
        self._begin("proving")
        self._progress.note(f"{MARKS[passed]} {name}: {said} ({seconds:.1f} s)")

    def _resumed(self, step: int, of: int) -> None:
        self._progress.note(f"going on from step {step:,} of {of:,}")

    def _step(self, at: int, of: int, loss: float, tokens: int, seconds: float, peak_bytes: int, **line: Any) -> None:
        if "skipped" in line:
            self._progress.note(f"note {line['skipped']}")
        speed = (
            f", {(tokens - self._tokens) / seconds:,.0f} tokens/s" if self._tokens else ""
        )  # the first may be a continuation
        self._tokens = tokens
        far = list(line["loss_by_length"].values())[-1:]
        said = f"loss {loss:.3f}" + (f", far {far[0]:.3f}" if far else "") + f"{speed}, {peak_bytes / 2**30:.1f} GiB"
        if self._steps != of:
            self._progress.begin("training", of, found=True)
            self._steps, self._stage = of, "training"
        self._progress.reach(at)
        self._progress.say(f"step {at:,} of {of:,}, {said}")

    def _evaluation(
        self, at: int, held_out: dict[str, float], passkeys: list[int], rise_inside_window: float, **_: Any
    ) -> None:
        buckets = "  ".join(f"{name} {value:.3f}" for name, value in held_out.items())
        keys = f"  pass keys {passkeys[0]}/{passkeys[1]}" if passkeys[1] else ""
        self._progress.note(f"step {at:,}: {buckets}{keys}  inside the window {rise_inside_window:+.1%}")

    def _plan(self, at: int, rise: float, allowed: float) -> None:
        self._progress.note(
            f"note step {at:,}: the plan alone, before this stage trains, puts the loss inside the original window {rise:.1%} "
            "above the base's. Training often wins that back; a dynamic plan would not cost it."
        )

    def _alarm(self, at: int, rise: float, allowed: float) -> None:
        self._progress.note(
            f"alarm step {at:,}: training has raised the loss inside the original window by {rise:.1%} ({allowed:.0%} allowed)"
        )

    def _checkpoint(self, at: int, folder: str) -> None:
        self._progress.say(f"kept step {at:,}")

    def _flat(self, at: int, stage: int) -> None:
        self._progress.note(f"step {at:,}: the far bucket is flat; stage {stage + 1} ends here")

    def _export(self, folder: str, said: str) -> None:
        self._progress.note(f"exported: {said}")
