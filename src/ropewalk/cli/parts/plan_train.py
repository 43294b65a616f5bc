"""The part of `ropewalk plan` that says what training to the target length takes: memory, remedies, days, cost."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ropewalk.cli.parts.console import Console
from ropewalk.engines.transformers.shape import ModelShape, read_shape
from ropewalk.errors import BadOption
from ropewalk.jobs.train.sizing.cost import Cost, Rung, TokenStage, cost, ladder
from ropewalk.jobs.train.sizing.memory import GIB, Card, Peak, parse_cards
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.units import as_length, human_bytes, parse_tokens


@dataclasses.dataclass(frozen=True, slots=True)
class SizingAsked:
    """The options, checked."""

    count: int
    card: Card
    stages: tuple[TokenStage, ...]
    lora: bool
    mfu: float
    price: float | None
    simulate: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Sizing:
    """rungs: at the target length.  chosen: per stage, the cheapest rung that fits, and what the stage costs with it.

    simulated: the chosen rung's peak at the target length; not_simulated: why there is none.
    """

    asked: SizingAsked
    length: int
    shape: ModelShape
    rungs: tuple[Rung, ...]
    chosen: tuple[tuple[TokenStage, Rung | None, Cost | None], ...]
    simulated: Peak | None = None
    not_simulated: str | None = None


def asked_for(
    config: Mapping[str, Any], plan: ScalingPlan | None, gpus: str | None, lora: bool, tokens: str | None, batch: str,
    mfu: float, price: float | None, simulate: bool,
) -> Sizing:  # fmt: skip
    """The answer to a verb's options."""
    if plan is None:
        raise BadOption("--train needs a length to train to: give --to 128k or --factor 8.")
    if gpus is None:
        raise BadOption("--train needs the cards it would run on: give --gpus, such as 8xH100-80.")
    if not 0 < mfu <= 1:
        raise BadOption(f"--mfu is {mfu:g}; it is a share of the cards' peak speed, above 0 and at most 1 (0.4 is common).")
    if price is not None and not 0 <= price < 1e6:
        raise BadOption(f"--price is {price:g}; it is dollars per card and hour.")
    stages = parse_stages(tokens, plan.target_length, as_length(batch))
    return answer(config, plan, SizingAsked(*parse_cards(gpus), stages, lora, mfu, price, simulate))


def parse_stages(text: str | None, target_length: int, batch: int) -> tuple[TokenStage, ...]:
    """1.7b -> one stage at the target length; 64k:1.7b,128k:0.8b -> two."""
    stages = []
    for part in (text or "").split(",") if text else ():
        length, colon, tokens = part.rpartition(":")
        stages.append(TokenStage(as_length(length) if colon else target_length, parse_tokens(tokens), batch))
    return tuple(stages)


def answer(config: Mapping[str, Any], plan: ScalingPlan, asked: SizingAsked) -> Sizing:
    shape, length = read_shape(config), plan.target_length
    rungs = ladder(shape, asked.card, asked.count, length, lora=asked.lora)
    found = Sizing(asked, length, shape, rungs, tuple(_choose(shape, asked, stage) for stage in asked.stages))
    return _with_simulation(config, found) if asked.simulate else found


def _choose(shape: ModelShape, asked: SizingAsked, stage: TokenStage) -> tuple[TokenStage, Rung | None, Cost | None]:
    rungs = ladder(shape, asked.card, asked.count, stage.length, lora=asked.lora)
    rung = cheapest(rungs, asked.card)
    return stage, rung, cost(shape, rung.setup, stage, asked.card, asked.mfu, asked.price) if rung else None


def cheapest(rungs: tuple[Rung, ...], card: Card) -> Rung | None:
    return next((rung for rung in rungs if rung.fits(card)), None)


def _with_simulation(config: Mapping[str, Any], found: Sizing) -> Sizing:
    from ropewalk.jobs.train.sizing.simulate import NoSimulation, simulated_peak

    rung = cheapest(found.rungs, found.asked.card)
    if rung is None:
        return dataclasses.replace(found, not_simulated="nothing fits by the formula")
    console = Console(stderr=True)
    try:
        with console.status(f"simulating {found.length:,} tokens with {rung.added} (up to a minute)"):
            return dataclasses.replace(found, simulated=simulated_peak(config, found.shape, rung.setup, found.length))
    except NoSimulation as reason:
        return dataclasses.replace(found, not_simulated=str(reason))


def as_dict(found: Sizing) -> dict[str, Any]:
    card = found.asked.card
    return {
        "length": found.length,
        "cards": found.asked.count,
        "card": dataclasses.asdict(card),
        "lora": found.asked.lora,
        "parameters": found.shape.parameters,
        "assumed": {"mfu": found.asked.mfu, "dollars_per_card_hour": found.asked.price},
        "notes": list(found.shape.notes),
        "rungs": [{**_rung(rung, card), "peak": _peak(rung.peak)} for rung in found.rungs],
        "stages": [
            {**dataclasses.asdict(stage), "with": rung and _rung(rung, card), "cost": priced and dataclasses.asdict(priced)}
            for stage, rung, priced in found.chosen
        ],
        "simulated": found.simulated and _peak(found.simulated),
        "not_simulated": found.not_simulated,
    }


def _rung(rung: Rung, card: Card) -> dict[str, Any]:
    fits = "yes" if rung.fits(card) else "maybe" if rung.may_fit(card) else "no"
    return {"added": rung.added, "setup": dataclasses.asdict(rung.setup), "fits": fits, "longest": rung.longest}


def _peak(peak: Peak) -> dict[str, float]:
    return {**dataclasses.asdict(peak), "low": peak.low, "high": peak.high}


def show(console: Console, found: Sizing) -> None:
    asked, card = found.asked, found.asked.card
    what = "adapters, norms and embedding" if asked.lora else "every weight"
    console.print(
        f"\n[bold]Training[/] {what} of {found.shape.parameters / 1e9:.2f} billion parameters at {found.length:,} tokens "
        f"on {asked.count} x {card.name} ({card.gib:g} GiB)"
    )
    console.print(_table(found))
    best = cheapest(found.rungs, card)
    console.print(_verdict(found, best))
    for note in found.shape.notes:
        console.print(f"[yellow]note[/] {note}.")
    _show_simulation(console, found, best)
    _show_stages(console, found)


def _table(found: Sizing) -> Table:
    """One line per remedy; each keeps the ones above it."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title, justify in (("remedy, added to those above", "left"), ("GiB per card", "right"), ("fits", "left"),
                           ("longest that fits", "right"), ("host memory", "right")):  # fmt: skip
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    best = cheapest(found.rungs, found.asked.card)
    for rung in found.rungs:
        fits = _rung(rung, found.asked.card)["fits"]
        host = human_bytes(rung.peak.host * found.asked.count) if rung.peak.host else "-"
        band = f"{rung.peak.low / GIB:.1f} to {rung.peak.high / GIB:.1f}"
        style = "bold green" if rung is best else ""
        table.add_row(rung.added, band, fits, f"{rung.longest:,}" if rung.longest else "-", host, style=style)
    return table


def _verdict(found: Sizing, best: Rung | None) -> str:
    if best is None:
        lighter = "" if found.asked.lora else " --lora trains far fewer weights."
        return f"Nothing here surely fits. More cards share the states, and with context parallelism the sequence.{lighter}"
    way = "as it is" if best is found.rungs[0] else f"down to [bold]{best.added}[/]"
    alone = " More cards alone do not lengthen the context: FSDP shares the states among them, not a sequence."
    return f"Cheapest that fits: {way}." + (alone if found.asked.count > 1 else "")


def _show_simulation(console: Console, found: Sizing, best: Rung | None) -> None:
    if found.not_simulated:
        console.print(f"[yellow]note[/] not simulated, so the formula stands: {found.not_simulated}.")
    if found.simulated and best:
        one, other = found.simulated.low / GIB, best.peak.low / GIB
        console.print(f"Simulated: {one:.1f} GiB allocated per card, and {other:.1f} by the formula.")


def _show_stages(console: Console, found: Sizing) -> None:
    if not found.chosen:
        return
    assumed = f"{found.asked.mfu:.0%} of {found.asked.card.tflops:g} TFLOP/s"
    money = "" if found.asked.price is None else f", ${found.asked.price:g} per card and hour"
    console.print(f"\nAssuming {assumed}{money}; waiting for hosts and networks is not counted:")
    for number, (stage, rung, priced) in enumerate(found.chosen, 1):
        start = f"  stage {number}, {stage.length:,} tokens: "
        if rung is None or priced is None:
            console.print(f"{start}does not fit.")
            continue
        dollars = "" if priced.dollars is None else f", ${priced.dollars:,.0f}"
        console.print(
            f"{start}{priced.steps:,} steps of {priced.sequences:,} sequences, {priced.tokens / 1e9:.2f} billion tokens, "
            f"{priced.tokens_per_day / 1e9:.2f} billion a day, {priced.days:.1f} days{dollars} (with {rung.added})"
        )
