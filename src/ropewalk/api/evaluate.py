"""`ropewalk.evaluate`: one model under many plans, measured on the same texts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Data,
    Device,
    Dtype,
    Flag,
    Lengths,
    Model,
    Names,
    Numbers,
    OriginalLength,
    Place,
    Plans,
    TextField,
    Time,
    as_factor,
    as_lengths,
    as_names,
    as_numbers,
    as_plans,
    as_protocols,
    as_texts,
)  # fmt: skip
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length, as_seconds

if TYPE_CHECKING:
    from ropewalk.jobs.evaluate.result import Outcome


def _tasks() -> str:
    """The registered tasks and ladders but RULER's, read from the text of their files: help must not import what runs them."""
    files = sorted((Path(__file__).parents[1] / "measure" / "tasks").glob("[!_]*.py"))
    return ", ".join(
        name
        for file in files
        if not file.name.startswith("ruler_")
        for name in re.findall(r'^@(?:task|ladder)\(\s*"(\w+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
    )


def evaluate(
    model: Annotated[Model, Flag("Folders, GGUFs, hub ids, or ropewalk-tiny.", metavar="MODEL...", many=True)],
    out: Annotated[Place, Flag("The run's folder; several models get one each below it.", ("-o", "--out"))] = "out/eval",
    *,
    methods: Annotated[
        Names, Flag("By commas; `own`: the config's own stretch; `window`: unchanged on its last L tokens.")
    ] = ("none", "yarn"),
    plan: Annotated[Plans, Flag("A saved plan to measure too (again and again).", many=True)] = (),
    lengths: Annotated[
        Lengths, Flag("Tokens to measure at, by commas: 4k,8k,16k (default: L and 2 L, or as far as --plan reaches).")
    ] = (),
    factor: Annotated[float | None, Flag("Stretch by this; without --lengths, measure L, 2 L, ... up to it.")] = None,
    original_length: OriginalLength = None,
    data: Data = (),
    text_field: TextField = "text",
    strict: Annotated[bool, Flag("Stop at the first text that cannot be read.", ("--strict",))] = False,
    documents: Annotated[int, Flag("Documents per method, chosen by seed.", least=1)] = 12,
    protocols: Annotated[
        Names, Flag("position, prefix, sliding:1024,256, random:1024,4 and others by commas; - for none.")
    ] = ("position",),
    tasks: Annotated[
        Names, Flag(f"{_tasks()}, ruler (all its offline ones) or RULER's one by one; by commas, - for none.")
    ] = ("passkey",),
    samples: Annotated[int, Flag("Samples per length and depth.", least=1)] = 20,
    depths: Annotated[Numbers, Flag("Where needles are hidden, 0 to 1, by commas.")] = (0.0, 0.25, 0.5, 0.75, 1.0),
    questions: Annotated[
        Names | Mapping[str, Path], Flag("qa_1=SQuAD file, qa_2=HotpotQA file.", metavar="TASK=FILE", many=True)
    ] = (),
    ruler_compat: Annotated[
        bool, Flag("RULER's prompts byte for byte as the reference generator's.", ("--ruler-compat",))
    ] = False,
    gap: Annotated[bool, Flag("Ask each question without its needle too.", ("--gap",))] = False,
    tax: Annotated[bool, Flag("Short-context degradation: what a plan costs inside the original length.")] = True,
    speed: Annotated[bool, Flag("Measure tokens per second and memory.")] = True,
    difference: Annotated[
        float | None, Flag("Bits per token: say how many documents it takes to see this difference.")
    ] = None,
    stop_early: Annotated[
        bool,
        Flag(
            "Read documents until every plan is told from the first; looking after each leaves the 5 % level as it is.",
            ("--stop-early",),
        ),
    ] = False,
    budget: Annotated[
        Time | None, Flag("Read documents in turn under every plan while this lasts: 90s, 30m or 2h.", metavar="TIME")
    ] = None,
    seed: Annotated[int, Flag("Chooses documents and samples.")] = 0,
    tokenizer: Annotated[Any, Flag("Another tokenizer than the model's own: folder or hub id.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Annotated[str, Flag("sdpa, eager or flash_attention_2.")] = "sdpa",
    batch: Annotated[int, Flag("Sequences at a time; halved where memory runs out.", least=1)] = 4,
    silence: Annotated[
        float, Flag("With torchrun: seconds without a measurement after which a process is taken for dead.")
    ] = 1800.0,
    chat: Annotated[bool, Flag("Ask ladders in the model's chat template.", ("--chat",))] = False,
    progress: Progress = SILENT,
) -> "Outcome":
    """Loss by position, retrieval, what short contexts pay, and speed: paired over the same documents and prompts.

    model: a folder, a GGUF, a hub id, ropewalk-tiny, or a live transformers model, which stays as it is.
    plan: further plans, objects or files; a mapping names them.

    Every reading is kept in `out` as soon as it is there: called again, it goes on. Raises RopewalkError where it cannot run.

        run = ropewalk.evaluate("ropewalk-tiny", "out/eval", methods="none,yarn", lengths="512,1024", documents=4)
        run.tables, run.figure(), run.to_dict()
    """
    source = Source(model, tokenizer=tokenizer, original_length=original_length, progress=progress)
    source.spec  # noqa: B018  (what is not there is told before anything heavy is imported)

    from ropewalk.jobs.evaluate.job import evaluate as run
    from ropewalk.jobs.evaluate.request import EvalRequest
    from ropewalk.jobs.evaluate.workers import workers

    request = EvalRequest(
        source.name, as_names(methods), as_plans(plan), as_lengths(lengths), as_factor(factor),
        None if original_length is None else as_length(original_length), as_protocols(protocols), as_names(tasks),
        as_texts(data) or ("library",), text_field, strict, documents, samples, as_numbers(depths, "depths"),
        questions if isinstance(questions, Mapping) else dict(map(_question, as_texts(questions))), gap, ruler_compat,
        stop_early, tax, speed, difference, seed, _named(tokenizer), device, dtype, attention,
        batch, silence, chat, None if budget is None else as_seconds(budget),
    )  # fmt: skip
    with workers(silence) as ours:
        return run(Path(out), request, progress, ours, source)


def _question(text: str) -> tuple[str, Path]:
    task, equals, file = text.partition("=")
    if not equals or not Path(file).is_file():
        raise BadOption(f"questions has {text!r}: write qa_1=FILE or qa_2=FILE, with a file that is there.")
    return task, Path(file)


def _named(tokenizer: Any) -> str | None:
    """What a run says of another tokenizer; its hash is in every record."""
    if tokenizer is None or isinstance(tokenizer, str | Path):
        return None if tokenizer is None else str(tokenizer)
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
