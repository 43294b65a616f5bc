"""Short-context benchmarks (ARC, HellaSwag, MMLU, ...) through lm-eval, on a live model, with a plan attached or without.

lm-eval is an extra: `pip install 'ropewalk[lm-eval]'`. Its data sets come from the hub, on first use.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ropewalk.errors import UnknownName, extra_parts
from ropewalk.measure.statistics import Array


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What lm-eval found for one task.

    metrics: by lm-eval's names, as "acc" or "acc_norm"; with the filter, "exact_match,strict-match", where there are several.
    hits: (questions,) 0 or 1 of `acc` or `exact_match`, under the task's first filter and in the order of the questions, so
    that two plans can be compared with `compare_shares`; None where the task is scored otherwise.
    """

    metrics: Mapping[str, float]
    hits: Array | None


def short_tasks(
    model: Any, tokenizer: Any, tasks: Sequence[str], *, limit: int | None = None, max_length: int | None = None,
    batch: int = 1, task_folder: Path | None = None,
) -> dict[str, TaskScores]:  # fmt: skip
    """Run lm-eval's tasks on a live model: names as `lm-eval ls tasks` prints them; a group's tasks come one by one.

    limit: questions per task, None for all.  max_length: tokens lm-eval may use, longer prompts are cut on the left; the
    default is what the config says, which an attached plan has raised to its target length.
    task_folder: more tasks, as lm-eval's YAML files.

    Raises MissingPart where lm-eval is not installed, and UnknownName for a task it does not know.
    """
    evaluator, manager, wrapper = _lm_eval()
    known = manager(include_path=None if task_folder is None else str(task_folder))  # reads thousands of files: seconds
    for name in tasks:
        if name not in known.all_tasks:
            raise UnknownName("lm-eval task", name, known.all_tasks)
    length = max_length or model.config.get_text_config().max_position_embeddings
    wrapped = wrapper(pretrained=model, tokenizer=tokenizer, max_length=length, batch_size=batch, device=str(model.device))
    found = evaluator.simple_evaluate(
        wrapped, tasks=list(tasks), limit=limit, task_manager=known, bootstrap_iters=0, log_samples=True
    )
    return {name: TaskScores(_metrics(found["results"][name]), _hits(found["samples"][name])) for name in found["samples"]}


def _lm_eval() -> tuple[Any, Any, Any]:
    with extra_parts():
        from lm_eval import evaluator
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    return evaluator, TaskManager, HFLM


def _metrics(results: Mapping[str, Any]) -> dict[str, float]:
    numbers = {
        key: float(value)
        for key, value in results.items()
        if "," in key and "_stderr" not in key and isinstance(value, (int, float))
    }
    names = Counter(key.partition(",")[0] for key in numbers)
    return {key if names[name := key.partition(",")[0]] > 1 else name: value for key, value in numbers.items()}


def _hits(samples: Sequence[Mapping[str, Any]]) -> Array | None:
    """samples: of every question one for each filter."""
    first = samples[0].get("filter") if samples else None
    ordered = sorted((one for one in samples if one.get("filter") == first), key=lambda sample: sample["doc_id"])
    for metric in ("acc", "exact_match"):
        if ordered and all(sample.get(metric) in (0, 1) for sample in ordered):
            return numpy.array([int(sample[metric]) for sample in ordered])
    return None
