"""`doctor --trainer A --rollout B` where one of them is an address: both are run, and not read."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ropewalk.cli.parts.common import is_address, plan_to_run, print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.doctor_live import read_written
from ropewalk.cli.parts.progress import Bar, cost_bar
from ropewalk.errors import BadOption, RopewalkError
from ropewalk.models.source import loading
from ropewalk.scaling.units import as_length

if TYPE_CHECKING:
    from ropewalk.jobs.doctor.live.endpoint import Endpoint
    from ropewalk.jobs.doctor.stacks.job import Result
    from ropewalk.jobs.doctor.stacks.sides import Words
    from ropewalk.measure.statistics import Interval
    from ropewalk.models.served import Served

EXIT = {"ALIKE": 0, "DIFFER": 1, "UNDECIDED": 3}


def run_stacks(
    trainer: str, rollout: str, *, method: str | None, factor: float | None, plan: Path | None, dtype: str, device: str,
    config: Path | None, model: str | None, to: str | None, original_length: str | None, passages: int | None,
    margin: float | None, timeout: float, api_key_env: str | None, json: bool,
) -> int:  # fmt: skip
    """Compare two stacks, one of them a server at least; returns the exit code."""
    with Bar("starting", transient=True):
        from ropewalk.jobs.doctor.live.client import Client, key_from, root_of
        from ropewalk.jobs.doctor.live.endpoint import find
        from ropewalk.jobs.doctor.live.job import PASSAGES
        from ropewalk.jobs.doctor.stacks.job import compare, work
        from ropewalk.jobs.doctor.stacks.measure import MARGIN, Stacks, lengths_of
        from ropewalk.jobs.doctor.stacks.sides import ModelSide, Words, of_server

    addresses = [side for side in (trainer, rollout) if is_address(side)]
    if (method or factor or plan) and len(addresses) == 2:
        raise BadOption("--method, --factor and --plan stretch the side that is a model; both are servers here.")
    if not timeout > 0:
        raise BadOption(f"--timeout is {timeout:g}; it must be above 0 seconds.")
    key = key_from(api_key_env)
    found = {side: find(Client(root_of(side), timeout, key), model) for side in addresses}
    loaded = {side: _open(side, method, factor, plan, dtype, device) for side in (trainer, rollout) if side not in found}
    words = Words(next(iter(loaded.values())).tokenizer) if loaded else _words(config, found.values())
    one, other = (
        of_server(side, found[side], words) if side in found else ModelSide(side, loaded[side]) for side in (trainer, rollout)
    )
    stacks = Stacks(one, other, words)
    original = as_length(original_length) if original_length else _original(config, list(loaded), found.values())
    lengths = lengths_of(stacks, original, as_length(to) if to else None)
    count = PASSAGES if passages is None else passages
    with cost_bar(Console(stderr=True), "asking both") as start:
        advance = start(work(lengths, count), 1, 0)
        result = compare(stacks, lengths, original, advance, passages=count, asked=to is not None,
                         margin=MARGIN if margin is None else margin)  # fmt: skip
    print_json(result.as_dict()) if json else _print(result)
    return EXIT[result.verdict]


def _open(side: str, method: str | None, factor: float | None, plan: Path | None, dtype: str, device: str) -> "Served":
    from ropewalk.models.served import open_model

    if " " in side and not Path(side).exists():
        raise BadOption(f"{side!r} is a command line, which is read and not run. Beside an address, give the model's folder.")
    made = plan_to_run(side, None, method, None, factor, None, None, plan)
    with Bar(loading(side), transient=True):
        return open_model(side, made, dtype=dtype, device=device)


def _names(config: Path | None, servers: "Iterable[Endpoint]") -> list[str]:
    """Where the model that servers have may be found."""
    return [str(config)] if config else [endpoint.folder or endpoint.model for endpoint in servers]


def _words(config: Path | None, servers: "Iterable[Endpoint]") -> "Words | None":
    """The tokenizer of what is served, where it is at hand."""
    from ropewalk.jobs.doctor.stacks.sides import Words
    from ropewalk.models.load import load_tokenizer, quiet

    quiet()
    folder = config.parent if config and config.is_file() else config
    for name in _names(folder, servers):
        try:
            return Words(load_tokenizer(name))
        except RopewalkError:
            continue
    return None


def _original(config: Path | None, models: list[str], servers: "Iterable[Endpoint]") -> int:
    reasons = []
    for name in [str(config)] if config else models or _names(None, servers):
        try:
            return read_written(name).original
        except RopewalkError as error:
            reasons.append(str(error).splitlines()[0])
    raise BadOption(
        f"what the model was trained at is not known: {reasons[0]}\n  Say it with --original-length, or give --config."
    )


def _print(result: "Result") -> None:
    console = Console(highlight=False, soft_wrap=True)
    lines = [
        f"trainer: {result.trainer} ({result.how[0]})",
        f"rollout: {result.rollout} ({result.how[1]})",
        f"original window {result.original:,}; nats per token, rollout minus trainer, 95 % intervals",
        f"{'':>10}  {'mean':^28}  {'mean |difference|':^25}  {'largest':>7}  {'k3':^28}",
    ]
    for band in result.bands:
        lines.append(
            f"{band.length:>10,}  {_span(band.mean, '+.4f')}  {_span(band.apart, '.4f')}  {band.largest:7.3f}  "
            f"{_span(band.kl, '.1e')}  {'' if band.beyond else 'inside, '}{band.verdict}"
        )
    lines += [f"finds {words}" for words in result.findings]
    for line in [*lines, f"{result.verdict}: {result.words}"]:
        console.print(line, markup=False)


def _span(interval: "Interval", form: str) -> str:
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"
