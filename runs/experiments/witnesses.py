"""What every engine that is here makes of every method, on the bundled model and on small random ones: a table in Markdown.

    python runs/experiments/witnesses.py [--models llama,qwen2] [--methods yarn,ntk] [--engines mlx,vllm]
    python runs/experiments/witnesses.py --into docs/verify.md

Each cell is measured on the spot: the engine is given what its dialect writes for the plan, and scores 640 random tokens of a
model with an original window of 128 (1,024 of the bundled one, 512), once with the scaling and once without. Engines are found
as `ropewalk verify` finds them. --into puts the tables between the page's two marks.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from ropewalk.engines.config_files import losses
from ropewalk.engines.engine import get_engine
from ropewalk.engines.transformers import write as dialect
from ropewalk.engines.transformers.checkpoint import CONFIG, bundled_model, read_config
from ropewalk.errors import CannotExpress, RopewalkError
from ropewalk.jobs.verify.as_gguf import write_gguf
from ropewalk.jobs.verify.ask import EngineAnswer, Interpreter, ask, find
from ropewalk.jobs.verify.compare import CONTROL, TOLERANCE, EngineScores, compare
from ropewalk.jobs.verify.run import reference, token_ids
from ropewalk.jobs.verify.subject import Subject, gguf_keys, twin, vocabulary, without_scaling
from ropewalk.jobs.verify.witness import Witness, chosen
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import ScalingPlan, make_plan

FACTOR, WINDOW = 8.0, 128
MARKS = ("<!-- made by runs/experiments/witnesses.py -->\n", "<!-- end -->")
# initializer_range is large, so that positions matter: a wrong schedule has to show.
SMALL = dict(
    vocab_size=320, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    head_dim=64, max_position_embeddings=WINDOW, initializer_range=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    tie_word_embeddings=False,
)  # fmt: skip
# 16 = sqrt(256) is a bfloat16, to which MLX-LM rounds the scale of Gemma's embeddings.
GEMMA = dict(
    hidden_size=256, num_hidden_layers=6, sliding_window=64, query_pre_attn_scalar=64, tie_word_embeddings=True,
    layer_types=["sliding_attention"] * 5 + ["full_attention"],
)  # fmt: skip
DEEPSEEK = dict(
    q_lora_rank=32, kv_lora_rank=512, qk_nope_head_dim=64, qk_rope_head_dim=64, v_head_dim=64, num_key_value_heads=2,
    n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1, moe_intermediate_size=64,
    head_dim=64, topk_method="noaux_tc", scoring_func="sigmoid",
)  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}), "qwen2": ("qwen2", {}), "qwen3": ("qwen3", {}), "gemma3": ("gemma3_text", GEMMA),
    "deepseek": ("deepseek_v3", DEEPSEEK),
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("linear", {}), "ntk": ("ntk", {}), "ntk_by_parts": ("ntk_by_parts", {}), "yarn": ("yarn", {}),
    "yarn, betas 8 and 0.5": ("yarn", {"beta_fast": 8.0, "beta_slow": 0.5}),
    "yarn, truncate false": ("yarn", {"truncate": False}),
    "yarn, ramp turns": ("yarn", {"ramp": "turns"}), "llama3": ("llama3", {}), "resonance": ("resonance", {}),
}  # fmt: skip


def checkpoint(name: str, place: Path) -> Path:
    """The bundled model, or a random one of an architecture."""
    if name == "bundled":
        return bundled_model()
    kind, more = MODELS[name]
    torch.manual_seed(0)
    wanted = {**SMALL, **more}
    config = transformers.AutoConfig.for_model(kind, **wanted)
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    if name == "gemma3":
        tame(model)
    model.save_pretrained(place / name)
    return place / name


def tame(model: Any) -> None:
    """Sharper attention, so that positions matter behind norms of queries and keys.

    And a small MLP: ggml looks GELU up in a table of float16 (GGML_GELU_FP16), which alone moves a log-probability by 1e-3.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                parameter += 1
            if "post_feedforward" in name:
                parameter -= 0.95


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, a method and what each engine is to be given, or why it cannot be."""

    method: str
    subject: Subject
    given: dict[str, Path | str]


def cases(folder: Path, methods: Sequence[str], engines: Sequence[Witness], place: Path) -> Iterator[Case]:
    config = read_config(folder)
    spec = dialect.read(config)
    for number, method in enumerate(methods):
        name, options = METHODS[method]
        plan = make_plan(spec, factor=FACTOR, method=name, options=options)
        plain = dialect.write(without_scaling(plan), config)
        plain_folder = place / "plain"
        if not plain_folder.exists():
            twin(folder, plain, plain_folder)
        subject = Subject(str(folder), plan, vocabulary(config), (), config, lambda: load_model(plain_folder), None)  # noqa: B023
        given: dict[str, Path | str] = {}
        for engine in engines:
            try:
                given[engine.name] = written(engine, plan, folder, config, place / f"{number}-{engine.name}")
            except CannotExpress as error:
                given[engine.name] = reason(engine, plan, config, error)
        yield Case(method, subject, given)


def reason(engine: Witness, plan: ScalingPlan, config: dict[str, Any], error: CannotExpress) -> str:
    """What is lost, in the dialect's words; where no config says the plan, or for a GGUF, the error without commands."""
    if engine.reads == CONFIG:
        lost = [loss.said for loss in losses(get_engine(engine.name), plan, config)]
        return "; ".join(lost) or " ".join(str(error).split())
    return " ".join(str(error).split()).partition(": llama-server")[0]


def written(engine: Witness, plan: ScalingPlan, folder: Path, config: dict[str, Any], place: Path) -> Path:
    if engine.reads == CONFIG:
        return twin(folder, get_engine(engine.name).write(plan, config).files[CONFIG], place)
    return write_gguf(folder, config, gguf_keys(plan, config), place)


def control(engine: Witness, case: Case, folder: Path, place: Path) -> Path:
    if engine.reads == CONFIG:
        return place / "plain"
    config, plan = read_config(folder), without_scaling(case.subject.plan)
    return write_gguf(folder, config, gguf_keys(plan, dialect.write(plan, config)), place / "plain.gguf")


def measured(
    engine: Witness, python: Interpreter, found: Sequence[Case], truths: Sequence[EngineScores], folder: Path, place: Path
) -> Iterator[dict[str, Any]]:
    """A row for each method."""
    able = [case for case in found if isinstance(case.given[engine.name], Path)]
    answers: list[EngineAnswer] = []
    if able:
        ids = token_ids(found[0].subject, None)
        models = [control(engine, found[0], folder, place), *(Path(case.given[engine.name]) for case in able)]
        answers = ask(engine, python, models, ids)
    for case, truth in zip(found, truths, strict=True):
        row: dict[str, Any] = {"method": case.method, "engine": engine.name}
        if case not in able:
            yield row | {"refused": case.given[engine.name]}
            continue
        stretched, plain = answers[1 + able.index(case)], answers[0]
        if stretched.logprobs is None or plain.logprobs is None:
            yield row | {"broke": stretched.error or plain.error}
            continue
        seen = compare(truth, EngineScores(stretched.logprobs, plain.logprobs), case.subject.original_length)
        beyond = max(band.apart for band in seen.bands if band.start >= case.subject.original_length)
        yield row | {"apart": beyond, "control": seen.control, "floor": seen.floor, "passes": seen.agrees and seen.sees}


def rows_of(name: str, methods: Sequence[str], pythons: dict[Witness, Interpreter]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        folder = checkpoint(name, place)
        found = list(cases(folder, methods, list(pythons), place))
        ids = token_ids(found[0].subject, None)
        truths = [reference(case.subject, ids) for case in found]
        for engine, python in pythons.items():
            for row in measured(engine, python, found, truths, folder, place):
                print(name, row, file=sys.stderr, flush=True)
                yield {"model": name, **row}


def cell(row: dict[str, Any]) -> str:
    if "refused" in row:
        return "cannot"
    if "broke" in row:
        return "does not run"
    return f"{row['apart']:.1e} / {row['control']:.1f}" + ("" if row["passes"] else " **FAILS**")


def tables(rows: Sequence[dict[str, Any]], pythons: dict[Witness, Interpreter]) -> str:
    engines = {w.name: f"{w.title} {p.version}" for w, p in pythons.items()}
    at = {(row["model"], row["method"], row["engine"]): row for row in rows}
    head = f"| | {' | '.join(engines.values())} |\n|---|{'---|' * len(engines)}"
    parts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        methods = dict.fromkeys(row["method"] for row in rows if row["model"] == model)
        body = [f"| {m} | {' | '.join(cell(at[model, m, e]) for e in engines)} |" for m in methods]
        parts.append("\n".join([f"| {model} {head[2:]}", *body]))
    ran = [row for row in rows if "apart" in row]
    said = (
        f"{len(ran)} cells ran: the largest difference is {max(row['apart'] for row in ran):.1e} nats, the smallest ratio of "
        f"a negative control {min(row['control'] / max(row['apart'], 1e-12) for row in ran):,.0f}; "
        f"{sum(not row['passes'] for row in ran)} miss {TOLERANCE:g} or a control of {CONTROL:g} times that."
    )
    why: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if reason := row.get("refused") or row.get("broke"):
            why.setdefault(reason, {}).setdefault(row["method"], []).append(row["model"])
    reasons = []
    for reason, where in why.items():
        places = "; ".join(f"{method}: {', '.join(models)}" for method, models in where.items())
        reasons.append(f"- {reason} ({places})")
    return "\n\n".join([said, *parts, "\n".join(reasons)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("models", ["bundled", *MODELS]), ("methods", list(METHODS)), ("engines", [])):
        parser.add_argument(f"--{option}", type=lambda text: text.split(","), default=default)
    parser.add_argument("--into", type=Path)
    args = parser.parse_args()
    pythons = {witness: python for witness in chosen(args.engines) if (python := find(witness))}
    rows = [row for model in args.models for row in rows_of(model, args.methods, pythons)]
    text = tables(rows, pythons)
    if args.into is None:
        print(text)
        return
    page = args.into.read_text(encoding="utf-8")
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    args.into.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except RopewalkError as error:
        sys.exit(str(error))
