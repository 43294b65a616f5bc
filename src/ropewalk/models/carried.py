"""What a live model carries while a plan is attached, for whoever reads its config or saves it meanwhile."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

from torch import nn

from ropewalk.checkpoints.extend import PLAN
from ropewalk.engines.transformers.checkpoint import ADAPTER, text_of
from ropewalk.engines.transformers.has_rope import V4_KEYS
from ropewalk.engines.transformers.write import prove, write
from ropewalk.errors import RopewalkError
from ropewalk.scaling.plan import ScalingPlan

MISSING = object()
MARK = "_ropewalk_plan"  # of a rotary module
SAVING = "_ropewalk_saves"
SAVE, LISTING = "save_pretrained", "_get_files_timestamps"


@dataclass(frozen=True)
class Carried:
    """window: max_position_embeddings as it was before the plan was attached."""

    plan: ScalingPlan
    window: int


def carried(model: Any) -> Carried | None:
    """The plan that is attached to a live model, or was to the one that it is a copy of."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return next((found for module in modules if (found := module.__dict__.get(MARK))), None)


def own_config(model: Any) -> dict[str, Any]:
    """The model's config as it is without the plan: while one is attached, the live one states the plan's window."""
    config: dict[str, Any] = model.config.to_dict()
    if found := carried(model):
        text_of(config)["max_position_embeddings"] = found.window
    return config


def save_as_it_rotates(model: nn.Module, config: Any) -> list[nn.Module]:
    """While attached, `save_pretrained` writes a config that says the plan. The modules that it was put on.

    config: of the language model, by which the modules are known that are saved with it.
    """
    found = [module for module in model.modules() if hasattr(type(module), SAVE) and _text_config(module) is config]
    for module in found:
        setattr(module, SAVE, MethodType(_save, module))  # a bound method: a deep copy of the model binds its own copy
    if model not in found and hasattr(model, "peft_config") and hasattr(type(model), SAVE):
        setattr(model, SAVE, MethodType(_save_adapters, model))
        found.append(model)
    return found


def _text_config(module: Any) -> Any:
    get = getattr(getattr(module, "config", None), "get_text_config", None)
    return get() if get and "config" in module.__dict__ else None  # of peft's wrapper it is the base's


class OfAdapters:
    """While attached, a hook that warns once when the state of peft's layers is taken: peft saves it without a plan."""

    def __init__(self, plan: ScalingPlan):
        self.name, self.told = plan.name, False

    def __call__(self, model: nn.Module, *_: Any) -> None:
        if self.told or SAVING in model.__dict__ or not any(hasattr(m, "adapter_layer_names") for m in model.modules()):
            return
        self.told = True
        warnings.warn(
            f"an adapter's weights are taken while {self.name} is attached, and peft saves no plan: put it beside them,\n"
            f"  (folder / {PLAN!r}).write_text(attached.plan.to_json()).",
            stacklevel=2,
        )


def _save(module: Any, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
    found = carried(module)
    if found is None:
        return getattr(type(module), SAVE)(module, save_directory, *args, **kwargs)
    if kwargs.get("is_main_process", not args or args[0]):
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(found.plan.to_json(), encoding="utf-8")
    with _saying(module, found), _uploading(module), _telling(module):
        return getattr(type(module), SAVE)(module, save_directory, *args, **kwargs)


def _save_adapters(model: Any, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
    """peft's wrapper writes adapters alone, each but the default one into a folder of its own."""
    with _telling(model):
        done = getattr(type(model), SAVE)(model, save_directory, *args, **kwargs)
    if found := carried(model):
        folder = Path(save_directory)
        for config in (*folder.glob(ADAPTER), *folder.glob(f"*/{ADAPTER}")):
            (config.parent / PLAN).write_text(found.plan.to_json(), encoding="utf-8")
    return done


@contextmanager
def _telling(module: Any) -> Iterator[None]:
    """Here the plan is written, whatever else is."""
    module.__dict__[SAVING] = True
    try:
        yield
    finally:
        del module.__dict__[SAVING]


@contextmanager
def _uploading(module: Any) -> Iterator[None]:
    """With push_to_hub transformers uploads what is newer than its list of the folder, on which the plan stands already."""
    inner = getattr(module, LISTING, None)
    if inner is None or LISTING in module.__dict__:
        yield
        return
    setattr(module, LISTING, lambda folder: {name: when for name, when in inner(folder).items() if name != PLAN})
    try:
        yield
    finally:
        delattr(module, LISTING)


@contextmanager
def _saying(module: Any, found: Carried) -> Iterator[None]:
    """The config as it is to be saved: with a static plan's words, or the model's own where no config can say the plan."""
    config, own = module.config.get_text_config(), own_config(module)
    said = _words(found.plan, own)
    if not said:
        warnings.warn(
            f"saved without its plan: no config can say {found.plan.name}. The config written is the model's own, and the "
            f"plan is in {PLAN} beside it: attach it again to what is loaded from there.",
            stacklevel=4,
        )
    changed = {"max_position_embeddings": found.window, **said}
    before = {key: getattr(config, key, MISSING) for key in changed}
    try:
        for key, value in changed.items():
            setattr(config, key, value)
        if said:
            prove(found.plan, module.config.to_dict())
        yield
    finally:
        for key, value in before.items():
            delattr(config, key) if value is MISSING else setattr(config, key, value)


def _words(plan: ScalingPlan, own: dict[str, Any]) -> dict[str, Any]:
    """The keys of the language model's part that a plan changes; none where no config can say it."""
    if not plan.is_one_table:
        return {}
    try:
        written, before = text_of(write(plan, own)), text_of(own)
    except RopewalkError:
        return {}
    new = {key: value for key, value in written.items() if key not in V4_KEYS or key in before}
    return {key: value for key, value in new.items() if key == "rope_parameters" or before.get(key) != value}
