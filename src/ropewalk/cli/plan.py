"""Show what rotary embedding a model has, and what a stretch would do to it. Touches no weights, needs no torch.

With --data, also how long the texts are that it would be trained on, as tokens of the model.

Example: `ropewalk plan ropewalk-tiny --to 4096 --method yarn`
"""

import dataclasses
import json
import math
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ropewalk.api.plan import plan as make
from ropewalk.cli.parts.common import print_json
from ropewalk.cli.parts.console import Console, escape
from ropewalk.cli.parts.flags import LATER, parameters, with_flags
from ropewalk.cli.parts.plan_data import Cache, Data, MaxTokens, TextField, asked_for, print_data
from ropewalk.cli.parts.progress import Bar
from ropewalk.engines.config_files import losses, rotation_keys
from ropewalk.engines.engine import Loss, engines
from ropewalk.engines.transformers.checkpoint import is_hub_gguf, text_of, text_path
from ropewalk.engines.transformers.class_defaults import opened
from ropewalk.engines.transformers.write import write
from ropewalk.errors import BadOption, CannotExpress
from ropewalk.models.source import Source
from ropewalk.progress import SILENT
from ropewalk.scaling.method import SAME
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.plan_notes import described, plan_notes
from ropewalk.scaling.spec import ModelSpec
from ropewalk.scaling.stretch import pairs
from ropewalk.scaling.units import human_bytes

BARS = "▁▂▃▄▅▆▇█"
ON_ONE_LINE = 128  # pairs

Train = Annotated[bool, typer.Option("--train", help="What training to the target length takes, on --gpus.")]
Gpus = Annotated[str | None, typer.Option("--gpus", metavar="COUNTxNAME", help="The cards: 8xH100-80, H200-141.")]
Lora = Annotated[bool, typer.Option("--lora", help="Adapters, norms and embedding are trained, and not every weight.")]
Tokens = Annotated[
    str | None,
    typer.Option("--tokens", help="To train on: 1.7b (10^9), or LENGTH:TOKENS for each stage, 64k:1.7b,128k:0.8b."),
]
Batch = Annotated[str, typer.Option("--batch", metavar="TOKENS", help="Per optimiser step: 4m = 64 sequences of 64k.")]
Mfu = Annotated[float, typer.Option("--mfu", help="Assumed share of the cards' peak speed, recomputation counted.")]
Price = Annotated[float | None, typer.Option("--price", help="Assumed dollars per card and hour.")]
Simulate = Annotated[bool, typer.Option("--simulate", help="Walk the model's own layers through torch's fake tensors.")]


def _run(
    data: Data = None,
    text_field: TextField = None,
    max_tokens: MaxTokens = None,
    cache: Cache = None,
    train: Train = False,
    gpus: Gpus = None,
    lora: Lora = False,
    tokens: Tokens = None,
    batch: Batch = "4m",
    mfu: Mfu = 0.4,
    price: Price = None,
    simulate: Simulate = False,
    json: bool = False,
    **given: Any,
) -> None:
    model = given.pop("model")
    fetched = Bar(f"reading the header of {model}", transient=True, after=LATER) if is_hub_gguf(model) else nullcontext(SILENT)
    with fetched as bar:
        source = Source(model, original_length=given.pop("original_length", None), progress=bar, weights=False)
        spec = source.any_spec
    config = source.config if source.gguf is None else None
    plan = make(source, **given) if given.get("to") or given.get("factor") else None
    length = plan.target_length if plan else spec.max_length
    if not train and (gpus or lora or tokens or price is not None or simulate):
        raise BadOption("--gpus, --lora, --tokens, --price and --simulate speak of training: add --train.")
    if train:
        from ropewalk.cli.parts import plan_train  # 10 ms that only this needs

        training = plan_train.asked_for(source.config, plan, gpus, lora, tokens, batch, mfu, price, simulate)
    found = asked_for(model, data, text_field, max_tokens, cache, length)
    if json:
        more = ({"data": found} if found else {}) | ({"training": plan_train.as_dict(training)} if train else {})
        print_json(_as_dict(model, spec, plan, config) | more)
        return
    console = Console(highlight=False, soft_wrap=True)
    if train:
        plan_train.show(console, training)
    else:
        _print_all(console, model, Path(model) if is_hub_gguf(model) else source.place, spec, plan, config)
    if found:
        print_data(console, found)


def _print_all(
    console: Console, model: str, path: Path, spec: ModelSpec, plan: ScalingPlan | None, config: dict[str, Any] | None
) -> None:
    _print_spec(console, model, path, spec)
    if plan is None:
        console.print("\nTo stretch it: [bold]--to 128k[/] or [bold]--factor 4[/].")
    else:
        for sentence in plan_notes(spec, plan):
            console.print(f"[yellow]note[/] {escape(sentence)}")
        _print_plan(console, plan)
        _print_cache(console, spec, plan.target_length)
        if config is None:
            _print_gguf(console, plan, path)
            return
        _print_paste(console, plan, config)
        _print_losses(console, plan, config)


def _as_dict(
    model: str, spec: ModelSpec, plan: ScalingPlan | None, config: dict[str, Any] | None
) -> dict[str, Any]:  # fmt: skip
    found = {"model": model, "spec": dataclasses.asdict(spec)}
    if plan is None:
        return found
    of_config = {} if config is None else {
        "paste": _paste(plan, config),
        "paste_in": ".".join(text_path(opened(config))),
        "losses": [{"said": loss.said, **dataclasses.asdict(loss)} for loss in _losses(plan, config)],
    }  # fmt: skip
    return {
        **found,
        "notes": [*spec.warnings, *plan_notes(spec, plan)],
        "plan": plan.to_dict(),
        "fingerprint": plan.fingerprint,
        "pairs": {name: pairs(stretch) for name, stretch in plan.stretches},
        "attention_factor": {
            name: stretch.scaled_by(stretch.largest_scale).attention_factor for name, stretch in plan.stretches
        },
        "softmax_factor": {name: stretch.softmax_factor for name, stretch in plan.stretches},
        "cache_bytes": {"fp16": spec.cache_bytes(plan.target_length, 2), "fp8": spec.cache_bytes(plan.target_length, 1)},
        **of_config,
    }


def _print_spec(console: Console, model: str, path: Path, spec: ModelSpec) -> None:
    console.print(f"[bold]{escape(model)}[/]  {escape(spec.model_type)}, window {spec.max_length:,} tokens")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("layers", "what", "value", "read from"):
        table.add_column(title)
    for reading in spec.readings:
        layer_type, _, name = reading.name.rpartition(".")
        table.add_row(escape(layer_type) or "model", name, escape(reading.value), f"[dim]{escape(reading.source)}[/]")
    for layer_type, stretch in spec.scaling:
        table.add_row(escape(layer_type), "stretched already", described(stretch), "[dim]rope parameters[/]")
    console.print(table)
    if spec.unrotated_layers:
        console.print(f"{spec.unrotated_layers} layers do not rotate: nothing to stretch there.")
    for warning in spec.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}")


def _print_plan(console: Console, plan: ScalingPlan) -> None:
    for layer_type, stretch in plan.stretches:
        most, count = stretch.largest_scale, pairs(stretch)
        m = stretch.scaled_by(most).attention_factor
        softmax = stretch.softmax_factor
        where = "" if layer_type == "all" else f" on {escape(layer_type)}"
        console.print(
            f"\n[bold]{stretch.name}[/]{where}: {stretch.rope.original_length:,} -> {plan.target_length:,} tokens, "
            f"factor {stretch.factor:g}, attention factor {m:.4f}{'' if softmax == 1 else f', softmax x{softmax:.4f}'}"
        )
        if stretch.near:
            console.print(f"  near: distances below {stretch.near:,} tokens turn as trained; far, from there on, as follows")
        if stretch.dynamic:
            console.print("  the factor grows with the length; shown at the target length")
        top = max(count["slowed_by"])
        more = " or more" if top > most * (1 + SAME) else ""
        console.print(
            f"  pairs: {count['kept']} kept, {count['ramped']} ramped, {count['stretched']} stretched by {most:g}{more}"
        )
        upto = f"by 1 to {top if more else most:g}" if math.isfinite(top) else "until they stand still"
        console.print(f"  [cyan]{bars(count['slowed_by'], most)}[/]  slowed {upto}, fastest pair first")


def bars(slowed: list[float], factor: float) -> str:
    """One character per pair (or per few pairs), its height the slowing between 1 and the factor."""
    step = -(-len(slowed) // ON_ONE_LINE)
    shares = [min(max((s - 1) / (factor - 1), 0.0), 1.0) if factor > 1 else 0.0 for s in slowed[::step]]
    return "".join(BARS[round(share * (len(BARS) - 1))] for share in shares)


def _print_cache(console: Console, spec: ModelSpec, length: int) -> None:
    if spec.cache:
        fp16, fp8 = spec.cache_bytes(length, 2), spec.cache_bytes(length, 1)
        console.print(f"\nKV cache at {length:,} tokens: {human_bytes(fp16)} in fp16, {human_bytes(fp8)} in fp8, per sequence")


def _print_gguf(console: Console, plan: ScalingPlan, path: Path) -> None:
    """What a GGUF is stretched with: a config has no part in it."""
    name = escape(shlex.quote(str(path)))
    stretch = f"--to {plan.target_length} --method {plan.name}"
    more = ", with the options of this plan" if any(one.options for _, one in plan.stretches) else ""
    console.print(
        f"\nTo measure it: [bold]ropewalk eval {name} --methods none,{plan.name} --lengths {plan.target_length}[/]\n"
        f"To write it into a copy of the GGUF{more}: [bold]ropewalk export {name} {stretch} -o OUT.gguf[/]"
    )


def _paste(plan: ScalingPlan, config: dict[str, Any]) -> dict[str, Any]:
    try:
        written = write(plan, config)
    except CannotExpress as error:
        return {"impossible": str(error)}
    return rotation_keys(written)


def _print_paste(console: Console, plan: ScalingPlan, config: dict[str, Any]) -> None:
    paste = _paste(plan, config)
    if "impossible" in paste:
        why = paste["impossible"].removeprefix("no config can say ")
        console.print(f"\n[yellow]no config can say this:[/] {escape(why)}")
        return
    where = "".join(f", inside [bold]{escape(key)}[/]" for key in text_path(opened(config)))
    console.print(f"\nIn config.json{where} (or let [bold]ropewalk extend[/] write it):")
    text = json.dumps(paste, indent=2)
    for name in ("long_factor", "short_factor"):
        text = _fold(text, name)
    console.print(text, markup=False)
    if words := _for_version_4(plan, config):
        console.print(f"[dim]{words}[/]")


def _for_version_4(plan: ScalingPlan, config: dict[str, Any]) -> str:
    """transformers 4 knows none of `rope_parameters`."""
    text = text_of(write(plan, config))
    if "rope_parameters" not in text:
        return ""
    if "rope_theta" in text:
        both = "rope_theta" if text.get("rope_scaling") is None else "the same dict as rope_scaling, and rope_theta"
        return f"transformers 4 reads {both} beside these: extend writes both."
    return "transformers 4 has no words for one dict per layer type: this needs transformers 5."


def _losses(plan: ScalingPlan, config: dict[str, Any]) -> list[Loss]:
    """What the engines that read a config.json make of the plan's own keys, where it is not the plan."""
    readers = [engine for engine in engines().values() if engine.reads == "config.json"]
    try:
        return [loss for engine in readers for loss in losses(engine, plan, config)]
    except CannotExpress:
        return []


def _print_losses(console: Console, plan: ScalingPlan, config: dict[str, Any]) -> None:
    found = _losses(plan, config)
    for loss in found:
        console.print(f"[yellow]note[/] {escape(loss.said)}")
    if found:
        console.print("[bold]ropewalk export[/] writes what each of them reads right, where there is such a thing.")


def _fold(text: str, name: str) -> str:
    """Lists of a hundred factors on a line of their own."""
    start = text.find(f'"{name}": [')
    if start < 0:
        return text
    end = text.index("]", start)
    return text[:start] + " ".join(text[start:end].split()) + text[end:]


run = with_flags(_run, parameters(make))
