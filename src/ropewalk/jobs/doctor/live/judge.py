"""From answers to a verdict: PASS, FAIL or INCONCLUSIVE, by a rule that is said, with its intervals.

Loss. Each passage beyond the original window is compared with itself at the window's end: the same tokens after the same text,
only further along. PASS: at every length the mean difference is shown to be below the margin (studentised bootstrap over
passages, one-sided at 0.05 each; a claim about all lengths needs no correction: Berger 1982). FAIL: at some length it is
shown to be above the margin (0.05 divided by the number of lengths: Bonferroni). Otherwise the passages do not decide.

Pass keys. The same rule on the share of keys that are found: PASS if Newcombe's 95 % interval of the difference, beyond minus
inside, stays above -`KEY_MARGIN` at every length; FAIL where McNemar's mid-p shows a loss. A model that does not find half of
them inside the window says nothing by missing them beyond.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy

from ropewalk.jobs.doctor.live.measure import PassageCell
from ropewalk.measure.comparisons import compare_shares, paired
from ropewalk.measure.statistics import Interval, cluster_mean, wilson

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"
LEVEL = 0.05
MARGIN = 0.1  # nats per token: perplexity 1.105 times as high
KEY_MARGIN = 0.25  # of the keys: what twelve of twelve can show
SKILL = 0.5  # of the keys inside the window


@dataclass(frozen=True)
class LossStep:
    """One length: the loss itself, and its difference to the same passages at the end of the original window."""

    length: int
    passages: int
    loss: Interval
    difference: Interval | None
    verdict: str


@dataclass(frozen=True)
class KeyStep:
    length: int
    found: int
    trials: int
    share: Interval
    difference: Interval | None
    verdict: str


def judge_loss(cells: Sequence[PassageCell], original: int, margin: float) -> list[LossStep]:
    """One step for each length at which something was measured; those inside the window have no verdict."""
    table = {(cell.passage, cell.length): cell for cell in cells if cell.loss is not None and isfinite(cell.loss)}
    lengths = sorted({cell.length for cell in cells})
    beyond = [length for length in lengths if length > original]
    return [step for length in lengths if (step := _loss_step(table, length, original, margin, len(beyond)))]


def _loss_step(
    table: dict[tuple[int, int], PassageCell], length: int, original: int, margin: float, looks: int
) -> LossStep | None:
    passages = [p for p, at in table if at == length and (p, original) in table]
    if not passages:
        return None
    counts = numpy.array([table[p, length].tokens for p in passages], float)
    here, base = (numpy.array([table[p, at].loss for p in passages], float) * counts for at in (length, original))
    mean = cluster_mean(here, counts).not_below_0()
    if length <= original:
        return LossStep(length, len(passages), mean, None, "")
    found = paired(here, base, counts)
    within, above = found.p_below(margin) <= LEVEL, found.p_above(margin) <= LEVEL / looks
    verdict = PASS if within else FAIL if above else INCONCLUSIVE
    return LossStep(length, len(passages), mean, found.symmetric(), verdict)


def judge_keys(cells: Sequence[PassageCell], original: int) -> list[KeyStep]:
    table = {(cell.passage, cell.length): cell.found for cell in cells if cell.found is not None}
    lengths = sorted({cell.length for cell in cells})
    inside = [hit for (_, at), hit in table.items() if at == original]
    skilled = bool(inside) and sum(inside) / len(inside) >= SKILL
    looks = sum(length > original for length in lengths)
    return [step for length in lengths if (step := _key_step(table, length, original, skilled, looks))]


def _key_step(table: dict[tuple[int, int], bool], length: int, original: int, skilled: bool, looks: int) -> KeyStep | None:
    trials = [p for p, at in table if at == length]
    if not trials:
        return None
    hits = [table[p, length] for p in trials]
    share, both = wilson(sum(hits), len(hits)), [p for p in trials if (p, original) in table]
    if length <= original or not both:
        return KeyStep(length, sum(hits), len(hits), share, None, "")
    found = compare_shares(numpy.array([table[p, length] for p in both]), numpy.array([table[p, original] for p in both]))
    worse = found.difference.value < 0 and found.p / 2 <= LEVEL / looks
    verdict = FAIL if worse else PASS if found.difference.low > -KEY_MARGIN else INCONCLUSIVE
    return KeyStep(length, sum(hits), len(hits), share, found.difference, verdict if skilled else INCONCLUSIVE)


def overall(loss: Sequence[LossStep], keys: Sequence[KeyStep], findings: Sequence[str]) -> str:
    """Findings and failures decide; then the loss, where there is one; the pass keys alone otherwise.

    A needle that is inconclusive takes nothing from a loss that passes: models that cannot retrieve are no worse stretched.
    """
    losses = [step.verdict for step in loss if step.verdict]
    found = [step.verdict for step in keys if step.verdict]
    if findings or FAIL in losses or FAIL in found:
        return FAIL
    decisive = losses or found
    return PASS if decisive and all(verdict == PASS for verdict in decisive) else INCONCLUSIVE
