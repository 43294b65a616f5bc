"""A short fit of the bundled model, stretched by a quarter."""

from ropewalk.checkpoints.fingerprint import model_fingerprint
from ropewalk.jobs.fit.job import Fit, run_fit
from ropewalk.progress import SILENT

TARGET = 640


def go(parts, out, watch=SILENT, force=False, **options):
    model, tokenizer, folder, spec, sets = parts
    fit = Fit(**{"factor": 1.25, "family": "yarn", "budget": 6.0, **options})
    return run_fit(model, tokenizer, model_fingerprint(folder), spec, fit, sets, out, "tiny", watch, force=force)
