"""A small random Llama on disk, and witnesses that are a few lines of Python."""

import sys
from pathlib import Path

from ropewalk.checkpoints.extend import extend
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.verify.ask import Interpreter
from ropewalk.jobs.verify.witness import Witness
from ropewalk.scaling.plan import make_plan
from support.architectures import build, tiny_config

HERE = Interpreter(Path(sys.executable), "1.0")


def small(place, family="llama"):
    """window 128, 120 tokens, 2 layers; weights large enough that positions matter"""
    build(tiny_config(family)).save_pretrained(place)
    return place


def extended(place, method="yarn", family="llama", **options):
    """A small model, stretched four times by `ropewalk extend`."""
    source = small(place / "source", family)
    plan = make_plan(read(read_config(source)), factor=4, method=method, options=options)
    extend(source, plan, place / "extended")
    return place / "extended"


def witness(place, body, name="mlx_lm", reads="config.json"):
    """A witness whose score(model, ids) is `body`."""
    file = place / "engine.py"
    file.write_text(
        "import os, sys, time\nimport numpy\n\n\ndef score(model, ids):\n    " + body.replace("\n", "\n    ") + "\n"
    )
    return Witness(name, "Toy", "json", ("toy",), reads, "Get it.", 1.0, file)
