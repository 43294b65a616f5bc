"""Every error that Ropewalk raises on purpose.

RopewalkError
├── BadLength       a length or factor that cannot stretch anything
├── BadOption       a method's option with a value it cannot have
├── UnknownName     no method, option, layer type, engine or task of that name
├── BadConfig       a config or checkpoint that cannot be read, or that contradicts itself
├── NoRope          the model has no rotary position embedding to stretch
├── CannotExpress   the place to write to has no spelling for this plan
├── CannotAttach    this live model cannot carry the plan
├── Mismatch        the live model does not do what the plan says
├── NotFinite       the model answered with NaN or infinity
├── BadAnswer       a server did not answer, or answered what cannot be believed
├── OutOfMemory     one sequence at a time does not fit either
├── Stopped         another process of the same run failed, or fell silent
├── OutputExists    the output is there already
├── CannotWrite     the output could not be written; nothing half-written was left behind
└── MissingPart     a package that an extra brings is not installed

A message says what was seen, which rule it broke, the likely cause, and the way out.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

# What each extra of pyproject.toml brings beyond those it builds on, as it is imported.
EXTRAS = {
    "hub": ("huggingface_hub", "yaml"),
    "report": (),  # of what torch brings: a verb that is called like an extra asks for that one
    "torch": (
        "torch", "transformers", "tokenizers", "safetensors", "numpy", "psutil", "plotly", "jinja2", "markupsafe",
        "gguf",
    ),
    "train": ("pydantic",),
    "lora": ("peft",),
    "fit": ("cma",),
    "serve": ("fastapi", "uvicorn", "starlette"),
    "verify": ("mlx", "mlx_lm"),
    "ruler": ("wonderwords",),
    "data": ("pyarrow", "datasets"),
    "lm-eval": ("lm_eval", "accelerate"),
    "vllm": ("vllm",),
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}  # fmt: skip


class RopewalkError(Exception):
    """The root: catch this to catch everything Ropewalk raises on purpose."""


class BadLength(RopewalkError, ValueError):
    pass


class BadOption(RopewalkError, ValueError):
    pass


class BadConfig(RopewalkError, ValueError):
    pass


class NoRope(RopewalkError, ValueError):
    pass


class CannotExpress(RopewalkError, ValueError):
    pass


class CannotAttach(RopewalkError, ValueError):
    pass


class Mismatch(RopewalkError, RuntimeError):
    pass


class NotFinite(RopewalkError, RuntimeError):
    pass


class BadAnswer(RopewalkError, RuntimeError):
    pass


class OutOfMemory(RopewalkError, RuntimeError):
    pass


class Stopped(RopewalkError, RuntimeError):
    pass


class OutputExists(RopewalkError, FileExistsError):
    pass


class CannotWrite(RopewalkError, OSError):
    pass


class MissingPart(RopewalkError, ImportError):
    """A package that an extra of ours brings is not installed."""


def missing_part(error: ImportError, verb: str = "") -> MissingPart | None:
    """What to install, in words. None where the error is not about a package of `EXTRAS` that is absent.

    verb: asks for the extra of its own name, where there is one, and what it lacks is torch or comes with it (hub does).
    """
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    if extra is None or find_spec(package) is not None:
        return None  # a package that is there and broken is another matter
    if verb in EXTRAS and (extra == "torch" or (extra == "hub" and verb != "report")):
        extra = verb
    return MissingPart(f"needs {package}, which is not installed: pip install 'ropewalk[{extra}]'", name=package)


@contextmanager
def extra_parts(verb: str = "") -> Iterator[None]:
    """Around imports of packages that an extra brings; or, as a decorator, around a verb's function."""
    try:
        yield
    except ImportError as error:
        if part := missing_part(error, verb):
            raise part from None
        raise


class UnknownName(RopewalkError, ValueError):
    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"no {kind} is called {name!r}.{hint}\n  known: {', '.join(known) or 'none'}")


def first_line(error: BaseException) -> str:
    """Of somebody else's error, for a sentence of ours; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
