"""A model that is ready to write: loaded, with its plan attached and measured, its tokenizer and its limits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.models.attach import Attached, attach
from ropewalk.models.carried import carried, own_config
from ropewalk.models.placement import AUTO, find_device
from ropewalk.models.source import Source
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.spec import ModelSpec

UNKNOWN = 64  # characters that one token for unknown ones may stand for, generously
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Served:
    """spec: as read before the plan was attached.  longest: prompt and answer together, tokens.

    plan: what it is under: attached here, or by whoever gave a live model.
    """

    model: Any
    tokenizer: Any
    spec: ModelSpec
    attached: Attached | None
    longest: int
    plan: ScalingPlan | None

    @cached_property
    def most_characters(self) -> int:
        """No text with more of them fits: a token holds as many as its longest spelling, or what stands for unknown ones."""
        return self.longest * max(UNKNOWN, *map(len, self.tokenizer.get_vocab()))

    def check_text(self, text: str) -> None:
        """Before any work: raises BadLength for more than can fit, and BadOption for what is no text."""
        if len(text) > self.most_characters:
            raise BadLength(
                f"the prompt has {len(text):,} characters, and {self.longest:,} tokens, which are all that can be read, hold "
                f"{self.most_characters:,} at most. Shorten it."
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadOption(
                f"the prompt is no text: character {error.start:,} is U+{ord(text[error.start]):04X}, half of a surrogate "
                "pair. It was cut inside a character, or decoded with `surrogateescape`."
            ) from None

    def tokens(self, text: str, *, special: bool = True) -> list[int]:
        self.check_text(text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids


def chat_tokens(served: Served, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """A conversation as the model's chat template spells it, up to where the answer begins."""
    if not getattr(served.tokenizer, "chat_template", None):
        raise BadOption("this model has no chat template: it was not made for conversations.")
    served.check_text("".join(message["content"] for message in messages))
    try:
        text = served.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    except Exception as error:  # the template is the model's own code, and refuses in its own words
        raise BadOption(f"the model's chat template does not take these messages: {error}") from None
    return served.tokens(text, special=False)


def ends(model: Any) -> frozenset[int]:
    """The tokens that end a text."""
    end = getattr(model.generation_config, "eos_token_id", None)
    return frozenset(end if isinstance(end, (list, tuple)) else [] if end is None else [end])


def open_model(
    model: str | Path | Source, plan: ScalingPlan | None, *, dtype: str = "float32", device: str = "cpu"
) -> Served:  # fmt: skip
    """Loaded where it is a name. Whoever is done with a live model calls `.attached.undo()`."""
    source = model if isinstance(model, Source) else Source(model)
    if dtype not in (AUTO, *DTYPES):
        raise UnknownName("dtype", str(dtype), (AUTO, *DTYPES))
    find_device(device)  # of a live model too, which stays where it is
    live, tokenizer = source.load(device=device, dtype=dtype), source.tokenizer()
    if not callable(tokenizer) or not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise BadOption(f"this is no tokenizer, but of type {type(tokenizer).__name__}: give transformers' own, or a folder.")
    spec, already = read(own_config(live)), carried(live)
    attached = attach(live, plan) if plan else None
    under = plan or (already.plan if already else None)
    return Served(live, tokenizer, spec, attached, under.target_length if under else spec.max_length, under)


@contextmanager
def opened(source: Source, plan: ScalingPlan | None, *, dtype: str, device: str) -> Iterator[Served]:
    """`open_model`, after which a live model is as it was."""
    training = source.is_live and getattr(source.given, "training", False)
    served = None
    try:
        served = open_model(source, plan, dtype=dtype, device=device)
        yield served
    finally:
        if served and served.attached:
            served.attached.undo()
        if training:
            source.given.train()
