"""Write one answer as a stream, and account for it: the scales it was written at, tokens per second, memory."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ropewalk.jobs.serve.answer import Answer
from ropewalk.jobs.serve.batch import Batch
from ropewalk.models.limits import cache_bytes, peak_bytes
from ropewalk.models.served import Served
from ropewalk.progress import Progress
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.schedule import REQUEST
from ropewalk.scaling.stretch import Stretch

INTERRUPTED = 130


@dataclass
class Account:
    """What a stream has done so far.

    scales: (first position, scale) from there on, of the plan's first layer type.
    prefill_s: from the start to the first token.  decode_s: from there to the last.
    cache_bytes: what the key-value cache holds.  peak_bytes: the most memory the process has had.
    """

    prompt_tokens: int
    scales: list[tuple[int, float]]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: str | None = None
    prefill_s: float = 0.0
    decode_s: float = 0.0
    cache_bytes: int = 0
    peak_bytes: int = 0

    @property
    def prefill_tokens_per_s(self) -> float | None:
        return self.prompt_tokens / self.prefill_s if self.prefill_s else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Of the tokens after the first, which belongs to the prefill."""
        return (len(self.tokens) - 1) / self.decode_s if len(self.tokens) > 1 and self.decode_s else None

    def to_dict(self) -> dict[str, Any]:
        speeds = {"prefill_tokens_per_s": self.prefill_tokens_per_s, "decode_tokens_per_s": self.decode_tokens_per_s}
        scales = [{"position": position, "scale": scale} for position, scale in self.scales]
        return {**asdict(self), "scales": scales, **speeds}


@dataclass(frozen=True)
class Written:
    """What `ropewalk.generate` answers.  account: how it came about; scales, speeds and memory are there."""

    model: str
    plan: ScalingPlan | None
    account: Account

    @property
    def text(self) -> str:
        return self.account.text

    @property
    def tokens(self) -> list[int]:
        return self.account.tokens

    @property
    def prompt_tokens(self) -> int:
        return self.account.prompt_tokens

    @property
    def finish(self) -> str | None:
        """Why it ended: "stop" (the end token or a stop text), "length" or "interrupted"."""
        return self.account.finish

    @property
    def seconds(self) -> float:
        """For reading and writing, without loading the model."""
        return self.account.prefill_s + self.account.decode_s

    @property
    def tokens_per_second(self) -> float | None:
        """Written after the first; None where there are none."""
        return self.account.decode_tokens_per_s

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.finish == "interrupted" else 0

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model, "plan": self.plan.to_dict() if self.plan else None, **self.account.to_dict()}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Event:
    """read: prompt tokens read so far.  text: to show now.  scales: (first position, scale) of those that are new."""

    read: int
    text: str
    scales: list[tuple[int, float]]


def generate(served: Served, answer: Answer, account: Account) -> Iterator[Event]:
    """Write `answer`; `account` is kept up to date, so that an interrupted stream has one too."""
    batch, start = Batch(served.model, served.attached, most_rows=1), time.perf_counter()
    for read, text in batch.read(answer):
        if read == len(answer.prompt):
            account.prefill_s = time.perf_counter() - start
            _note(account, answer, served, text)
        yield Event(read, text, _new_scales(served.plan, account, read - 1, answer.length))
    while answer.finish is None:
        [(_, shown)] = batch.step()
        if isinstance(shown, Exception):
            raise shown
        account.decode_s = time.perf_counter() - start - account.prefill_s
        _note(account, answer, served, shown)
        position = account.prompt_tokens + answer.written - 2  # of the query that chose this token
        yield Event(account.prompt_tokens, shown, _new_scales(served.plan, account, position, answer.length))


def write(
    served: Served, answer: Answer, account: Account, name: str, stream: Callable[[str], object], progress: Progress
) -> Written:
    """To the end, or to an interrupt; `stream` is told the text, and `progress` the scales and how far the prompt is read."""
    try:
        _note_scales(account.scales, progress)
        progress.begin(f"reading {account.prompt_tokens:,} tokens", account.prompt_tokens)
        for event in generate(served, answer, account):
            _note_scales(event.scales, progress)
            progress.reach(event.read)
            if event.text:
                stream(event.text)
    except KeyboardInterrupt:
        account.finish = "interrupted"
    return Written(name, served.plan, account)


def _note_scales(scales: list[tuple[int, float]], progress: Progress) -> None:
    for position, scale in scales:
        progress.note(f"from position {position:,}: scale {scale:.4g}")


def new_account(served: Served, answer: Answer) -> Account:
    """The scales that the prompt is read at are known from the start."""
    return Account(len(answer.prompt), scales(served.plan, 0, 1, answer.length))


def _note(account: Account, answer: Answer, served: Served, text: str) -> None:
    account.tokens = [chosen.token for chosen in answer.chosen]
    account.text += text
    account.finish = answer.finish
    held = account.prompt_tokens + max(answer.written - 1, 0)
    account.cache_bytes = cache_bytes(served.spec, served.plan, held, served.model.dtype)
    account.peak_bytes = peak_bytes(served.model.device)


def _new_scales(plan: ScalingPlan | None, account: Account, position: int, length: int) -> list[tuple[int, float]]:
    """Bring the account's scales up to `position`; what is new."""
    first, before = account.scales[-1]
    found = scales(plan, first + 1, position + 1, length, before)
    account.scales += found
    return found


def scales(
    plan: ScalingPlan | None, first: int, last: int, length: int, before: float | None = None
) -> list[tuple[int, float]]:
    """Where the scale changes from position `first` to `last` - 1, in a request of `length` tokens.

    A plan without a grid changes it with every token: then the last position alone is told.
    """
    stretch = plan.stretches[0][1] if plan else None
    if first >= last:
        return []
    positions = [first, last - 1]
    if stretch and stretch.dynamic and stretch.dynamic.grid:
        positions = [first, *(p for p in stretch.schedule.starts() if first < p < last)]
    found: list[tuple[int, float]] = []
    for position in positions:
        scale = scale_at(stretch, position, length)
        if scale != (found[-1][1] if found else before):
            found.append((position, scale))
    return found


def scale_at(stretch: Stretch | None, position: int, length: int) -> float:
    if stretch is None:
        return 1.0
    if stretch.dynamic is None or stretch.dynamic.semantics == REQUEST:
        return stretch.scale_at(length)
    return stretch.schedule.scale_of(position)
