"""Everything an evaluation decides before the weights are loaded: plans, documents, samples, and what makes no sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ropewalk.checkpoints.fingerprint import measured_by, versions
from ropewalk.jobs.evaluate.request import (
    GROWS,
    EvalRequest,
    asked,
    check_numbers,
    make_plans,
    original_length,
    wanted_lengths,
)
from ropewalk.measure.documents import Choice, Document, Joined, check_documents, choose, describe
from ropewalk.measure.faults import Say
from ropewalk.measure.material import Material
from ropewalk.measure.protocols import Position, Prefix, Protocol, parse_protocol
from ropewalk.measure.records import tokenizer_hash
from ropewalk.measure.retrieval import Skipped, check_chat, check_read, expand_tasks, make_samples
from ropewalk.measure.task import Sample
from ropewalk.measure.texts import LIBRARY, Texts
from ropewalk.models.source import Source
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.plan_notes import plan_notes

STRIDE = 256  # of `sliding` where none is given: that of the papers
WINDOWS = 4  # of `random` where none is given


@dataclass(frozen=True)
class Prepared:
    """checkpoint: the fingerprint of the model's weights and files; model_hash: that, and the code that measures.
    needed: tokens that a document must have, BOS included.  notes: what a person should know of the plans."""

    request: EvalRequest
    source: Source
    plans: dict[str, ScalingPlan]
    lengths: list[int]
    tokenizer: Any
    checkpoint: str
    model_hash: str
    tokenizer_hash: str
    material: Material
    protocols: list[Protocol]
    needed: int
    choice: Choice
    samples: list[Sample]
    skipped: list[Skipped]
    notes: list[str]

    @property
    def documents(self) -> list[Document]:
        return self.choice.documents

    @property
    def grows(self) -> tuple[str, ...]:
        """What a run that is there may be asked for more of, as run.json names it.

        Documents not, where all are read as one text: windows of the longer one would stand beside those of the shorter. Nor
        where reading stops early: their order is drawn before the first is read, or looking again would not keep the level.
        """
        is_whole = self.request.stop_early or any(protocol.corpus for protocol in self.protocols)
        return tuple(name for name in GROWS if not (is_whole and name.endswith("documents")))

    def facts(self) -> dict[str, Any]:
        """For run.json: whatever could make a difference to a number."""
        request = self.request
        return {
            "model": request.model,
            "checkpoint": self.checkpoint,
            "model_hash": self.model_hash,
            "tokenizer_hash": self.tokenizer_hash,
            "plans": {name: plan.fingerprint for name, plan in self.plans.items()},
            "lengths": self.lengths,
            "protocols": [str(protocol) for protocol in self.protocols],
            "tasks": list(dict.fromkeys([*(s.task for s in self.samples), *(s.task for s in self.skipped)])),
            "samples": request.samples,
            "depths": list(request.depths),
            "gap": request.gap,
            "ruler_compat": request.ruler_compat,
            "stop_early": request.stop_early,
            "tax": request.tax,
            "speed": request.speed,
            "seed": request.seed,
            "data": list(request.data),
            "documents": describe(self.documents),
            "device": request.device,
            "dtype": request.dtype,
            "attention": request.attention,
            "asked": asked(request),
            "versions": versions(),
        }


def prepare(request: EvalRequest, source: Source, say: Say) -> Prepared:
    """Raises the errors of everything that can be seen without the weights."""
    check_numbers(request)
    spec = source.spec
    lengths = wanted_lengths(request, spec)
    plans = make_plans(request, spec, lengths)
    tokenizer = source.tokenizer()
    original = original_length(spec)
    protocols = [spelled_out(name, lengths, original, request.seed) for name in request.protocols]
    bos = tokenizer.bos_token_id is not None
    needed = max((protocol.needs(bos) + bos for protocol in protocols), default=0)
    choice = _choose(request, tokenizer, protocols, max(needed, original if request.tax else 0), say)
    material = Material(tokenizer, _haystack(request), dict(request.questions))
    names = _tasks(request)
    samples, skipped = make_samples(
        material, names, lengths, depths=request.depths, count=request.samples, seed=request.seed,
        compat=request.ruler_compat, chat=request.chat,
    )  # fmt: skip
    check_read(
        names, samples, gap=request.gap, compat=request.ruler_compat, chat=request.chat, questions=request.questions
    )  # fmt: skip
    notes = [*spec.warnings, *dict.fromkeys(note for plan in plans.values() for note in plan_notes(spec, plan))]
    notes += _beyond_reach(protocols, plans, bos)
    known = source.fingerprint(say)
    return Prepared(
        request, source, plans, lengths, tokenizer, known, measured_by(known), tokenizer_hash(tokenizer), material, protocols,
        needed, choice, samples, skipped, notes,
    )  # fmt: skip


def _beyond_reach(protocols: Sequence[Protocol], plans: Mapping[str, ScalingPlan], bos: bool) -> list[str]:
    """Lengths that none of the plans is for are refused; a protocol may have longer ones of its own, and that is said."""
    reach, said = max(plan.target_length for plan in plans.values()), []
    for protocol in protocols:
        longest = max(window.length for window in protocol.windows("", protocol.needs(bos), bos))
        if longest - 1 > reach:  # some predict one token more than they feed
            said.append(
                f"{protocol} reads {longest:,} tokens, beyond the {reach:,} that the plans reach: what it says there is "
                "of plans outside of what they are for. Lengths (--lengths) or factor (--factor) make them reach further."
            )
    return said


def spelled_out(text: str, lengths: Sequence[int], original: int, seed: int) -> Protocol:
    """A protocol with its numbers. A name alone takes them from the lengths; `random` is short for `random_window`."""
    name, colon, numbers = text.strip().partition(":")
    longest = max(lengths)
    defaults = {
        "position": sorted({0, original // 2, original, *lengths} & set(range(longest + 1))),
        "prefix": sorted(lengths),
        "sliding": [longest, min(STRIDE, longest // 2)],
        "random_window": [longest, WINDOWS, seed],
    }
    name = "random_window" if name == "random" else name
    if not colon and name in defaults:
        return parse_protocol(f"{name}:{','.join(map(str, defaults[name]))}")
    return parse_protocol(f"{name}{colon}{numbers}")


def _choose(
    request: EvalRequest, tokenizer: Any, protocols: Sequence[Protocol], tokens: int, say: Say
) -> Choice:  # fmt: skip
    """Documents for the protocols and the tax; none where neither is asked for."""
    if not tokens:
        return Choice([], 0, 0, [])
    texts = Texts(request.data, request.text_field, request.strict, request.seed)
    whole = any(not isinstance(protocol, Position | Prefix) for protocol in protocols)
    choice = choose(texts, tokenizer, tokens=tokens, count=request.documents, seed=request.seed, whole=whole)
    if request.data == (LIBRARY,) and len(choice.documents) < request.documents:
        joined = choose(Joined(tokens), tokenizer, tokens=tokens, count=request.documents, seed=request.seed, whole=whole)
        if len(joined.documents) > max(len(choice.documents), min(request.documents, 2) - 1):
            say(
                f"{len(choice.documents)} held-out library files have {tokens:,} tokens, so {len(joined.documents)} texts of "
                "several files in a row are read; your own long texts, with data (--data), say more."
            )
            choice = joined
    check_documents(choice, tokens=tokens, count=request.documents)
    return choice


def _tasks(request: EvalRequest) -> list[str]:
    names = expand_tasks(request.tasks, request.questions)
    if request.chat:
        check_chat(names)
    return names


def _haystack(request: EvalRequest) -> str | None:
    """A person's own text is the haystack too; the standard library brings prose and code apart."""
    if request.data == (LIBRARY,) or not request.tasks:
        return None
    return "\n".join(text.text for text in Texts(request.data, request.text_field, request.strict, request.seed))
