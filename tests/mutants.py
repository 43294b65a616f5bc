"""Break one line at a time, and demand that the tests of its own module notice.

    python tests/mutants.py [--floor NAME] [words]    only those of one floor, or whose description contains `words`

Floors: scaling, engines, dynamic, models, evaluate, report, train, fit, doctor.

Each mutant is made in a temporary copy; the working tree is never touched. A mutant that survives is a missing test, and one
whose text is no longer in the source is an error, so that this list cannot rot. The floor scaling takes seven minutes on
two busy cores.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mutants_measuring import MEASURING
from mutants_measuring import TESTS as ITS_TESTS
from mutants_parts import PARTS
from mutants_parts import TESTS as THEIR_TESTS

ROOT = Path(__file__).resolve().parent.parent
GREEN, RED = 0, 1  # pytest's exit codes; any other (nothing collected, interrupted) is neither
WORKERS = 2
TESTS = ITS_TESTS | THEIR_TESTS


@dataclass(frozen=True)
class Mutant:
    what: str
    file: str
    right: str
    wrong: str

    @property
    def path(self) -> Path:
        """Below src/ropewalk."""
        return Path(os.path.normpath(Path("scaling") / self.file)) if self.file not in TESTS else Path(self.file)

    @property
    def floor(self) -> str:
        """The job, or the floor where there is none."""
        parts = self.path.parts
        if parts[0] == "jobs":
            return parts[1] if len(parts) > 2 else "evaluate"  # files that lie in jobs/ itself
        return "dynamic" if parts[:2] == ("models", "dynamic") else parts[0]


RAMP, ENGINES = "ramp.py", "../engines"
DYNAMIC, FIT = "../models/dynamic", "../jobs/fit"
WRITE, READ, SCALING = (f"{ENGINES}/transformers/{name}.py" for name in ("write", "read", "scaling"))
MUTANTS = [
    Mutant(
        "inverted ramp", RAMP, "(1 - share) * theta + share * theta / factor", "share * theta + (1 - share) * theta / factor"
    ),
    Mutant(
        "betas swapped",
        RAMP,
        "start, end = rope.pair_turning(beta_fast), rope.pair_turning(beta_slow)",
        "start, end = rope.pair_turning(beta_slow), rope.pair_turning(beta_fast)",
    ),
    Mutant("floor for ceil", RAMP, "math.floor(start), math.ceil(end)", "math.floor(start), math.floor(end)"),
    Mutant("round for floor", RAMP, "math.floor(start), math.ceil(end)", "round(start), math.ceil(end)"),
    Mutant("round for ceil", RAMP, "math.floor(start), math.ceil(end)", "math.floor(start), round(end)"),
    Mutant("ramp clamped to d/2 - 1", RAMP, "min(end, rope.rotary_dim - 1)", "min(end, rope.rotary_dim // 2 - 1)"),
    Mutant("ramp not clamped at 0", RAMP, "max(start, 0), min(end", "start, min(end"),
    Mutant("truncate ignored", RAMP, "    if truncate:\n", "    if True:\n"),
    Mutant("turns ramp in logarithms", RAMP, "(beta_fast - turns) / (beta", "math.log(beta_fast / turns) / math.log(beta"),
    Mutant("s forgotten", RAMP, "share * theta / factor", "share * theta"),
    Mutant("s = 1 not exact", RAMP, "if factor == 1:", "if factor < 1:"),
    Mutant("m = 1", "methods/yarn.py", "temperature_slope * math.log(factor) + 1.0", "0 * math.log(factor) + 1.0"),
    Mutant("m squared", "methods/yarn.py", "math.log(factor) + 1.0 if", "math.log(factor) * 2 + 1.0 if"),
    Mutant("log2 for ln", "methods/yarn.py", "math.log(factor)", "math.log2(factor)"),
    Mutant("attention_factor a multiplier", "methods/yarn.py", "else attention_factor\n", "else attention_factor * 1.1\n"),
    Mutant("2 pi forgotten in pair_turning", "rope.py", "math.log(2 * math.pi)", "math.log(1)"),
    Mutant("2 pi forgotten in the wavelength", "rope.py", "2 * math.pi / theta for", "1 / theta for"),
    Mutant("exponent i/d for 2i/d", "rope.py", "(-2 * i / self.rotary_dim)", "(-i / self.rotary_dim)"),
    Mutant("ntk exponent 1", "methods/ntk.py", "(rope.rotary_dim / (rope.rotary_dim - 2))", "1"),
    Mutant("linear does nothing", "methods/linear.py", "theta / factor", "theta"),
    Mutant("linear multiplies", "methods/linear.py", "theta / factor", "theta * factor"),
    Mutant("llama3 bands swapped", "methods/llama3.py", "wavelength < length / beta_fast", "wavelength > length / beta_fast"),
    Mutant(
        "llama3 blend inverted",
        "methods/llama3.py",
        "(1 - kept) * theta / factor + kept",
        "kept * theta / factor + (1 - kept)",
    ),
    Mutant(
        "short and long swapped",
        "methods/longrope.py",
        "long_factor if factor > 1 else short",
        "short_factor if factor > 1 else long",
    ),
    Mutant("longrope m without the root", "methods/longrope.py", "math.sqrt(1 + math", "(1 + math"),
    Mutant("proportional over the rotated part", "methods/proportional.py", "rope.rotary_dim // 2)", "rope.rotary_dim // 4)"),
    Mutant("resonance rounds down", "methods/resonance.py", "round(2 * math.pi", "math.floor(2 * math.pi"),
    Mutant("dynamic s not clamped at 1", "stretch.py", "min(max(1.0, length / self.rope", "min(max(0.5, length / self.rope"),
    Mutant("dynamic s = L / l", "stretch.py", "length / self.rope.original_length)", "self.rope.original_length / length)"),
    Mutant(
        "dynamic s not capped", "stretch.py", "self.rope.original_length), self.factor)", "self.rope.original_length), 1e9)"
    ),
    Mutant(
        "target for original length", "plan.py", "(target_length or 1) / rope.original_length", "(target_length or 1) / 4096"
    ),
    Mutant(
        "sliding layers stretched",
        "spec.py",
        'startswith(("sliding", "chunked", "local"))',
        'startswith(("chunked", "local"))',
    ),
    Mutant("cache ignores its window", "spec.py", "min(length, group.window or length)", "length"),
    Mutant("fingerprint holds the model's name", "plan.py", '        del data["model"]\n', ""),
    Mutant("head_dim for rotary_dim", READ, "    return int(head * share)\n", "    return head\n"),
    Mutant(
        "MLA's rotary part ignored",
        READ,
        'fields.whole("qk_rope_head_dim")) is not None:',
        'fields.whole("no such key")) is not None:',
    ),
    Mutant("max for the stated original", READ, "if stated := inside or outside:", "if stated := None:"),
    Mutant(
        "max for the known original",
        READ,
        "    if fact := known.published_length(fields.config, theta):",
        "    if fact := None:",
    ),
    Mutant("attention_factor ignored", SCALING, 'options["attention_factor"] = stated\n', 'options["beta_slow"] = 1.0\n'),
    Mutant("mscale alone believed", SCALING, "stated or not above or not below", "stated or not above"),
    Mutant("truncate not read", SCALING, 'part.yes("truncate", default=True)', "True"),
    Mutant("llama3 bands read swapped", SCALING, '"beta_slow": part.number("low_freq', '"beta_slow": part.number("high_freq'),
    Mutant(
        "longrope lists read swapped",
        SCALING,
        '{"long_factor": long, "short_factor": short',
        '{"long_factor": short, "short_factor": long',
    ),
    Mutant(
        "text_config ignored",
        f"{ENGINES}/transformers/checkpoint.py",
        'TEXT_PARTS = ("text_config", ',
        'TEXT_PARTS = ("no such key", ',
    ),
    Mutant(
        "local base ignored",
        f"{ENGINES}/transformers/known.py",
        '"gemma3_text": "rope_local_base_freq"',
        '"gemma3_text": "no such key"',
    ),
    Mutant("alpha read as dynamic", SCALING, 'part.number("alpha")', 'part.number("no such key")'),
    Mutant("disagreeing spellings pass", READ, "if ours.get(key) != theirs.get(key):", "if False:"),
    Mutant("dynamic capped at its factor", SCALING, "min(LARGEST_LENGTH / rope.original_length, 1e9)", "factor"),
    Mutant("base lost on write", WRITE, '        target["rope_theta"] = flat["rope_theta"]\n', ""),
    Mutant("mrope sections lost on write", WRITE, '    "mrope_section",\n', ""),
    Mutant("partial rotation lost on write", WRITE, '    "partial_rotary_factor",\n', ""),
    Mutant("max not raised on write", WRITE, "max(spec.max_length, plan.target_length)", "spec.max_length"),
    Mutant("dynamic written with its factor", WRITE, '"dynamic", "factor": 1.0', '"dynamic", "factor": 2.0'),
    Mutant("nested truncate written", WRITE, "if nested and not truncate:", "if False:"),
    Mutant("carrier inverted", WRITE, "[theta / new for theta, new", "[new / theta for theta, new"),
    Mutant(
        "m not written", WRITE, '"factor": float(stretch.factor), "attention_factor": m}', '"factor": float(stretch.factor)}'
    ),
    Mutant("the caller's config changed", WRITE, "copy.deepcopy(dict(opened(config)))", "dict(opened(config))"),
    Mutant("merged by the wrong weight", "models/dynamic/read.py", "log_earlier - log_sum", "log_sum - log_earlier"),
    Mutant(
        "a room shared after it was left",
        "models/dynamic/cache.py",
        "return held is self.view and writable",
        "return writable",
    ),
    Mutant("stale keys believed", "models/dynamic/cache.py", "same = kept.fresh and kept", "same = kept"),
    Mutant("not read back", WRITE, "    prove(plan, new)\n", ""),
    # engines: each is judged by a second implementation, or by the ledger
    Mutant("vLLM's ntk without its shift", f"{ENGINES}/vllm.py", "2 * (i + 1) / d", "2 * i / d"),
    Mutant("static alpha of dynamic", f"{ENGINES}/vllm.py", "f * f - f + 1", "f * f - f"),
    Mutant("attn_factor of SGLang forgotten", f"{ENGINES}/sglang.py", '* float(keys.said.get("attn_factor", 1.0))', ""),
    Mutant("MLX-LM's default length", f"{ENGINES}/mlx_lm.py", "lambda keys: 4096", "lambda keys: 8192"),
    Mutant(
        "GGUF's attn_factor the wrong way",
        f"{ENGINES}/llama_cpp.py",
        "attention_factor / mscale(s)",
        "attention_factor * mscale(s)",
    ),
    Mutant("rope factors inverted", f"{ENGINES}/llama_cpp.py", "[theta / new for theta, new", "[new / theta for theta, new"),
    Mutant(
        "mscale that is not solved for",
        f"{ENGINES}/config_files.py",
        "slope = (m * mscale(s) - 1)",
        "slope = (m * mscale(s) - 2)",
    ),
    Mutant("gpt-oss rounded", f"{ENGINES}/gpt_oss.py", '"truncate": False,', '"truncate": True,'),
    Mutant("DeepSeek's switch one token early", f"{ENGINES}/deepseek.py", "longest > keys.rope", "longest >= keys.rope"),
    Mutant("logits by m", "method.py", "logits = sharper * sharper", "logits = sharper"),
    Mutant("a version range without its bound", f"{ENGINES}/engine.py", '">=": operator.ge', '">=": operator.gt'),
    Mutant("tensors not aligned", f"{ENGINES}/gguf_file.py", "-(-cursor.at // aligned)", "(cursor.at // aligned)"),
    # fit: what is searched is what is written, and what is reported is what was read
    Mutant("growth the wrong way", "jobs/fit/families/yarn.py", "(scale / factor) ** u[3]", "(factor / scale) ** u[3]"),
    Mutant("the gain is unpaired", "jobs/fit/compare.py", "_difference((rows - fitted)[:,", "_difference((rows)[:,"),
    Mutant("short and far swapped", "jobs/fit/compare.py", "_mean(rows[:, : original - 1])", "_mean(rows[:, original - 1 :])"),
    Mutant("up the gradient", "jobs/fit/search.py", "space.inside(u - rate", "space.inside(u + rate"),
    Mutant("a step without a number taken", "jobs/fit/search.py", "u = (u + home) / 2\n", "u = (u + slope) / 2\n"),
]


MUTANTS += [Mutant(*told) for told in [*MEASURING, *PARTS]]
FLOORS = sorted({mutant.floor for mutant in MUTANTS})


def likely(mutant: Mutant) -> str:
    """The test file that should notice; of the floors scaling and engines, all of it is asked where that does not."""
    if mutant.file in TESTS:
        return TESTS[mutant.file]
    if mutant.file.startswith(DYNAMIC):
        return "tests/models/test_dynamic_caches.py"
    if mutant.file.startswith(FIT):
        name = "families" if "families/" in mutant.file else Path(mutant.file).stem
        return f"tests/jobs/fit/test_{name}.py"
    name = Path(mutant.file).stem
    if mutant.floor == "engines":
        name = {"write": "transformers_write", "gguf_file": "gguf_header", "engine": "versions"}.get(name, name)
        name = (
            name
            if (ROOT / f"tests/engines/test_{name}.py").is_file()
            else "transformers_read"
            if "/transformers/" in mutant.file
            else "engines"
        )
        return f"tests/engines/test_{name}.py"
    name = {"spec": "plan", "stretch": "plan", "yarn": "ramp"}.get(name, name)
    return f"tests/scaling/test_{name if (ROOT / f'tests/scaling/test_{name}.py').is_file() else 'methods'}.py"


def asked(mutant: Mutant) -> list[str]:
    return [likely(mutant)] + [f"tests/{mutant.floor}"] * (mutant.floor in ("scaling", "engines"))


def result_of(mutant: Mutant | None, files: list[str]) -> str:
    """ "green", "red" or, where the mutant no longer fits or pytest could not run, why not.  files: of tests, in turn."""
    with tempfile.TemporaryDirectory(prefix="ropewalk-mutant-") as folder:
        copy = Path(folder)
        for part in ("src", "tests", "runs"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            file = copy / "src" / "ropewalk" / mutant.path
            source = file.read_text(encoding="utf-8")
            if mutant.right not in source:
                return f"text not found in {mutant.file}: {mutant.right!r}"
            file.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        # The copy's own source must be the one that is imported, wherever Ropewalk is installed.
        environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        for tests in files:
            run = subprocess.run([*command, tests], cwd=copy, env=environment, capture_output=True, text=True, check=False)
            if run.returncode != GREEN:
                break
    if run.returncode in (GREEN, RED):
        return "green" if run.returncode == GREEN else "red"
    return f"pytest ended with {run.returncode}: {run.stdout[-300:]}{run.stderr[-300:]}"


def main() -> int:
    console = Console()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--floor", choices=FLOORS)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    words = " ".join(args.words)
    chosen = [mutant for mutant in MUTANTS if words in mutant.what and args.floor in (None, mutant.floor)]
    if not chosen:
        console.print(f"no mutant of {args.floor or 'any floor'} is described by {words!r}", markup=False)
        return 2
    console.print("unmutated first ...")
    if (unmutated := result_of(None, list(dict.fromkeys(tests for mutant in chosen for tests in asked(mutant))))) != "green":
        console.print(f"the tests are not green without a mutant: {unmutated}")
        return 2
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(WORKERS) as pool:
        task = progress.add_task("mutants", total=len(chosen))

        def judge(mutant: Mutant) -> str:
            result = result_of(mutant, asked(mutant))
            progress.advance(task)
            if result != "red":
                verdict = "SURVIVED" if result == "green" else f"ERROR: {result}"
                progress.console.print(f"{mutant.what} ({mutant.file}): {verdict}", markup=False)
            return result

        results = list(pool.map(judge, chosen))
    console.print(f"{results.count('red')} of {len(chosen)} mutants killed")
    return 0 if results.count("red") == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
