"""Run by an engine's own Python, which has no Ropewalk: score tokens with some models, and leave the numbers in files.

    python worker.py ENGINE_FILE REQUEST.json

The request holds ids, and models: [{"model": PATH, "out": PATH.npz}, ...]. Each answer is an npz with `logprobs`, float64, one
for each of ids[1:]. A line "done N" on standard output follows each; a model that fails leaves {"error": ...} in PATH.json.
"""

import importlib.util
import json
import sys
import traceback
from typing import Any


def main(engine_file: str, request_file: str) -> None:
    import numpy

    with open(request_file, encoding="utf-8") as stream:
        request = json.load(stream)
    spec: Any = importlib.util.spec_from_file_location("ropewalk_engine", engine_file)
    engine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(engine)
    for number, one in enumerate(request["models"]):
        try:
            found = numpy.asarray(engine.score(one["model"], request["ids"]), dtype=numpy.float64)
            numpy.savez(one["out"], logprobs=found)
        except Exception as error:
            traceback.print_exc()
            with open(one["out"] + ".json", "w", encoding="utf-8") as stream:
                json.dump({"error": f"{type(error).__name__}: {error}"}, stream)
        print(f"done {number}", flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose names are nobody else's business
    main(*sys.argv[1:])
