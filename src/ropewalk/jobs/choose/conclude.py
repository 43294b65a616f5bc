"""What a race and a report come to: what to do, in one sentence with its reasons, and what to do next."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ropewalk.jobs.choose.candidates import NONE, OWN, WINDOW, Candidate
from ropewalk.jobs.choose.race import POINT, Race
from ropewalk.jobs.choose.result import (
    KEEP,
    NO_STRETCH,
    PLAN,
    STRETCH,
    TO_SAVE_TIME,
    Asked,
    ChooseResult,
    interval,
    share_found,
)
from ropewalk.jobs.report.run_folder import Run
from ropewalk.measure.anytime import LEAST
from ropewalk.measure.records import Readings
from ropewalk.measure.statistics import Interval
from ropewalk.measure.tables import BITS, Sums, compare_sums, sums_by_position
from ropewalk.scaling.plan import ScalingPlan
from ropewalk.scaling.units import spoken

ALIKE = 3 * POINT  # a lead that is not told apart, and no larger, is no reason to change a model


def outcome(raced: Race) -> tuple[str, str]:
    """(what to do, the plan's name): the winner, unless leaving the model alone is as good.

    As it is, it stays wherever it is not told from the winner: a change must be worth it. A window forgets, which few
    questions show badly: it must come within `ALIKE`.
    """
    for name, what in ((OWN, KEEP), (NONE, NO_STRETCH)):
        if name in raced.close and (name == raced.winner or not raced.is_behind(name, by=ALIKE)):
            return what, name
    if WINDOW in raced.close and (raced.winner == WINDOW or raced.behind(WINDOW).value <= ALIKE):
        return NO_STRETCH, WINDOW
    return STRETCH, raced.winner


def runner_up(raced: Race) -> str | None:
    """The best beside the chosen plan. No stretch is read on however badly it does, so it must come close."""
    _, chosen = outcome(raced)
    return next((n for n in raced.ranking if n != chosen and (n != NONE or n in raced.close)), None)


def conclude(
    asked: Asked, found: Sequence[Candidate], raced: Race, run: Run, made: Mapping[str, Any], documents: dict[str, int],
    kinds: Sequence[str], seconds: float, notes: Sequence[str],
) -> ChooseResult:  # fmt: skip
    """run, made: of the documents that took no part in the choice, and the certificate of it."""
    what, chosen = outcome(raced)
    second = runner_up(raced)
    reported = _reported(run, made, chosen, asked)
    verdict: Mapping[str, Any] = next((v for v in made["verdicts"] if v["method"] == chosen), {})
    known = {candidate.name: candidate for candidate in found}
    close = tuple(name for name in raced.close if name != chosen)
    plan = known[chosen].plan if what == STRETCH else None
    if documents["reporting"] < LEAST:
        notes = [
            *notes,
            f"{documents['reporting']} documents that report give bits without an interval; a larger budget reads more.",
        ]
    reasons = [
        _head(asked, what, chosen, verdict, raced),
        *_evidence(asked, chosen, second, reported, documents),
        *_told(raced, chosen, close),
        *_cost(asked, what, chosen, reported, raced),
    ]
    return ChooseResult(
        asked, what, chosen, plan, second, close, verdict.get("length"), tuple(reasons), tuple(_rows(found, raced, chosen)),
        reported, _commands(asked, plan), tuple(_more(raced, close)), tuple(notes), documents,
        tuple(kinds), seconds,
    )  # fmt: skip


def _head(asked: Asked, what: str, chosen: str, verdict: Mapping[str, Any], raced: Race) -> str:
    if what != STRETCH:
        return f"{_leave(asked, chosen, raced)}: {_hardly_better(asked, chosen, raced)}"
    steps = [step["length"] for step in verdict.get("steps", ())]
    if verdict.get("length") and verdict["length"] >= max(steps):
        return f"Take {chosen} for texts of {asked.to:,} tokens: it is shown to hold to {verdict['length']:,}."
    if verdict.get("worse_at"):
        holds = f"{chosen}, the best, holds to {verdict['length']:,}" if verdict["length"] else f"{chosen} is the best of them"
        return f"None of these is shown to hold to {asked.to:,} tokens; {holds}."
    return f"Take {chosen} for texts of {asked.to:,} tokens; whether it holds so far is not decided yet."


def _leave(asked: Asked, chosen: str, raced: Race) -> str:
    shown = raced.is_alike(chosen, ALIKE)
    few = f"{len(raced.readings[chosen])} rounds do not tell whether another is better"
    if chosen == OWN:
        return "Keep the stretch that the config has" + ("" if shown else f" for now, {few}")
    if chosen == NONE:
        return "Do not stretch" + (", your documents do not need it" if shown else f" yet, {few}")
    return f"Do not stretch, and give the model the last {asked.original:,} tokens alone"


def _hardly_better(asked: Asked, chosen: str, raced: Race) -> str:
    said = f"none of {len(raced.readings)} plans is shown to read {asked.to:,} tokens better"
    if chosen == raced.winner:
        return f"{said}."
    behind = raced.behind(chosen)
    far = f", and no more than {behind.high:.3f}" if math.isfinite(behind.high) else ""
    return f"{said}; the best of them, {raced.winner}, is ahead by {max(behind.value, 0.0):.3f}{far}."


def _evidence(
    asked: Asked, chosen: str, second: str | None, reported: Mapping[str, Any], documents: Mapping[str, int]
) -> list[str]:  # fmt: skip
    said = [f"On {documents['reporting']} documents that took no part in the choice:"]
    for name, who in ((chosen, chosen), (second, f"the runner-up, {second},")):
        row = reported.get(name or "")
        if row is None or row["bits"] is None:
            continue
        excess = f", {interval(row['excess'], '+.3f')}" if row["excess"] else ""
        asked_of = f" and finds {share_found(row)}" if row["tries"] else ""
        unit = f" bits per token beyond {asked.original:,}" if name == chosen else ""
        said.append(f"{who} reads {row['bits']['value']:.3f}{unit}{excess}{asked_of}")
    return [f"{said[0]} {'; '.join(said[1:])}."] if len(said) > 1 else []


def _told(raced: Race, chosen: str, close: Sequence[str]) -> list[str]:
    early = [name for name in close if is_early(raced, name, chosen)]
    if early:
        ahead = [name for name in early if raced.behind_once(name, chosen).low > 0]
        once = f"; by an ordinary 95 % interval it is ahead of {_some(ahead)}" if ahead else ""
        rounds = min(len(raced.readings[name]) for name in early)
        return [
            f"Where it was chosen, {rounds} rounds are too few for a test that holds at every look to tell it from "
            f"{_some(early)}{once}."
        ]
    if close:
        return [f"Where it was chosen it is not told from {_some(close)} (95 %)."]
    rest = [name for name in raced.open if name not in raced.alive]
    left = f", but for {len(rest)} left out early to save time" if rest else ""
    return [f"Where it was chosen it is shown to be better than every other plan read{left} (95 %, shared among the rivals)."]


def is_early(raced: Race, name: str, chosen: str) -> bool:
    """Too few rounds for any interval that holds at every look: that it is not told from the chosen one says nothing yet."""
    return not math.isfinite(raced.behind(name, chosen).high)


def _some(names: Sequence[str], most: int = 3) -> str:
    listed = ["no stretch" if name == NONE else name for name in names[:most]]
    if len(names) > most:
        listed.append(f"{len(names) - most} more")
    *before, last = listed
    return f"{', '.join(before)} and {last}" if before else last


def _cost(asked: Asked, what: str, chosen: str, reported: Mapping[str, Any], raced: Race) -> list[str]:
    if what == NO_STRETCH:
        return []
    said = []
    if (inside := reported.get(chosen, {}).get("inside")) is not None:
        said.append(f"inside {asked.original:,} tokens it costs {interval(inside, '+.3f')} bits")
    ratio = speed_ratio(raced, chosen)
    if ratio is not None:
        said.append(f"texts of {asked.to:,} are read at {ratio:.2f} times the speed of no stretch")
    if (decode := reported.get(chosen, {}).get("decode")) is not None:
        said.append(f"answers are written at {decode:.2f} times")
    text = "; ".join(said)
    return [f"{text[0].upper()}{text[1:]}."] if said else []


def speed_ratio(raced: Race, name: str) -> float | None:
    """Of rounds read under both: seconds without a stretch over seconds with it."""
    if name == NONE or NONE not in raced.readings:
        return None
    pairs = list(zip(raced.readings[NONE], raced.readings[name], strict=False))
    ours, its = sum(b.seconds for _, b in pairs), sum(a.seconds for a, _ in pairs)
    return its / ours if ours else None


def _reported(run: Run, made: Mapping[str, Any], chosen: str, asked: Asked) -> dict[str, dict[str, Any]]:
    cells = {name: rows[0] for name, rows in sums_by_position(Readings(run.records), (asked.original, asked.to)).items()}
    taxes = made["tax"]["rows"] if made["tax"] else {}
    return {
        name: {
            "bits": asdict(_bits(cells[name])) if name in cells else None,
            "excess": _excess(cells, name, chosen),
            "found": sum(c["value"] * c["tries"] for c in _cells(made, name)),
            "tries": sum(c["tries"] for c in _cells(made, name)),
            "inside": taxes[name]["loss"] if name in taxes else None,
            "decode": _decode(made, name),
        }
        for name in run.plans
    }


def _bits(cell: Sums) -> Interval:
    """Two documents say how far plans are apart on both, and not how hard a third would be: by t its bits might be below 0."""
    if len(cell.documents) < LEAST:
        return Interval(cell.mean * BITS, -math.inf, math.inf)
    return cell.interval()


def _excess(cells: Mapping[str, Any], name: str, chosen: str) -> dict[str, float] | None:
    if name == chosen:
        return None
    found = compare_sums(cells.get(name), cells.get(chosen), same_tokens=True)
    if found is None:
        return None
    nats = found.difference
    return asdict(Interval(nats.value * BITS, nats.low * BITS, nats.high * BITS))


def _cells(made: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """What was asked at the longest length, by task."""
    return [cells[-1] for task in made["retrieval"] if (cells := task["by_length"].get(name)) and cells[-1]]


def _decode(made: Mapping[str, Any], name: str) -> float | None:
    for table in made["speed"]["tables"] if made["speed"] else ():
        if table["title"].startswith("decode") and (cells := table["rows"].get(name)) and cells[-1]:
            ratio: float | None = cells[-1]["ratio"]
            return ratio
    return None


def _rows(found: Sequence[Candidate], raced: Race, chosen: str) -> list[dict[str, Any]]:
    known = {candidate.name: candidate for candidate in found}
    rows = [_row(known[name], raced, chosen) for name in raced.ranking]
    beside = [candidate for candidate in found if candidate.name not in raced.readings]
    return rows + [_row(candidate, raced, chosen) for candidate in beside]


def _row(candidate: Candidate, raced: Race, chosen: str) -> dict[str, Any]:
    name, readings = candidate.name, raced.readings.get(candidate.name, [])
    chances = [r.chance for r in readings if r.chance is not None]
    behind = raced.behind(name) if readings and name != raced.winner else None
    return {
        "plan": name,
        "rounds": len(readings),
        "bits": sum(r.bits for r in readings) / len(readings) if readings else None,
        "chance": sum(chances) / len(chances) if chances else None,
        "behind": asdict(behind) if behind else None,
        "finite": behind is not None and math.isfinite(behind.high),
        "state": _state(candidate, raced, chosen),
        "refused": dict(candidate.refused),
        "alike": list(candidate.alike),
    }


def _state(candidate: Candidate, raced: Race, chosen: str) -> str:
    name = candidate.name
    if candidate.refused:
        return f"not carried by {', '.join(candidate.refused)}"
    if name in raced.failed:
        return f"cannot be read: {raced.failed[name].splitlines()[0]}"
    if name in raced.unread:
        return "no time for a turn"
    if name == chosen:
        return "chosen"
    if name in raced.beaten:
        return "worse"
    if name not in raced.alive:
        return TO_SAVE_TIME
    return "too few rounds" if is_early(raced, name, chosen) else "not told apart"


def _commands(asked: Asked, plan: ScalingPlan | None) -> dict[str, str]:
    if plan is None:
        return {}
    model, file = shlex.quote(asked.model), shlex.quote(str(asked.out / PLAN))
    engines = f" --for {','.join(asked.engines)}" if asked.engines else ""
    made = {"serve": f"ropewalk serve {model} --plan {file}"}
    if not any(stretch.near for _, stretch in plan.stretches):  # what a config could say of those is another plan
        kind = "export" if plan.is_one_table else "export, as static plans"
        made[kind] = f"ropewalk export {model} --plan {file}{engines} -o {shlex.quote(str(asked.out / 'export'))}"
    if all(not stretch.options for _, stretch in plan.stretches):
        made["train"] = (
            f"ropewalk train {model} --method {plan.name} --to {asked.to} -o {shlex.quote(str(asked.out / 'train'))}"
        )
    return made


def _more(raced: Race, close: Sequence[str]) -> list[str]:
    """What more time would settle, if plans go on differing as they did."""
    said = []
    if close:
        rival, winner = close[0], raced.winner
        rival = rival if rival != winner else next((n for n in raced.close if n != winner), rival)
        needed = raced.rounds_needed(rival) if rival != winner else None
        have = len(raced.readings[winner])
        if needed is None:
            said.append(f"{winner} and {rival} differ so little that no budget here would tell them apart.")
        elif needed > raced.rounds:
            said.append(
                f"To tell {winner} from {rival} takes about {needed:,} documents that choose; there are {raced.rounds}."
            )
        else:
            a_round = sum(raced.readings[name][-1].seconds for name in (winner, rival))
            extra = max(needed - have, 1) * a_round
            said.append(f"About {spoken(extra)} more of choosing would tell {winner} from {rival}.")
    if left := len(raced.unread) + len([name for name in raced.halved if name not in raced.beaten]):
        said.append(f"{left} {'plan' if left == 1 else 'plans'} had no turn or few rounds: twice the budget gives more.")
    return said
