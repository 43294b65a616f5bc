"""`doctor` of an address: not a verb of its own, but what that verb does when it is given one."""

from pathlib import Path
from typing import TYPE_CHECKING

from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.console import Console
from ropewalk.cli.parts.progress import cost_bar
from ropewalk.errors import BadOption, RopewalkError, first_line
from ropewalk.scaling.units import as_length

if TYPE_CHECKING:
    from ropewalk.jobs.doctor.live.endpoint import Endpoint
    from ropewalk.jobs.doctor.live.job import Result, Written

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
WIDTH = 30  # characters of the longest bar


def run_live(
    url: str, *, config: Path | None, model: str | None, to: str | None, original_length: str | None, passages: int | None,
    margin: float | None, timeout: float, api_key_env: str | None, plot: Path | None, force: bool, json: bool,
) -> int:  # fmt: skip
    """Examine a server; returns the exit code."""
    from ropewalk.jobs.doctor.live.client import Client, key_from, root_of
    from ropewalk.jobs.doctor.live.endpoint import find
    from ropewalk.jobs.doctor.live.job import PASSAGES, examine, target_of, work
    from ropewalk.jobs.doctor.live.judge import MARGIN
    from ropewalk.jobs.doctor.live.measure import lengths_for
    from ropewalk.jobs.doctor.live.page import check_place, write_page

    if not timeout > 0:
        raise BadOption(f"--timeout is {timeout:g}; it must be above 0 seconds.")
    if plot:
        check_place(plot, force=force)
    endpoint = find(Client(root_of(url), timeout, key_from(api_key_env)), model)
    written = _written(endpoint, config, original_length)
    original = as_length(original_length) if original_length else written.original if written else 0
    lengths = lengths_for(original, target_of(endpoint, as_length(to) if to else None))
    count = PASSAGES if passages is None else passages
    with cost_bar(Console(stderr=True), f"asking {endpoint.model}") as start:
        advance = start(work(lengths, count, endpoint.reader is not None), 1, 0)
        result = examine(endpoint, lengths, original, advance, written=written, passages=count,
                         margin=MARGIN if margin is None else margin)  # fmt: skip
    if plot:
        write_page(plot, result)
    print_json(result.as_dict()) if json else _print(result, plot)
    return EXIT[result.verdict]


def _written(endpoint: "Endpoint", config: Path | None, original_length: str | None) -> "Written | None":
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
            f"  Say it with --original-length, or give the config with --config. ({first_line(error)})"
        ) from None


def read_written(name: str) -> "Written":
    """What a config says. name: of a model or of its config, on this machine or not."""
    from ropewalk.checkpoints.hub import checkpoint
    from ropewalk.jobs.doctor.live.job import Written
    from ropewalk.jobs.doctor.target import resolve

    target = resolve(name, lambda model: checkpoint(model, weights=False))
    full = [keys for keys in target.layers if not keys.layer_type.startswith(("sliding", "chunked", "local"))]
    if not full:
        raise BadOption(f"{name} has no layers that see all of the input: there is no original window to test.")
    return Written(full[0].rope.original_length, max(keys.target for keys in full))


def _print(result: "Result", plot: Path | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    claims = f"claims {result.claimed:,} tokens" if result.claimed else "claims no length"
    console.print(f"{result.url}: {result.model}, {claims}, original window {result.original:,}", markup=False)
    if result.loss:
        console.print(f"loss of {result.loss[0].passages} fixed passages, nats per token ({result.how})", markup=False)
        top = max(step.loss.value for step in result.loss)
        for step in result.loss:
            gap = step.difference
            told = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})  {step.verdict}" if gap else "inside"
            console.print(f"{step.length:>10,}  {step.loss.value:6.3f}  {_bar(step.loss.value / top)}  {told}", markup=False)
    console.print("pass keys found", markup=False)
    for key in result.keys:
        span = f"({100 * key.share.low:.0f} to {100 * key.share.high:.0f} %)"
        told = key.verdict or "inside"
        console.print(
            f"{key.length:>10,}  {key.found:>3}/{key.trials:<3} {_bar(key.share.value)}  {span}  {told}", markup=False
        )
    for words in result.notes:
        console.print(f"note: {words}", markup=False)
    for words in result.findings:
        console.print(f"finds {words}", markup=False)
    console.print(f"{result.verdict}: {result.words}", markup=False)
    if plot:
        console.print(f"plot: {plot}", markup=False)


def _bar(share: float) -> str:
    return ("█" * round(WIDTH * share)).ljust(WIDTH)
