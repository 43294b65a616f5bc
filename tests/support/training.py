"""What the tests of training share: a Llama small enough to train in seconds, texts, and a run of the whole job."""

import shutil
from pathlib import Path

import numpy
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.jobs.train.attention import Current
from ropewalk.jobs.train.data.packing import PackedRow, Rows
from ropewalk.jobs.train.job import train
from ropewalk.jobs.train.loop import Loop, make_optimizer
from ropewalk.jobs.train.parallel import parallel
from ropewalk.jobs.train.recipe import Lora, Recipe, Stage
from ropewalk.jobs.train.setup import attending_by_layout, set_up
from ropewalk.measure.tables import edges_of
from ropewalk.models.attach import attach
from ropewalk.models.live import read_live

LENGTH, TARGET = 256, 512  # of a row of made-up tokens; what the plan of `one_loop` reaches


def tiny_llama(folder: Path, vocabulary: int = 256, hidden: int = 64, window: int = 128, spread: float = 0.1) -> Path:
    """A random Llama of two layers.  spread: of its weights, wide enough that a token in sight moves a loss."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=window, tie_word_embeddings=True, initializer_range=spread,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def with_tokenizer(folder: Path) -> Path:
    """A tiny Llama that reads text: it has the bundled model's tokenizer."""
    source = checkpoint("ropewalk-tiny")
    tiny_llama(folder, vocabulary=4096, hidden=32, window=32)
    for path in source.glob("*token*.json"):
        shutil.copy(path, folder)
    return folder


def texts(folder: Path, seed: int = 0, count: int = 6, words: int = 120) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = numpy.random.default_rng(seed)
    for number in range(count):
        drawn = rng.choice(["rope", "walk", "turn", "long", "short", "hemp", "knot", "tar", "mast", "sail"], words)
        (folder / f"{number}.txt").write_text(" ".join(drawn))
    return folder


class MadeUp:
    """Rows of random tokens, in place of an index: three documents in a row, or one."""

    def __init__(self, packed: bool, length: int = LENGTH):
        self.packed, self.length = packed, length

    def row(self, number: int) -> PackedRow:
        ids = numpy.random.default_rng(number).integers(0, 256, self.length)
        return PackedRow(ids, (100, 60, self.length - 160) if self.packed else (self.length,))


def stage_of(**more):
    return Stage(**{"method": "yarn", "factor": 4, "steps": 4, "batch": 2, "rate": 1e-3, "warm_up": 0, "schedule": "constant",
                    "length": LENGTH, **more})  # fmt: skip


def one_loop(source, use, *, packed=True, lora=False, stage=None, packing=None, recipe=None):
    """`use(loop, attached)` within everything that a stage has around it."""
    stage = stage or stage_of()
    kept = {"model": "m", "data": ("d",), "stages": (stage,), "lora": Lora() if lora else None}
    recipe = Recipe(**kept | (recipe or {}))
    with parallel(recipe.context) as processes:
        trained = set_up(source, recipe, processes)
        plan = recipe.plan(stage, read_live(trained.model))
        with (
            attach(trained.model, plan) as attached,
            attending_by_layout(trained.model),
            trained.scoring.installed(),
        ):
            rows = Rows(packing or MadeUp(packed), stage, TARGET, 0)
            optimizer = make_optimizer(trained, stage)
            return use(Loop(trained, recipe, stage, rows, edges_of(128, TARGET), optimizer), attached)


def run(recipe: Recipe, out: Path, told=None, **more):
    """The whole job; every event goes to `told`."""
    events = [] if told is None else told
    try:
        return train(recipe, out, events.append, **more)
    finally:
        Current.layout = None


def losses_of(log):
    return [(line["at"], line["loss"], line["gradient_norm"]) for line in log if "loss" in line]


def recipe_of(source: Path, data: Path, **more) -> Recipe:
    """Six steps of 64 tokens, a checkpoint after every other one.  more: of the recipe; `stages` by dicts."""
    stages = more.pop("stages", ({},))
    made = [
        {"factor": 2, "steps": 6, "batch": 2, "rate": 3e-3, "warm_up": 1, "schedule": "cosine", **stage} for stage in stages
    ]
    return Recipe.model_validate(
        {"model": str(source), "data": [str(data)], "stages": made, "save_every": 2, "checkpointing": False, **more}
    )
