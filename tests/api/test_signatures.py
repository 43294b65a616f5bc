"""The API as a promise: names, and that the command line has the same."""

import inspect
import json
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest

import ropewalk
from ropewalk.api.arguments import Flag
from ropewalk.cli.main import build

FROZEN = json.loads(Path(__file__).with_name("parameters.json").read_text())
COMMAND = {"evaluate": "eval"}
PYTHON_ALONE = {"attach", "read"}  # they act on a live model, or answer with an object: no command prints that


def flags_of(function):
    """Parameters that the command line has too, with what it calls them."""
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = parameter.annotation
        for said in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
            if isinstance(said, Flag):
                found[parameter.name] = said
    return found


def command_of(verb):
    """The flags of a verb by parameter, as typer reads them."""
    (command,) = build(COMMAND.get(verb, verb)).registered_commands
    return {name: parameter.annotation for name, parameter in inspect.signature(command.callback).parameters.items()}


@pytest.mark.parametrize("verb", FROZEN)
def test_parameters_are_those_that_were_promised(verb):
    """A parameter may be added at the end of its kind, which changes this file; none may go or be renamed."""
    found = [name for name in inspect.signature(getattr(ropewalk, verb)).parameters]
    assert found == FROZEN[verb]


def test_every_verb_of_the_command_line_is_a_call():
    verbs = {COMMAND.get(verb, verb) for verb in FROZEN} - PYTHON_ALONE
    listed = {command.name for command in build().registered_commands}
    assert listed - verbs == {"demo"}  # a story, not a tool
    assert set(FROZEN) <= set(ropewalk.__all__) & set(dir(ropewalk))


@pytest.mark.parametrize("verb", sorted(set(FROZEN) - PYTHON_ALONE - {"train"}))  # train's are its recipe's: test_train.py
def test_flags_are_the_parameters(verb):
    flags, command = flags_of(getattr(ropewalk, verb)), command_of(verb)
    assert flags
    assert set(flags) <= set(command)
    for name, said in flags.items():
        option = get_args(command[name])[1]
        if said.spelt:
            assert (option.default, *option.param_decls) == said.spelt  # typer keeps the first apart


@pytest.mark.parametrize("verb", FROZEN)
def test_every_function_says_what_it_does_with_an_example(verb):
    doc = inspect.getdoc(getattr(ropewalk, verb))
    assert f"ropewalk.{verb}(" in doc
