"""What training costs beside transformers' Trainer: tokens per second, and peak memory under a large vocabulary.

Speed: the same model, rows, batch, precision and optimiser, one thread, in turns in one process, in processor seconds (on a
shared machine the wall clock measures the neighbours). Memory: processes of their own; the Trainer's at 32k tokens and 128k
words does not fit into 24 GiB, so it is measured at 2k and 4k and drawn on straight, which its logits are.

Run: python runs/benchmarks/train.py; some minutes.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.jobs.train.data.packing import PackedRow, Rows
from ropewalk.jobs.train.loop import Loop, make_optimizer
from ropewalk.jobs.train.parallel import Parallel
from ropewalk.jobs.train.recipe import Recipe, Stage
from ropewalk.jobs.train.setup import attending_by_layout, set_up
from ropewalk.measure.tables import edges_of
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model
from timing import PROCESSOR, child, high_water, in_turns, ratio, timed

WORDS = 131_072


class Random:
    """Rows of one document of random tokens."""

    def __init__(self, length: int, words: int):
        self.length, self.words = length, words

    def row(self, number: int) -> PackedRow:
        g = torch.Generator().manual_seed(number)
        return PackedRow(torch.randint(1, self.words, (self.length,), generator=g).numpy(), (self.length,))


def ours(source: Path, length: int, batch: int, words: int, steps: int, checkpointing: bool) -> list[float]:
    """Processor seconds of each step."""
    stage = Stage(factor=8, length=length, steps=1000, batch=batch, micro=batch, rate=1e-5, warm_up=0)
    recipe = Recipe(model="x", data=("x",), stages=(stage,), checkpointing=checkpointing)
    trained = set_up(source, recipe, Parallel())
    plan = recipe.plan(stage, read_live(trained.model))
    rows = Rows(Random(length, words), stage, plan.target_length, 0)  # type: ignore[arg-type]
    with attach(trained.model, plan), attending_by_layout(trained.model), trained.scoring.installed():
        loop = Loop(trained, recipe, stage, rows, edges_of(512, 4096), make_optimizer(trained, stage))
        return [timed(loop.step, PROCESSOR)[0] for _ in range(steps)]


def theirs(source: Path, length: int, batch: int, words: int, steps: int, checkpointing: bool) -> list[float]:
    model = load_model(source)
    model.train()
    rows = Random(length, words)

    class Texts(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return steps * batch

        def __getitem__(self, i: int) -> dict[str, Any]:
            ids = torch.from_numpy(rows.row(i).ids)
            return {"input_ids": ids, "labels": ids}

    class Clock(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = PROCESSOR()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds.append(PROCESSOR() - self.began)

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=batch, max_steps=steps, learning_rate=1e-5, lr_scheduler_type="constant",
            optim="adamw_torch", adam_beta2=0.95, max_grad_norm=1.0, report_to=[], save_strategy="no", logging_strategy="no",
            use_cpu=True, gradient_checkpointing=checkpointing, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=[clock]).train()
    return clock.seconds


def wide(folder: Path) -> Path:
    """A tiny Llama with a large vocabulary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measure_peak(who: str, length: int) -> None:
    """Print the MB that two steps on one row add to the process's peak: call it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source = wide(Path(folder))
        before = high_water()
        {"ours": ours, "theirs": theirs}[who](source, length, 1, WORDS, 2, True)
        print(high_water() - before)


def speed(checkpointing: bool, rounds: int) -> None:
    def side(work: Callable[..., list[float]]) -> Callable[[], float]:
        return lambda: statistics.median(work(bundled_model(), 1024, 4, 1024, 4, checkpointing)[1:])

    taken = in_turns({"ours": side(ours), "Trainer": side(theirs)}, rounds)
    rates = {name: 4096 / statistics.median(seconds) for name, seconds in taken.items()}
    print(
        f"speed, {'checkpointed' if checkpointing else 'plain'}: {rates['ours']:,.0f} tokens a processor second, Trainer "
        f"{rates['Trainer']:,.0f}; ratio {ratio(taken['Trainer'], taken['ours'])}", flush=True
    )  # fmt: skip


def memory() -> None:
    def peak(who: str, length: int) -> float:
        return child(__file__, "--peak", who, length) / 2**10

    small, double, mine, same = peak("theirs", 2048), peak("theirs", 4096), peak("ours", 32768), peak("ours", 4096)
    drawn = small + (double - small) / 2048 * (32768 - 2048)
    print(f"memory added at 4,096 tokens and {WORDS:,} words: {same:.2f} GiB against Trainer's {double:.2f}")
    print(f"memory added at 32,768 tokens: {mine:.2f} GiB against {drawn:.1f} drawn on; 1/{drawn / mine:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", nargs=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--speed-only", action="store_true", help="leave the memory out, which takes 8 GB")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if arguments.peak:
        measure_peak(arguments.peak[0], int(arguments.peak[1]))
        return
    for checkpointing in (False, True):
        speed(checkpointing, arguments.rounds)
    if not arguments.speed_only:
        memory()


if __name__ == "__main__":
    main()
