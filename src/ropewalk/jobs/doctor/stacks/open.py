"""From two names, one of them an address at least, to a diagnosis of what lies between them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ropewalk.errors import BadOption, RopewalkError, first_line
from ropewalk.jobs.doctor.diagnosis import Diagnosis
from ropewalk.jobs.doctor.live.endpoint import Endpoint
from ropewalk.jobs.doctor.live.open import AskedServer, read_written
from ropewalk.jobs.doctor.stacks.job import StackDiagnosis, compare
from ropewalk.jobs.doctor.stacks.measure import MARGIN, Stacks, lengths_of
from ropewalk.jobs.doctor.stacks.sides import ModelSide, Words, of_server
from ropewalk.measure.statistics import Interval
from ropewalk.models.load import load_tokenizer, quiet
from ropewalk.models.placement import find_device, find_dtype
from ropewalk.models.served import open_model
from ropewalk.models.source import loading
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.table import Table

EXIT = {"ALIKE": 0, "DIFFER": 1, "UNDECIDED": 3}


def diagnose(
    trainer: str, rollout: str, asked: AskedServer, plans: Mapping[str, ScalingPlan | None], *, device: str = "auto",
    dtype: str = "auto", progress: Progress = SILENT,
) -> Diagnosis:  # fmt: skip
    """plans: of the sides that are models and no servers, by their names; None runs one as its config says."""
    found = {side: asked.endpoint(side) for side in (trainer, rollout) if side not in plans}
    loaded = {}
    for side, plan in plans.items():
        progress.begin(loading(side))
        place = find_device(device)
        loaded[side] = open_model(side, plan, dtype=find_dtype(dtype, place), device=place)
    words = Words(next(iter(loaded.values())).tokenizer) if loaded else _words(asked.config, found.values())
    one, other = (
        of_server(side, found[side], words) if side in found else ModelSide(side, loaded[side]) for side in (trainer, rollout)
    )
    stacks = Stacks(one, other, words)
    original = asked.original_length or _original(asked.config, list(loaded), found.values())
    lengths = lengths_of(stacks, original, asked.length)
    result = compare(stacks, lengths, original, passages=asked.count, asked=asked.length is not None,
                     margin=MARGIN if asked.margin is None else asked.margin, progress=progress)  # fmt: skip
    verdict = f"{result.verdict}: {result.words}"
    code = EXIT[result.verdict]
    findings = (*result.findings, *((verdict,) if code == 1 else ()))
    return Diagnosis(f"{trainer} and {rollout}", code, findings, (_table(result, verdict),), result.to_dict(), result)


def _table(result: StackDiagnosis, verdict: str) -> Table:
    rows = [
        (f"{band.length:,}", span(band.mean, "+.4f"), span(band.apart, ".4f"), f"{band.largest:.3f}", span(band.kl, ".1e"),
         band.verdict)
        for band in result.bands
    ]  # fmt: skip
    return Table(("tokens", "mean", "mean |difference|", "largest", "k3", ""), tuple(rows), (*result.findings, verdict))


def span(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _names(config: Path | None, servers: Iterable[Endpoint]) -> Sequence[str]:
    """Where the model that servers have may be found."""
    return [str(config)] if config else [endpoint.folder or endpoint.model for endpoint in servers]


def _words(config: Path | None, servers: Iterable[Endpoint]) -> Words | None:
    """The tokenizer of what is served, where it is at hand."""
    quiet()
    folder = config.parent if config and config.is_file() else config
    for name in _names(folder, servers):
        try:
            return Words(load_tokenizer(name))
        except RopewalkError:
            continue
    return None


def _original(config: Path | None, models: list[str], servers: Iterable[Endpoint]) -> int:
    reasons = []
    for name in [str(config)] if config else models or _names(None, servers):
        try:
            return read_written(name).original
        except RopewalkError as error:
            reasons.append(first_line(error))
    raise BadOption(
        f"what the model was trained at is not known: {reasons[0]}\n"
        "  Say it with original_length (--original-length), or give config (--config)."
    )
