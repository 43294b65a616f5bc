"""Is the choice any good? Every candidate is measured once on a large pool, and the choice replayed from that for many seeds.

    python runs/choose_regret.py measure --factor 4 --documents 50 --questions 60   # goes on where it was stopped
    python runs/choose_regret.py replay                                              # the tables, from what was measured

A seed draws which documents and questions of the pool choose; the others, which it never sees, say how good the choice was.
The clock is what each reading took when it was measured, in processor seconds of one core.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ropewalk.checkpoints.fingerprint import measured_by
from ropewalk.jobs.choose.candidates import NONE, Candidate, candidates
from ropewalk.jobs.choose.conclude import outcome
from ropewalk.jobs.choose.job import SHARE
from ropewalk.jobs.choose.race import POINT, Race, Reading, TooLittle, race
from ropewalk.jobs.choose.reader import SECONDS, Reader, chance_of
from ropewalk.jobs.choose.texts import DEPTHS
from ropewalk.measure.documents import choose
from ropewalk.measure.material import Material
from ropewalk.measure.protocols import Prefix
from ropewalk.measure.records import WINDOW, Records, tokenizer_hash
from ropewalk.measure.retrieval import make_samples
from ropewalk.measure.tables import BITS
from ropewalk.measure.texts import Texts
from ropewalk.models.source import Source

FACTORS, SEEDS, BUDGETS = (2, 4, 8), 10, (2.0, 5.0, 20.0)  # budgets: minutes
KINDS = ("passkey", "keys-1")  # what `choose` asks of the bundled model: the hardest that it can do inside its window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["measure", "replay"])
    parser.add_argument("model", nargs="?", default="ropewalk-tiny")
    parser.add_argument("--factor", type=int, action="append", help="2, 4 and 8 unless said")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--questions", type=int, default=60, help="of each kind")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/choose_regret"))
    args = parser.parse_args()
    for factor in args.factor or FACTORS:
        folder = args.out / f"x{factor}"
        if args.what == "measure":
            measure(args.model, factor, args.documents, args.questions, folder)
        elif folder.is_dir():
            replay(args.model, factor, folder)


def measure(model: str, factor: int, documents: int, questions: int, folder: Path) -> None:
    """Round by round, so that it can be stopped at any time and what is there is of the same documents for all plans."""
    import torch

    torch.set_num_threads(1)
    source = Source(model)
    target, found = _candidates(source, factor)
    tokenizer = source.tokenizer()
    texts = choose(Texts(), tokenizer, tokens=target, count=documents).documents
    random.Random(0).shuffle(texts)
    material, hash_ = Material(tokenizer), measured_by(source.fingerprint())
    rows = []
    for kind in KINDS:
        made, _ = make_samples(material, [kind], [target], depths=DEPTHS, count=-(-questions // len(DEPTHS)), seed=0)
        random.Random(0).shuffle(made)
        rows.append(made)
    live = source.load()
    reader = Reader(
        live, hash_, tokenizer_hash(tokenizer), material, folder / "records", facts={"device": str(live.device)},
        clock=time.process_time,
    )  # fmt: skip
    for i in range(max(len(texts), questions)):
        for candidate in found:
            if i < len(texts):
                reader.document(candidate.reads, texts[i], Prefix((target,)))
            for made in rows:
                if i < questions:
                    reader.question(candidate.reads, made[i])
        print(f"x{factor}: round {i + 1}", flush=True)


def _candidates(source: Source, factor: int) -> tuple[int, list[Candidate]]:
    spec = source.spec
    target = factor * max(spec.rope(name).original_length for name in spec.stretchable)
    return target, candidates(spec, target, source.config, model=source.name)


@dataclass
class Pool:
    """What was measured under every plan: by plan, then by document (bits, seconds) or question (chance, seconds)."""

    bits: dict[str, dict[str, tuple[float, float]]]
    found: dict[str, dict[str, dict[str, tuple[float, float]]]]  # by kind first
    haystack: dict[str, int]  # by question: those of one are drawn together

    def documents(self) -> list[str]:
        return sorted(set.intersection(*(set(row) for row in self.bits.values())))

    def questions(self, kind: str) -> list[str]:
        return sorted(set.intersection(*(set(row) for row in self.found[kind].values())))


def read_pool(folder: Path, found: Sequence[Candidate]) -> Pool:
    names = {candidate.reads.fingerprint: candidate.name for candidate in found}
    records = Records(folder / "records")
    seconds = {}
    for line in (records.folder / SECONDS).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        seconds[row["record"]] = row["seconds"]
    pool = Pool({name: {} for name in names.values()}, {kind: {name: {} for name in names.values()} for kind in KINDS}, {})
    for record in records:
        name, took = names.get(record.key.plan), seconds.get(record.key.name)
        if name is None or took is None:
            continue
        if record.key.protocol == WINDOW:
            pool.bits[name][record.facts["document"]] = float(record.nll.mean(dtype=numpy.float64)) * BITS, took
        else:
            pool.found[record.key.protocol][name][record.key.item] = chance_of(record), took
            pool.haystack[record.key.item] = record.facts["index"]
    return pool


@dataclass
class Drawn:
    """One seed's share of a pool: the rounds that choose, and what it never sees."""

    documents: list[str]
    questions: list[tuple[str, ...]]
    held_documents: list[str]
    held_questions: list[tuple[str, ...]]


def draw(pool: Pool, seed: int) -> Drawn:
    rng, documents = random.Random(seed), pool.documents()
    rng.shuffle(documents)
    half = len(documents) // 2
    chosen, held = zip(*(_halves(pool, pool.questions(kind), rng) for kind in KINDS), strict=True)
    return Drawn(
        documents[:half], list(zip(*chosen, strict=False)), documents[half:], list(zip(*held, strict=False))
    )  # fmt: skip


def _halves(pool: Pool, questions: list[str], rng: random.Random) -> tuple[list[str], list[str]]:
    """Those of half of the haystacks, and of the other half."""
    haystacks = sorted({pool.haystack[item] for item in questions})
    rng.shuffle(haystacks)
    rng.shuffle(questions)
    first = {*haystacks[: len(haystacks) // 2]}
    return [q for q in questions if pool.haystack[q] in first], [q for q in questions if pool.haystack[q] not in first]


def choice(pool: Pool, drawn: Drawn, names: Sequence[str], seconds: float) -> Race:
    def read(name: str, round: int) -> Reading:
        bits, first = pool.bits[name][drawn.documents[round]]
        answers = [pool.found[kind][name][item] for kind, item in zip(KINDS, drawn.questions[round], strict=True)]
        return Reading(bits, sum(chance for chance, _ in answers) / len(answers), first + sum(took for _, took in answers))

    return race(list(names), min(len(drawn.documents), len(drawn.questions)), read, SHARE * seconds, keep=[NONE])


def truth(pool: Pool, drawn: Drawn, name: str, half: int | None = None) -> tuple[float, float]:
    """(bits per token, probability of the right answer) on what the seed did not see, or on one half of that."""
    part = slice(None) if half is None else slice(half, None, 2)
    bits = [pool.bits[name][document][0] for document in drawn.held_documents[part]]
    chances = [
        pool.found[kind][name][item][0] for turn in drawn.held_questions[part] for kind, item in zip(KINDS, turn, strict=True)
    ]
    return float(numpy.mean(bits)), float(numpy.mean(chances))


def replay(model: str, factor: int, folder: Path) -> None:
    _, found = _candidates(Source(model), factor)
    pool, names = read_pool(folder, found), [candidate.name for candidate in found]
    if unread := [name for name in names if not pool.bits[name]]:
        sys.exit(
            f"{folder} has nothing of {', '.join(unread)}: what every plan has read is compared. `measure` reads them too."
        )
    asked = sum(len(pool.questions(kind)) for kind in KINDS)
    print(f"\n{model} x{factor}: {len(names)} plans, {len(pool.documents())} documents, {asked} questions, {SEEDS} seeds\n")
    by_budget = {minutes: list(_rows(pool, names, 60 * minutes)) for minutes in BUDGETS}
    print("| budget | plans | rounds | " + " | ".join(head for _, head, _ in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for minutes, rows in by_budget.items():
        if rows:
            read = [f"{numpy.mean([row[key] for row in rows]):.0f}" for key in ("read", "rounds")]
            cells = [*read, *(_spread([row[key] for row in rows], form) for key, _, form in COLUMNS)]
            print(f"| {minutes:g} min | {' | '.join(cells)} |")
    print("\n| budget | chosen, by seeds | best not shown to be worse | best read to the end | shown worse, contradicted |")
    print("|---" * 5 + "|")
    for minutes, rows in by_budget.items():
        picked = Counter(row["chosen"] for row in rows).most_common()
        cells = [f"{sum(row[key] for row in rows)} of {len(rows)}" for key in ("open", "close")]
        worse, wrong = (sum(row[key] for row in rows) for key in ("worse", "wrong"))
        print(f"| {minutes:g} min | {', '.join(f'{n} {k}' for n, k in picked)} | {' | '.join(cells)} | {worse}, {wrong} |")
    show_pool(pool, names)


def show_pool(pool: Pool, names: Sequence[str]) -> None:
    """Every plan over the whole pool, best first."""
    documents, asked = pool.documents(), {kind: pool.questions(kind) for kind in KINDS}
    bits = {name: numpy.mean([pool.bits[name][document][0] for document in documents]) for name in names}
    chances = {
        name: [numpy.mean([pool.found[kind][name][item][0] for item in asked[kind]]) for kind in KINDS] for name in names
    }
    print(f"\n| plan | bits per token | {' | '.join(KINDS)} | bits and points together |\n" + "|---" * (len(KINDS) + 3) + "|")
    scores = {name: _score((float(bits[name]), float(numpy.mean(chances[name])))) for name in names}
    for name in sorted(names, key=lambda name: scores[name]):
        cells = " | ".join(f"{100 * chance:.0f} %" for chance in chances[name])
        print(f"| {name} | {bits[name]:.3f} | {cells} | {scores[name]:.3f} |")


COLUMNS = (
    ("bits", "bits behind", ".4f"), ("points", "points behind", ".1f"), ("score", "score behind", ".4f"),
    ("most", "score behind, at most", ".4f"),
)  # fmt: skip


def _spread(values: Sequence[float], form: str) -> str:
    return f"{numpy.mean(values):{form}} (worst {max(values):{form}})"


def _rows(pool: Pool, names: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """How each seed's choice did. The best of many is found on one half of what the seed did not see and judged on the other,
    and the other way round: where it is found it was lucky too, which `most` counts as regret."""
    for seed in range(SEEDS):
        drawn = draw(pool, seed)
        try:
            raced = choice(pool, drawn, names, seconds)
        except TooLittle:
            continue
        _, chosen = outcome(raced)
        whole = {name: truth(pool, drawn, name) for name in names}
        best = _best(whole)
        halves = [{name: truth(pool, drawn, name, half) for name in names} for half in (0, 1)]
        pairs = [(judge[chosen], judge[_best(finder)]) for finder, judge in (halves, halves[::-1])]
        bits = float(numpy.mean([ours[0] - its[0] for ours, its in pairs]))
        points = float(numpy.mean([100 * (its[1] - ours[1]) for ours, its in pairs]))
        yield {
            "chosen": chosen, "read": len(raced.readings), "rounds": len(raced.readings[raced.winner]),
            "bits": bits, "points": points, "score": bits + POINT * points,
            "most": _score(whole[chosen]) - _score(whole[best]),
            "open": best in raced.open or best in raced.unread, "close": best in raced.close, "worse": len(raced.beaten),
            "wrong": sum(_score(whole[name]) < _score(whole[by]) for name, by in raced.beaten.items()),
        }  # fmt: skip


def _score(known: tuple[float, float]) -> float:
    return known[0] + 100 * POINT * (1 - known[1])


def _best(known: dict[str, tuple[float, float]]) -> str:
    return min(known, key=lambda name: _score(known[name]))


if __name__ == "__main__":
    main()
