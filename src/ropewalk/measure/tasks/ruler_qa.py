"""RULER's two question tasks, from local files."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ropewalk.errors import BadConfig
from ropewalk.measure.material import Material
from ropewalk.measure.ruler.family import SOURCE, GeneratorRow, counter, row, ruler_samples
from ropewalk.measure.ruler.fit import Draft, reference_draft, reference_size
from ropewalk.measure.task import Sample, task

ORDER = "Answer the question based on the given documents. Only give me the answer and do not output any other words."
HEAD = f"{ORDER}\n\nThe following are given documents."
PREFIX = " Answer:"
STEP = 10


@dataclass(frozen=True, slots=True)
class Question:
    """gold: documents that hold the answer.  near: documents of the same article, preferred as distractors."""

    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    near: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    questions: list[Question]
    documents: list[str]


def read_squad(data: Any) -> QuestionSet:
    """SQuAD 2.0: paragraphs of articles; questions without an answer are left out."""
    documents = sorted({p["context"] for article in data["data"] for p in article["paragraphs"]})
    number = {text: i for i, text in enumerate(documents)}
    questions = []
    for article in data["data"]:
        near = [number[p["context"]] for p in article["paragraphs"]]
        for p in article["paragraphs"]:
            gold = number[p["context"]]
            for q in p["qas"]:
                if not q.get("is_impossible", False):
                    answers = tuple(a["text"] for a in q["answers"])
                    questions.append(Question(q["question"], answers, (gold,), tuple(i for i in near if i != gold)))
    return QuestionSet(questions, documents)


def read_hotpot(data: Any) -> QuestionSet:
    """HotpotQA, distractor setting: ten paragraphs with each question."""
    texts = [[f"{title}\n{''.join(sentences)}" for title, sentences in q["context"]] for q in data]
    documents = sorted({text for group in texts for text in group})
    number = {text: i for i, text in enumerate(documents)}
    return QuestionSet(
        [
            Question(q["question"], (q["answer"],), tuple(number[t] for t in group))
            for q, group in zip(data, texts, strict=True)
        ],
        documents,
    )


def read_questions(path: Path, read: Callable[[Any], QuestionSet]) -> QuestionSet:
    try:
        found = read(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        what = "SQuAD" if read is read_squad else "HotpotQA"
        raise BadConfig(f"{path} is not a {what} file: {type(error).__name__}: {error}.") from None
    if not found.questions:
        raise BadConfig(f"{path} holds no question that has an answer.")
    return found


class QuestionAnswering:
    new_tokens = 32

    def __init__(self, name: str, material: Material, read: Callable[[Any], QuestionSet], length: int):
        self.name, self.length = name, length
        self.path = material.question_file(name)
        self.set = read_questions(self.path, read)
        self.usable = [q for q in self.set.questions if not {"yes", "no"} & {answer.lower() for answer in q.answers}]
        self.smallest = max((len(q.gold) for q in self.set.questions), default=1)
        self.most = len(self.set.documents)
        self.pieces = counter(material)

    # --- the reference's samples ---

    def reference(self, count: int, seed: int) -> Iterator[tuple[Draft, GeneratorRow]]:
        rng, budget, questions = random.Random(seed), self.length - self.new_tokens, self.set.questions
        if count > len(questions):
            raise BadConfig(f"{self.path} has {len(questions)} questions with an answer; {count} were asked for.")

        def build(size: int, index: int = 0) -> Draft:
            return self._reference_draft(questions[index], size, rng, seed)

        each = self.pieces.count(build(STEP).pieces) / STEP
        size = reference_size(build, self.pieces.count, budget, step=STEP, upper=int((self.length / each) * 3))
        for index in range(count):
            draft, tokens = reference_draft(
                self.name, partial(build, index=index), self.pieces.count, budget, size=size, step=STEP
            )
            yield draft, row(index, draft, PREFIX, tokens, self.new_tokens)

    def _reference_draft(self, question: Question, size: int, rng: random.Random, seed: int) -> Draft:
        documents, gold, near = self.set.documents, list(question.gold), list(question.near)
        if size >= len(documents):
            chosen = (documents * -(-size // len(documents)))[:size]
        elif size - len(gold) > len(near):
            known = {*gold, *near}
            others = [i for i in range(len(documents)) if i not in known]
            chosen = [documents[i] for i in gold + near + rng.sample(others, max(0, size - len(gold) - len(near)))]
        else:
            chosen = [documents[i] for i in gold + rng.sample(near, size - len(gold))]
        random.Random(seed).shuffle(chosen)
        return _prompt(question, chosen)

    # --- ours ---

    def draft(self, size: int, rng: random.Random) -> Draft:
        """Different on purpose: see docs/ruler.md, "Questions"."""
        if not self.usable:
            raise BadConfig(f"{self.path} has only questions that are answered by yes or no.")
        question = rng.choice(self.usable)
        near = rng.sample(question.near, len(question.near))
        known = {*question.gold, *near}
        others = [i for i in range(len(self.set.documents)) if i not in known]
        rng.shuffle(others)
        chosen = [*question.gold, *near, *others][:size]
        rng.shuffle(chosen)
        return _prompt(question, [self.set.documents[i] for i in chosen])


def _prompt(question: Question, documents: list[str]) -> Draft:
    context = [piece for i, text in enumerate(documents) for piece in (f"Document {i + 1}:", "\n", text, "\n", "\n")]
    pieces = [HEAD, "\n", "\n", *context, f"{ORDER}\n\nQuestion: {question.text}", PREFIX]
    return Draft(pieces, question.answers, f" {question.answers[0]}")


def _register(name: str, read: Callable[[Any], QuestionSet], summary: str) -> None:
    def samples(
        material: Material, *, length: int, count: int, seed: int, depths: object, compat: bool = False
    ) -> Iterator[Sample]:
        family = QuestionAnswering(name, material, read, length)
        return ruler_samples(name, family, material, length=length, count=count, seed=seed, compat=compat)

    samples.__doc__ = summary
    task(name, source=SOURCE, scoring="part")(samples)


_register("qa_1", read_squad, "A question whose paragraph stands among others, from a SQuAD file.")
_register("qa_2", read_hotpot, "A question whose two paragraphs stand among others, from a HotpotQA file.")
