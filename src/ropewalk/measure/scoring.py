"""What counts as right, and how far a model gets."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy

from ropewalk.errors import BadOption, UnknownName
from ropewalk.measure.statistics import Interval

RULER_THRESHOLD = 85.6  # Llama-2-7b-chat at 4k, percent; Hsieh et al. 2024, arXiv:2404.06654v3, section 4
RELATIVE = 0.85  # of the model's own best; Modarressi et al. 2025 (NoLiMa), arXiv:2502.05167, section 4


def cleaned(prediction: str) -> str:
    """As RULER's evaluate.py: stripped, control characters made line breaks, stripped again."""
    return re.sub(r"[\x00-\x1f]", "\n", prediction.strip()).strip()


def string_match_all(prediction: str, references: Sequence[str]) -> float:
    """Share of the references that stand somewhere in the prediction, in any case: 0 to 1."""
    prediction = prediction.lower()
    return sum(reference.lower() in prediction for reference in references) / len(references)


def string_match_part(prediction: str, references: Sequence[str]) -> float:
    """1 if any of the references stands in the prediction, in any case.

    As NVIDIA/RULER@c3f5e3b, scripts/eval/synthetic/constants.py. lm-eval 0.4.13 divides by the number of references.
    """
    prediction = prediction.lower()
    return float(any(reference.lower() in prediction for reference in references))


def exact(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction, stripped, begins with a reference and does not go on with another letter or digit.

    Blanks around an answer are no part of it, and an answer of blanks alone is none. Tasks of this name are read by teacher
    forcing where a model is at hand, token for token, blanks too: this is for answers of which there is only the text.
    """
    prediction, answers = prediction.strip(), filter(None, map(str.strip, references))
    return float(any(re.match(re.escape(answer) + r"(?!\w)", prediction) is not None for answer in answers))


Scoring = Callable[[str, Sequence[str]], float]
SCORINGS: dict[str, Scoring] = {"all": string_match_all, "part": string_match_part, "exact": exact}


def scoring(name: str) -> Scoring:
    if name not in SCORINGS:
        raise UnknownName("scoring", name, SCORINGS)
    return SCORINGS[name]


def decided(name: str, text: str, references: Sequence[str]) -> bool:
    """Can nothing that follows change the score? Then generation may stop. A substring once written stays written."""
    return name in ("all", "part") and bool(references) and SCORINGS[name](cleaned(text), references) == 1.0


Scores = Mapping[int, Mapping[str, Sequence[float]]]
"""Length to task to the score of each sample, 0 to 1."""


def effective_length(
    scores: Scores,
    *,
    threshold: float = RULER_THRESHOLD,
    relative: float | None = None,
    base_lengths: Sequence[int] | None = None,
    inside: int | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The longest length at which the mean over tasks exceeds a threshold; 0 where none does. With a 95 % interval.

    threshold: percent, for RULER's absolute definition: the *longest* length that passes, also after one that failed.
    relative: instead, this share of the model's own best mean (0.85: NoLiMa's definition) among `base_lengths`.
    base_lengths: where the best is looked for; None means all lengths.
    inside: the trained length. With `relative`, a model that scores nothing at any length up to it has no effective length:
    everything is 85 % of nothing.

    The interval is a percentile bootstrap: in each draw the samples of each task and length are resampled, and with them
    the model's own best. Its ends are lengths that were tested. Samples of different cells are taken to be independent.
    """
    lengths = sorted(scores)
    if not lengths or any(not cell or not all(map(len, cell.values())) for cell in scores.values()):
        raise BadOption("effective_length needs at least one sample for every task and length.")
    rng = numpy.random.default_rng(seed)
    means = numpy.array([[100 * numpy.mean([numpy.mean(cell) for cell in scores[n].values()]) for n in lengths]])
    drawn = numpy.stack([_resampled(scores[n], draws, rng) for n in lengths], axis=1)
    base = [i for i, n in enumerate(lengths) if base_lengths is None or n in base_lengths]
    if relative is not None and not base:
        raise BadOption(f"none of base_lengths was tested; tested were {lengths}.")

    within = [i for i, n in enumerate(lengths) if inside is None or n <= inside] or list(range(len(lengths)))

    def able(table: numpy.ndarray) -> numpy.ndarray:
        found: numpy.ndarray = (table > 0) & (table[:, within].max(1, keepdims=True) > 0)
        return found

    def longest(table: numpy.ndarray) -> numpy.ndarray:
        bar = table[:, base].max(1, keepdims=True) * relative if relative is not None else threshold
        passed = table > bar if relative is None else (table >= bar) & able(table)
        found: numpy.ndarray = numpy.where(passed, numpy.array(lengths), 0).max(1)
        return found

    low, high = numpy.percentile(longest(drawn), [2.5, 97.5], method="nearest")
    return Interval(float(longest(means)[0]), float(low), float(high))


def _resampled(cell: Mapping[str, Sequence[float]], draws: int, rng: numpy.random.Generator) -> numpy.ndarray:
    """(draws,) means over tasks, percent, of samples drawn again with replacement within each task."""
    total = numpy.zeros(draws)
    for values in cell.values():
        row = numpy.asarray(values, dtype=float)
        total += row[rng.integers(0, len(row), (draws, len(row)))].mean(1)
    return 100 * total / len(cell)
