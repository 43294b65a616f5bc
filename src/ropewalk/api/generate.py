"""`ropewalk.generate`: a model goes on from a prompt, as it is or under a plan."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ropewalk.api.arguments import (
    Chat,
    Device,
    Dtype,
    Factor,
    Flag,
    MethodOptions,
    OneModel,
    OriginalLength,
    PlanOrFile,
    To,
    as_texts,
)
from ropewalk.api.running import Dynamic, RunMethod, plan_to_run
from ropewalk.errors import BadOption
from ropewalk.models.source import Source
from ropewalk.progress import SILENT, Progress

if TYPE_CHECKING:
    from ropewalk.jobs.serve.generate import WrittenText
    from ropewalk.models.served import Served

Messages = Sequence[Mapping[str, str]]  # [{"role": "user", "content": "..."}]


def generate(
    model: OneModel,
    prompt: str | Messages,
    *,
    plan: PlanOrFile = None,
    dynamic: Dynamic = None,
    method: RunMethod = None,
    to: To = None,
    factor: Factor = None,
    options: MethodOptions = None,
    original_length: OriginalLength = None,
    max_new_tokens: Annotated[int, Flag("Write at most so many.")] = 128,
    temperature: Annotated[float, Flag("0 takes the most probable token each time.")] = 0.0,
    top_p: Annotated[float, Flag("Draw from the fewest tokens that have this probability.")] = 1.0,
    seed: Annotated[int | None, Flag("The same seed draws the same text.")] = None,
    stop: Annotated[str | Sequence[str], Flag("End before this text; may be given several times.", many=True)] = (),
    chat: Annotated[
        Chat | None,
        Flag(
            "Put the prompt into the model's chat template. [default: where it has one, and a terminal is there]",
            ("--chat/--no-chat",),
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    tokenizer: Any = None,
    stream: Callable[[str], object] = lambda text: None,
    progress: Progress = SILENT,
) -> "WrittenText":
    """Read a prompt and write at most `max_new_tokens` after it.

    model: a folder, a GGUF, a hub id, ropewalk-tiny, or a live transformers model, which is afterwards as it was.
    prompt: a text, or the messages of a conversation: [{"role": "user", "content": "..."}].
    chat: True puts a text into the model's chat template; "auto" does where it has one; None takes a text as it is.
    stream: called with each piece of the text as soon as it is written.
    tokenizer: of a live model that no folder here holds.

    An interrupt (Ctrl-C) while it writes ends the answer: what was written comes back, and `finish` says so.
    Raises RopewalkError for a prompt or a plan that the model cannot take.

        written = ropewalk.generate("ropewalk-tiny", "def area(width, height):", dynamic="yarn", max_new_tokens=12)
        written.text, written.finish, written.tokens_per_second
    """
    if not isinstance(prompt, str) and not _is_conversation(prompt):
        raise BadOption(
            f"this is no prompt, but of type {type(prompt).__name__}: give a text, or messages, such as\n"
            '  [{"role": "user", "content": "Hello"}].'
        )
    if chat not in (None, True, False, "auto"):
        raise BadOption(f"chat is {chat!r}; it must be True, False or 'auto'.")
    if not isinstance(stop, str | Sequence):
        raise BadOption(f"stop is {stop!r}; it must be a text, or a list of texts.")
    source = Source(model, tokenizer=tokenizer, original_length=original_length, progress=progress)
    asked = plan_to_run(source, plan, method=method, dynamic=dynamic, to=to, factor=factor, options=options)
    progress.begin(source.loading)

    from ropewalk.jobs.serve.answer import SamplingParams, new_answer
    from ropewalk.jobs.serve.generate import new_account, write
    from ropewalk.models.served import opened

    wanted = SamplingParams(max_new_tokens, temperature, top_p, seed, as_texts(stop))
    with opened(source, asked, dtype=dtype, device=device) as served:
        answer = new_answer(served, _ids(served, prompt, chat, progress), wanted)
        return write(served, answer, new_account(served, answer), source.name, stream, progress)


def _is_conversation(prompt: Any) -> bool:
    return (
        isinstance(prompt, Sequence)
        and bool(prompt)
        and all(isinstance(message, Mapping) for message in prompt)
        and all(isinstance(message.get(key), str) for message in prompt for key in ("role", "content"))
    )


def _ids(served: "Served", prompt: str | Messages, chat: Chat | None, progress: Progress) -> list[int]:
    """The prompt as tokens; says which way they came about where there are two."""
    from ropewalk.models.served import chat_tokens

    if not isinstance(prompt, str):
        if chat is False:
            raise BadOption("messages are put into the chat template, always: give a text where chat is False.")
        return chat_tokens(served, prompt)
    has_template = bool(getattr(served.tokenizer, "chat_template", None))
    if chat is True or (chat == "auto" and has_template):
        ids = chat_tokens(served, [{"role": "user", "content": prompt}])
        progress.note("the prompt is put into the model's chat template; --no-chat goes on from it as it is")
        return ids
    if has_template:
        progress.note("the prompt is gone on from as it is; --chat puts it into the model's chat template")
    return served.tokens(prompt)
