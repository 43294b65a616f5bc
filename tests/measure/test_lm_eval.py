"""The lm-eval adapter: end to end on a local task where lm-eval is installed, and its error where it is not."""

import importlib.util
import json

import pytest
import torch

from ropewalk.errors import MissingPart, UnknownName
from ropewalk.measure.comparisons import compare_shares
from ropewalk.measure.lm_eval import _hits, _metrics, short_tasks
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.scaling.plan import make_plan

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs lm-eval: pip install -e '.[lm-eval]'"
)
QUESTIONS = [
    ("def add(a, b):\n    return a +", [" b", " import"], 0),
    ("import", [" yield", " os"], 1),
    ("for i in", [" range", " class"], 0),
    ("if x is not", [" None", " def"], 0),
]
YAML = """
task: local_code
dataset_path: json
dataset_kwargs:
  data_files: {file}
output_type: multiple_choice
test_split: train
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.fixture(scope="module")
def model():
    return load_model("ropewalk-tiny")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("ropewalk-tiny")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"text": t, "choices": c, "label": n}) + "\n" for t, c, n in QUESTIONS))
    (tmp_path / "local_code.yaml").write_text(YAML.format(file=file))
    return tmp_path


def by_hand(model, tokenizer, text, choice):
    """Sum of log-probabilities of the choice after the text, the plain way."""
    encode = lambda s: tokenizer(s, add_special_tokens=False).input_ids  # noqa: E731
    ids, start = encode(text + choice), len(encode(text))
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(table[i - 1, ids[i]].item() for i in range(start, len(ids)))


@pytest.mark.slow
@needs_lm_eval
def test_a_local_task_end_to_end(model, tokenizer, folder):
    """Answers against the plain sums, without a plan; with one and a limit of 3 questions, they pair."""
    plan = make_plan(read_live(model), method="linear", target_length=1024)
    before = short_tasks(model, tokenizer, ["local_code"], task_folder=folder)["local_code"]
    with attach(model, plan):
        after = short_tasks(model, tokenizer, ["local_code"], limit=3, task_folder=folder)["local_code"]
    wanted = [
        int(max((0, 1), key=lambda n: by_hand(model, tokenizer, text, choices[n])) == label)
        for text, choices, label in QUESTIONS
    ]

    assert before.hits.tolist() == wanted
    assert before.metrics["acc"] == pytest.approx(sum(wanted) / 4)
    assert compare_shares(after.hits, before.hits[:3]).prompts == 3


def test_filters_of_answers_are_told_apart_and_a_question_counts_once():
    """gsm8k has two filters, and lm-eval 0.4 a sample for each of them (evaluator.py, `log_samples`)."""
    results = {
        "alias": "gsm8k", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.1,
        "exact_match,flexible-extract": 0.75, "exact_match_stderr,flexible-extract": "N/A", "acc,none": 0.25,
    }  # fmt: skip
    assert _metrics(results) == {"exact_match,strict-match": 0.5, "exact_match,flexible-extract": 0.75, "acc": 0.25}
    strict, flexible = (1, 0, 1, 0), (1, 1, 1, 0)
    samples = [
        {"doc_id": i, "filter": name, "exact_match": float(hits[i])}
        for name, hits in (("strict-match", strict), ("flexible-extract", flexible))
        for i in (2, 0, 3, 1)
    ]
    assert _hits(samples).tolist() == list(strict)
    assert _hits([{"doc_id": 1, "acc": 0.0}, {"doc_id": 0, "acc": 1.0}]).tolist() == [1, 0]  # an older one names no filter
    assert _hits([]) is None


@pytest.mark.slow
@needs_lm_eval
def test_an_unknown_task_is_named(model, tokenizer):
    with pytest.raises(UnknownName, match=r"no lm-eval task is called 'helaswag'\. Did you mean 'hellaswag'\?"):
        short_tasks(model, tokenizer, ["helaswag"])


def test_without_lm_eval_the_way_to_get_it_is_told(model, tokenizer, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(MissingPart, match=r"pip install 'ropewalk\[lm-eval\]'"):
        short_tasks(model, tokenizer, ["hellaswag"])
