"""From an address to a diagnosis of the server behind it."""

from dataclasses import dataclass
from pathlib import Path

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.errors import BadOption, RopewalkError, first_line
from ropewalk.jobs.doctor.diagnosis import Diagnosis
from ropewalk.jobs.doctor.live.client import Client, key_from, root_of
from ropewalk.jobs.doctor.live.endpoint import Endpoint, find
from ropewalk.jobs.doctor.live.job import PASSAGES, LiveDiagnosis, WrittenConfig, examine, target_of
from ropewalk.jobs.doctor.live.judge import MARGIN
from ropewalk.jobs.doctor.live.measure import lengths_for
from ropewalk.jobs.doctor.target import resolve
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.rope import is_number, is_whole
from ropewalk.table import Table

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@dataclass(frozen=True)
class AskedServer:
    """How servers are asked.  config: of the model that they have.  model: of a server that has several.  length: how far."""

    config: Path | None = None
    model: str | None = None
    length: int | None = None
    original_length: int | None = None
    passages: int | None = None
    margin: float | None = None
    timeout: float = 300.0
    api_key_env: str | None = None

    def __post_init__(self) -> None:
        if not is_number(self.timeout) or not self.timeout > 0:
            raise BadOption(f"timeout (--timeout) is {self.timeout}; it must be above 0 seconds.")
        if self.margin is not None and not is_number(self.margin):
            raise BadOption(f"margin is {self.margin!r}; it must be a number, nats per token.")
        if self.passages is not None and not is_whole(self.passages):
            raise BadOption(f"passages are {self.passages!r}; it must be a whole number of them.")

    @property
    def count(self) -> int:
        return PASSAGES if self.passages is None else self.passages

    def endpoint(self, url: str) -> Endpoint:
        return find(Client(root_of(url), self.timeout, key_from(self.api_key_env)), self.model)


def diagnose(
    url: str, asked: AskedServer, *, plot: Path | None = None, force: bool = False, progress: Progress = SILENT
) -> Diagnosis:
    """plot: one HTML page to write."""
    if plot:
        from ropewalk.jobs.doctor.live.page import check_place, write_page

        check_place(plot, force=force)
    endpoint = asked.endpoint(url)
    written = _written(endpoint, asked.config, asked.original_length)
    original = asked.original_length or (written.original if written else 0)
    lengths = lengths_for(original, target_of(endpoint, asked.length))
    margin = MARGIN if asked.margin is None else asked.margin
    result = examine(endpoint, lengths, original, written=written, passages=asked.count, margin=margin, progress=progress)
    if plot:
        write_page(plot, result)
    verdict = f"{result.verdict}: {result.words}"
    code = EXIT[result.verdict]
    findings = (*result.findings, *((verdict,) if code == 1 else ()))
    return Diagnosis(f"{result.url}: {result.model}", code, findings, _tables(result, verdict), result.to_dict(), result, plot)


def _tables(result: LiveDiagnosis, verdict: str) -> tuple[Table, ...]:
    loss = [
        (f"{step.length:,}", f"{step.loss.value:.3f}", f"{step.difference.value:+.3f}" if step.difference else "inside",
         step.verdict if step.difference else "")
        for step in result.loss
    ]  # fmt: skip
    keys = [(f"{key.length:,}", f"{key.found}/{key.trials}", key.verdict or "inside") for key in result.keys]
    notes = (*result.notes, *result.findings, verdict)
    return (
        *([Table(("tokens", "nats per token", "difference", ""), tuple(loss))] if loss else []),
        Table(("tokens", "pass keys found", ""), tuple(keys), notes),
    )


def _written(endpoint: Endpoint, config: Path | None, original_length: int | None) -> WrittenConfig | None:
    """What the config of the served model says, where it is at hand: by --config, or by the name that the server gives it."""
    name = str(config) if config else endpoint.folder or endpoint.model
    if original_length and not config:
        return None
    try:
        return read_written(name)
    except RopewalkError as error:
        if config:
            raise
        raise BadOption(
            f"the config of {name} is not at hand, and the server does not say what its model was trained at.\n"
            f"  Say it with original_length (--original-length), or give the config: config (--config). ({first_line(error)})"
        ) from None


def read_written(name: str) -> WrittenConfig:
    """What a config says. name: of a model or of its config, on this machine or not."""
    target = resolve(name, lambda model: checkpoint(model, weights=False))
    full = [keys for keys in target.layers if not keys.layer_type.startswith(("sliding", "chunked", "local"))]
    if not full:
        raise BadOption(f"{name} has no layers that see all of the input: there is no original window to test.")
    return WrittenConfig(full[0].rope.original_length, max(keys.target for keys in full))
