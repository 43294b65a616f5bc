"""The documentation does what it says: its code runs, its commands run, its pages are there."""

import importlib
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

import ropewalk.cli
from ropewalk.cli.main import NOT_VERBS, main
from ropewalk.measure import task
from ropewalk.scaling import method as registry
from ropewalk.scaling.method import far_methods, methods
from support import gguf_files, gguf_words, synthetic

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TOO_LONG = {"choose", "demo", "fit"}  # verbs whose example takes minutes
NEVER_ENDS = {"serve"}  # run as a process by tests/cli/test_running_verbs.py
SAYS = re.compile(r"print\(.*  # (.+)$", re.MULTILINE)


def _generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _generate()
WRITTEN = {"README.md": ROOT / "README.md", **{path.name: path for path in sorted(DOCS.glob("*.md"))}}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in WRITTEN.items()} | GENERATE.pages()
WITH_CODE = [name for name, text in TEXTS.items() if BLOCK.search(text)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Somewhere to write, and registries that forget what a page adds to them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for names in (registry._METHODS, task._TASKS):
        names.known()
        monkeypatch.setattr(names, "entries", dict(names.entries))
    return tmp_path


def ropewalk_says(command, capsys, monkeypatch):
    """What a command prints; it must end with exit code 0."""
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code, f"{command}: exit code {stop.value.code}\n{capsys.readouterr().err}"
    return capsys.readouterr().out


def commands(body):
    """(command, what the page says it prints) of a console block."""
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [tuple(part.partition("\n")[::2]) for part in parts]


def lines(text):
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_runs_in_order(page, folder, capsys, monkeypatch):
    namespace = {"__name__": "__page__"}
    if page == "gguf.md":
        gguf_files.bundled(folder / "ropewalk-tiny.gguf", words=gguf_words.of_bytes(bos_token_id=0, eos_token_id=0))
    for language, body in BLOCK.findall(TEXTS[page]):
        if language == "python":
            capsys.readouterr()
            exec(compile(body, page, "exec"), namespace)
            printed = lines(capsys.readouterr().out)
            for said in SAYS.findall(body):
                assert said in printed, page
            continue
        for command, said in commands(body):
            if command.startswith("ropewalk") and "ropewalk-tiny" in command:
                printed = ropewalk_says(command, capsys, monkeypatch)
                assert not said.strip() or lines(said) == lines(printed), command


def test_pages_with_code_are_found():
    assert {"README.md", "getting-started.md", "your-model.md", "building.md", "methods/dynamic.md"} <= set(WITH_CODE)


VERBS = sorted(module.name for module in pkgutil.iter_modules(ropewalk.cli.__path__) if module.name not in NOT_VERBS)

RUN = [verb for verb in VERBS if verb not in NEVER_ENDS]


def example(text):
    (found,) = re.findall(r"^Example: `(ropewalk .*)`$", text, re.MULTILINE)
    return found


@pytest.mark.parametrize("verb", [pytest.param(verb, marks=pytest.mark.slow) if verb in TOO_LONG else verb for verb in RUN])
def test_the_example_in_a_verbs_help_runs(verb, folder, capsys, monkeypatch):
    command = example(importlib.import_module(f"ropewalk.cli.{verb}").__doc__)
    if verb == "report":  # of a run that demo has written
        synthetic.write(folder / "out" / "demo", synthetic.whole_run(documents=2), synthetic.plans())
    if verb == "verify":  # what the export of the same name has written
        ropewalk_says("ropewalk export ropewalk-tiny --factor 8 --for transformers,mlx -o served", capsys, monkeypatch)
    assert shlex.split(command)[1] == verb.replace("_", "-")
    ropewalk_says(command, capsys, monkeypatch)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_example(verb, folder, capsys, monkeypatch):
    words = example(importlib.import_module(f"ropewalk.cli.{verb}").__doc__).split()
    printed = ropewalk_says(f"ropewalk {verb.replace('_', '-')} --help", capsys, monkeypatch)
    assert " ".join(words) in " ".join(printed.split())


def test_the_example_in_the_main_help_runs(folder, capsys, monkeypatch):
    from ropewalk.cli.main import HELP

    assert example(HELP) in " ".join(ropewalk_says("ropewalk --help", capsys, monkeypatch).split())
    ropewalk_says(example(HELP), capsys, monkeypatch)


def test_shell_completion_completes_a_verb():
    """As bash asks for it: the second word of `ropewalk pl`."""
    asked = {"_ROPEWALK_COMPLETE": "complete_bash", "COMP_WORDS": "ropewalk pl", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['ropewalk']; from ropewalk.cli.main import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["plan"]


def test_a_method_is_found_where_the_page_says_to_put_it(tmp_path):
    (source,) = [body for _, body in BLOCK.findall(TEXTS["building.md"]) if '@method("slow_half"' in body]
    assert len([line for line in source.splitlines() if line.strip()]) <= 12
    (tmp_path / "slow_half.py").write_text(source, encoding="utf-8")
    code = (
        f"import sys, ropewalk.scaling.methods as m; m.__path__.append({str(tmp_path)!r})\n"
        "from ropewalk.cli.main import main\n"
        "sys.argv = 'ropewalk plan ropewalk-tiny --factor 8 --method slow_half --option kept=0.25'.split(); main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "8 kept, 0 ramped, 24 stretched by 8" in run.stdout, run.stderr


def nav_targets(entries):
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for value in entry.values():
                yield from nav_targets(value if isinstance(value, list) else [value])


def nav():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]


def test_every_method_has_a_page_with_its_rule_its_source_and_pictures():
    for name, method in far_methods().items():
        page = TEXTS[f"methods/{name}.md"]
        assert method.summary in page
        assert method.source in page
        assert page.count("<svg") == len(GENERATE.DRAWN)
        assert all(f"`{option}`" in page.partition("## Options")[2] for option in method.defaults)


def test_the_nav_leads_to_every_page_and_nowhere_else():
    class Config:
        nav = nav()

    GENERATE.on_config(Config)
    assert sorted(nav_targets(Config.nav)) == sorted(set(TEXTS) - {"README.md"})


def test_a_panel_has_a_bar_per_pair_and_counts_them():
    """Qwen3-8B at factor 4: 24 kept, 16 between, 24 slowed by 4, counted from the golden vector of qwen3_s4."""
    (name, rope, factor) = GENERATE.drawn_ropes()[0]
    svg = GENERATE.panel(name, GENERATE._slowed(rope, methods()["yarn"](rope, factor)), factor)
    assert [svg.count(f'<rect class="{kind}"') for kind in ("kept", "between", "whole")] == [24, 16, 24]


def test_the_tour_runs():
    tour = nbformat.read(DOCS / "tour.ipynb", nbformat.NO_CONVERT)
    assert all(not cell.outputs and cell.execution_count is None for cell in tour.cells if cell.cell_type == "code")
    NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(DOCS)}}).execute()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    assert '<meta name="generator" content="ropewalk explore">' in (tmp_path / "explorer.html").read_text(encoding="utf-8")
    for page in tmp_path.rglob("*.html"):
        if page.name != "explorer.html":
            assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)', page.read_text(encoding="utf-8")), page
