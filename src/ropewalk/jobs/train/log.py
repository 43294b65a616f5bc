"""What happened, line by line: log.jsonl always, and whatever tracker is asked for besides."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ropewalk.checkpoints.files import plain, write_file
from ropewalk.errors import CannotWrite, UnknownName, extra_parts
from ropewalk.jobs.train.preflight import Proof
from ropewalk.table import Table

LOG = "log.jsonl"
Log = Callable[[dict[str, Any]], None]


def open_log(run: Path, before: tuple[int, int], trackers: Sequence[str] = ()) -> Log:
    """Keep the lines up to `before`, and add to them. Steps that are done again are logged once.

    before: a stage and a step of the whole run. A stage that begins evaluates at the step where the one before ended.
    """
    path = run / LOG
    write_file(path, "".join(json.dumps(line) + "\n" for line in read_log(run) if (line["stage"], line["at"]) <= before))
    others = [_tracker(name, run) for name in trackers]

    def log(line: dict[str, Any]) -> None:
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(plain(line)) + "\n")
        except OSError as error:
            raise CannotWrite(
                f"{path} was not written: {error.strerror}.\n"
                "  Make room and start the same command again: it goes on from its last checkpoint."
            ) from None
        for other in others:
            other(line)

    return log


def read_log(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; one that was cut by a kill is left out."""
    path, lines = run / LOG, []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            line["stage"], line["at"]
        except (ValueError, KeyError, TypeError):
            continue
        lines.append(line)
    return lines


def _tracker(name: str, run: Path) -> Log:
    makers = {"tensorboard": _tensorboard, "trackio": _runs, "wandb": _runs}
    if name not in makers:
        raise UnknownName("tracker", name, makers)
    return makers[name](_import("torch.utils.tensorboard" if name == "tensorboard" else name), run)


def _tensorboard(module: Any, run: Path) -> Log:
    writer = module.SummaryWriter(str(run / "tensorboard"))

    def log(line: dict[str, Any]) -> None:
        for name, value in _numbers(line):
            writer.add_scalar(name, value, line["at"])

    return log


def _runs(module: Any, run: Path) -> Log:
    """wandb and trackio share an interface."""
    module.init(project="ropewalk", name=run.name)
    return lambda line: module.log(dict(_numbers(line)), step=line["at"])


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + name, float(value)))
    return found


def _import(module: str) -> Any:
    with extra_parts():
        return import_module(module)


@dataclass(frozen=True)
class TrainEvent:
    """What a person is told. kind: index, proof, step, evaluation, checkpoint, plan, alarm, resumed, export, flat."""

    kind: str
    facts: dict[str, Any]


Tell = Callable[[TrainEvent], None]


@dataclass(frozen=True)
class TrainResult:
    """model: the folder of the trained model; None after a preflight alone.  evaluations: of each, its line of the log."""

    model: Path | None
    proofs: list[Proof]
    steps: int
    tokens: int
    thrown_away: int
    evaluations: list[dict[str, Any]]
    run: Path | None = None

    @property
    def table(self) -> Table:
        """Nats per token of the held-out documents by length, at every evaluation."""
        rows = {f"step {e['at']:,}": e["held_out"] for e in self.evaluations}
        return Table.of("nats per token", rows, "{:.3f}")

    def figure(self) -> Any:
        """The loss of every step, and of the evaluations by length: by plotly. None without it, or without a step."""
        try:
            import plotly.graph_objects as plotly
        except ImportError:
            return None
        steps = [line for line in read_log(self.run) if "loss" in line] if self.run else []
        if not steps:
            return None
        made = plotly.Figure(layout={"xaxis": {"title": "step"}, "yaxis": {"title": "nats per token"}})
        made.add_scatter(x=[line["at"] for line in steps], y=[line["loss"] for line in steps], name="training", opacity=0.5)
        for name in dict.fromkeys(name for e in self.evaluations for name in e["held_out"]):
            read = [(e["at"], e["held_out"][name]) for e in self.evaluations if name in e["held_out"]]
            made.add_scatter(
                x=[at for at, _ in read], y=[nats for _, nats in read], name=f"held out, {name}", mode="lines+markers"
            )
        return made

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "run"}

    def _repr_html_(self) -> str:
        made = self.figure()
        plot = made.to_html(full_html=False, include_plotlyjs="cdn") if made else ""
        return plot + (self.table.to_html() if self.evaluations else "")
