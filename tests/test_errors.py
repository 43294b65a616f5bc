"""The hierarchy of errors, and the one message that is built there."""

import ast
import inspect
import re
import sys
import tomllib
from pathlib import Path

import pytest

import ropewalk
from ropewalk import errors
from ropewalk.errors import EXTRAS, MissingPart, RopewalkError, UnknownName, extra_parts, first_line, missing_part

SOURCE = Path(ropewalk.__file__).parent
PROJECT = SOURCE.parents[1] / "pyproject.toml"
BASE = {"typer", "rich"}
COMES_WITH = {"yaml": "pyyaml", "tokenizers": "transformers", "starlette": "fastapi"}  # another name, or another's part

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_clause_catches_them_all(kind):
    assert issubclass(kind, RopewalkError)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not RopewalkError])
def test_each_is_also_what_python_would_have_raised(kind):
    assert issubclass(kind, ValueError | RuntimeError | OSError | ImportError)


def test_the_drawing_at_the_top_is_complete():
    drawn = re.findall(r"^[├└]── (\w+)", errors.__doc__, re.MULTILINE)

    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS if kind is not RopewalkError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yarm", "no method is called 'yarm'. Did you mean 'yarn'?\n  known: linear, yarn"),
        ("zzz", "no method is called 'zzz'.\n  known: linear, yarn"),
    ],
)
def test_an_unknown_name_comes_with_a_suggestion_and_the_list(name, message):
    assert str(UnknownName("method", name, ["yarn", "linear"])) == message


def test_an_empty_list_is_said():
    assert str(UnknownName("option of none", "beta", [])) == "no option of none is called 'beta'.\n  known: none"


# --- whoever calls from Python has arguments, and flags in brackets only

# Of these the messages are about a command line that was given to be read, whose flags are the matter.
READ_COMMANDS = {"jobs/doctor/llama_flags.py", "jobs/doctor/target.py"}


def said(raised: ast.Raise) -> str:
    """The words of a message; what it is filled with is left out."""
    return "".join(node.value for node in ast.walk(raised) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_errors_below_the_command_line_speak_of_arguments():
    spoken = {}
    for floor in ("api", "jobs", "measure", "models", "checkpoints", "scaling"):
        for path in (SOURCE / floor).rglob("*.py"):
            for raised in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(raised, ast.Raise):
                    plain = re.sub(r"`[^`]*`|\([^()]*\)|torchrun .*", "", said(raised))
                    if flags := re.findall(r"(?<![\w-])--[a-z][a-z-]+", plain):
                        spoken[path.relative_to(SOURCE).as_posix(), raised.lineno] = flags

    assert not {place: flags for place, flags in spoken.items() if place[0] not in READ_COMMANDS}


# --- packages that an extra brings


def brought(extra: str) -> set[str]:
    """Distributions that an extra of pyproject names, those of the extras it builds on too."""
    found = set()
    for line in tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"][extra]:
        name, within = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line).groups()
        found |= {name.replace("-", "_")} if name != "ropewalk" else set().union(*map(brought, within.split(",")))
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_the_table_says(extra):
    assert {COMES_WITH.get(package, package) for package in EXTRAS[extra]} <= brought(extra)


def test_a_verb_that_asks_for_an_extra_of_its_name_gets_torch_with_it():
    verbs = {path.stem for path in (SOURCE / "cli").glob("*.py")} & set(EXTRAS)
    assert verbs == {"report", "train", "fit", "serve", "verify"}
    assert all("torch" in brought(verb) for verb in verbs - {"report"})


def test_every_package_that_is_imported_anywhere_is_in_the_base_or_in_the_table():
    known, missing = BASE.union(*EXTRAS.values()), set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            missing |= {top for name in names if (top := name.partition(".")[0]) not in known}
    # An environment of its own has the first, pydantic brings the second, huggingface_hub the third: used where it is.
    elsewhere = {"llama_cpp", "typing_extensions", "certifi"}
    assert missing - set(sys.stdlib_module_names) - elsewhere == {"ropewalk"}


def test_all_has_every_extra_but_those_that_bring_environments_of_their_own():
    apart = {"vllm", "tensorboard", "trackio", "wandb"}
    assert brought("all") == set().union(*map(brought, set(EXTRAS) - apart))


def test_a_package_that_is_absent_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(MissingPart) as caught, extra_parts():
        import cma  # noqa: F401
    assert str(caught.value) == "needs cma, which is not installed: pip install 'ropewalk[fit]'"
    assert isinstance(caught.value, ImportError)
    assert caught.value.name == "cma"


@pytest.mark.parametrize(("verb", "extra"), [("serve", "serve"), ("report", "report"), ("eval", "torch"), ("", "torch")])
def test_a_verb_asks_for_its_own_extra(verb, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert f"'ropewalk[{extra}]'" in str(missing_part(ModuleNotFoundError(name="torch.nn"), verb))


def test_an_adapter_is_not_brought_by_the_verb_that_uses_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "'ropewalk[lora]'" in str(missing_part(ModuleNotFoundError(name="peft"), "train"))


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torch.new'", name="torch.new"),  # torch is here, and lacks a part
        ModuleNotFoundError("No module named 'sqlitedict'", name="sqlitedict"),  # what a package of others needs
        ImportError("cannot import name 'x' from 'torch'", name="torch"),
        ImportError("libcudart.so: cannot open shared object file"),
    ],
)
def test_what_is_broken_is_not_taken_for_what_is_absent(error):
    assert missing_part(error) is None
    with pytest.raises(ImportError) as caught, extra_parts():
        raise error
    assert caught.value is error


def test_a_verb_of_the_package_root_says_what_it_needs_when_it_is_called(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert ropewalk.fit is ropewalk.fit
    for loaded in [name for name in sys.modules if name.startswith("ropewalk.jobs.")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(MissingPart, match=r"needs torch, .*'ropewalk\[fit\]'"):
        ropewalk.fit("ropewalk-tiny", "plan.json")


def test_names_of_the_package_root_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "ropewalk.models.tables", raising=False)
    with pytest.raises(MissingPart, match=r"ropewalk\[torch\]"):
        _ = ropewalk.rotation_tables


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("one\ntwo"), "one"), (RuntimeError(" \n"), "RuntimeError"), (KeyError(), "KeyError")]
)
def test_of_other_peoples_errors_the_first_line_is_told_or_the_kind(error, line):
    assert first_line(error) == line
