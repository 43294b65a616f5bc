"""What a shell makes of a line or a script: its commands, their variables and arguments, and which of them start an engine."""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from ropewalk.engines.launchers import Launch, as_typed, find_launch, is_assignment

KEYWORDS = frozenset("if then elif else do while until ! {".split())  # of a shell, before a command
LINE_END = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|\n""", re.DOTALL)
OPERATORS = re.compile(r"(\d?[<>]+(&\d|.*)|[|&;]+)")


def _words(text: str) -> Iterator[list[str]]:
    """The words of each command of a line: shell operators part them, and what is sent to a file is nobody's argument."""
    words: list[str] = []
    skip = False
    for word in shlex.split(re.sub(r"\\\r?\n", " ", text), comments=False):
        ends = word.endswith(";") and len(word) > 1
        if skip:
            skip = False
        elif OPERATORS.fullmatch(word):
            if word[-1] in "<>":
                skip = True
            elif word[0] in "|&;":
                yield words
                words = []
        elif word != "\n":
            words.append(word.removesuffix(";") if ends else word)
        if ends:
            yield words
            words = []
    yield words


def launches(
    text: str, variables: Mapping[str, str] = MappingProxyType({}), arguments: Sequence[str] = ()
) -> Iterator[tuple[Launch, str, dict[str, str]]]:
    """(what is started, the program's name, the variables that are set), of each command that starts an engine.

    variables, arguments: of the shell that runs the text.
    """
    exported = dict(variables)
    for words in _words(text):
        while words and words[0] in KEYWORDS:
            words = words[1:]
        if place := _shell(words):
            script, given = words[place], {**exported, **_assigned(words[:place])}
            yield from launches(LINE_END.sub(_parted, as_typed(script)), given, words[place + 2 :])  # the first is $0
        elif launch := find_launch(words):
            program = words[len(launch.before)]
            after = [part for word in launch.after for part in _filled(word, exported, arguments)]
            yield dataclasses.replace(launch, after=tuple(after)), program, {**exported, **_assigned(launch.before)}
        if words and all(map(is_assignment, words)):
            exported |= _assigned(words)


def _parted(found: re.Match[str]) -> str:
    """A line's end ends a command, unless it is quoted or escaped."""
    return found[1] or " ; "


def _filled(word: str, variables: Mapping[str, str], arguments: Sequence[str]) -> Sequence[str]:
    """A word that is a variable of this line, or all arguments. Inside other words single quotes may keep it as it is."""
    if word in ("$@", "$*"):
        return arguments
    found = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", word)
    return [variables.get(found.group(1) or found.group(2), word) if found else word]


def _shell(words: Sequence[str]) -> int:
    """Where the text stands that `bash -c '...'` runs; 0 where there is none."""
    for index, (shell, option) in enumerate(pairwise(words[:-1])):
        if Path(shell).name in ("bash", "sh", "zsh") and re.fullmatch(r"-[a-z]*c", option):
            return index + 2
    return 0


def _assigned(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE words, and those of -e and --env, which are containers'."""
    plain = (re.sub(r"^(--env=|-e(?=\w+=))", "", word) for word in words)
    return dict(word.split("=", 1) for word in plain if re.match(r"[A-Za-z_]\w*=", word))
