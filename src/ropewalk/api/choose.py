"""`ropewalk.choose`: which stretch for a model, decided by measurement within a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Data,
    Device,
    Dtype,
    Flag,
    Length,
    Names,
    OneModel,
    OriginalLength,
    Place,
    Plans,
    TextField,
    Time,
    as_names,
    as_place,
    as_plans,
    as_texts,
)  # fmt: skip
from ropewalk.engines.engine import get_engine
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress
from ropewalk.scaling.units import as_length, as_seconds

GRID = 2  # steps an octave of a fitted plan, as near plans have by name: eight cost 0.004 bits (docs/near.md)

if TYPE_CHECKING:
    from ropewalk.jobs.choose.fitted import Fitter, ToFit
    from ropewalk.jobs.choose.result import ChooseResult, Needless


def choose(
    model: OneModel,
    out: Annotated[Place, Flag("The run's folder; a second run goes on.", ("-o", "--out"))] = "out/choose",
    *,
    to: Annotated[Length, Flag("Target length: 131072, 128k or 1m (k = 1024).", metavar="TOKENS")],
    budget: Annotated[Time, Flag("For measuring: 90s, 20m or 1h.", metavar="TIME")] = "20m",
    methods: Annotated[Names, Flag("Choose among these alone, by commas (default: every stretch).", metavar="METHODS")] = (),
    engines: Annotated[Names, Flag("Engines that must carry the plan, by commas.", ("--for",), metavar="ENGINES")] = (),
    plan: Annotated[Plans, Flag("A saved plan that takes part too (again and again).", many=True)] = (),
    data: Data = (),
    text_field: TextField = "text",
    retrieval: Annotated[bool, Flag("Ask for what was hidden too, and not only read.")] = True,
    original_length: OriginalLength = None,
    seed: Annotated[int, Flag("Draws which documents choose and which are reported on.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Annotated[str, Flag("sdpa, eager or flash_attention_2.")] = "sdpa",
    tokenizer: Any = None,
    progress: Progress = SILENT,
    fit: Annotated[
        bool | None,
        Flag("Fit a plan on some of the documents too (default: unless methods are named).", ("--fit/--no-fit",)),
    ] = None,
) -> "ChooseResult | Needless":
    """Read every stretch on some documents, leave out what is worse, and report the best on others.

    model: a folder, a GGUF, a hub id, ropewalk-tiny, or a live transformers model, which stays as it is.
    budget: seconds, or "20m"; loading the model is not counted.  methods: as `plan` takes them, and "window"; "none" too.
    plan: further plans, objects or files; a mapping names them.
    fit: a near/far plan that is searched on a quarter of the documents, at most 16, which do nothing else. It takes a fifth of
    the budget at most, and is left out, with a word why, where that is too short for eight steps.

    Every reading is kept in `out`: called again, it goes on, with a larger budget from where the smaller one ended. "Do not
    stretch" is a possible answer. Raises RopewalkError where nothing can be chosen.

        found = ropewalk.choose("ropewalk-tiny", "out/choose", to="1k", budget="30s", engines="vllm", retrieval=False)
        found.sentence, found.plan, found.table
    """
    source = Source(model, tokenizer=tokenizer, original_length=original_length, progress=progress)
    source.spec  # noqa: B018  (what is not there is told before anything heavy is imported)
    wanted = as_names(engines)
    for name in wanted:
        get_engine(name)

    from ropewalk.jobs.choose.job import Choice, run_choose

    chosen = as_names(methods)
    with_fit = not chosen if fit is None else fit
    asked = Choice(
        as_length(to), as_seconds(budget), chosen, wanted, as_plans(plan), as_texts(data) or ("library",),
        text_field, retrieval, seed, device, dtype, attention,
        _fitter() if with_fit else None,
    )  # fmt: skip
    return run_choose(source, asked, Path(as_place(out)), progress)


def _fitter() -> "Fitter":
    """The search of `ropewalk fit` in the family that did best (docs/near.md), as a choice is handed it."""
    from ropewalk.jobs.choose.fitted import Fitted, Fitter
    from ropewalk.jobs.fit.families.near import BEST
    from ropewalk.jobs.fit.job import READINGS, Fit, one_layer_type, search_plan
    from ropewalk.jobs.fit.objective import Sets

    def run(given: "ToFit", seconds: float) -> Fitted:
        if len(types := given.spec.stretchable) > 1:
            raise BadOption(
                f"a fit moves one layer type at a time, and this model has {', '.join(types)}: `ropewalk fit --layers` makes "
                "such a plan, and plan (--plan) brings it in."
            )
        original = given.spec.rope(one_layer_type(given.spec, ())).original_length
        asked = Fit(given.target / original, "near", causal=True, grid=GRID, budget=seconds, seed=given.seed)
        n = max(len(given.documents) // 4, 2)  # that choose among the points of the search
        sets = Sets(tuple(given.documents[n:]), tuple(given.documents[:n]), ())
        plan, state = search_plan(
            given.model, given.tokenizer, given.fingerprint, given.spec, asked, sets, given.out, given.name, given.progress
        )  # fmt: skip
        return Fitted(plan, state.steps, state.seconds)

    return Fitter(run, READINGS, BEST[0])
