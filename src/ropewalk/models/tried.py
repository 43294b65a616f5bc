"""The versions of the libraries below a live model that the drill ran with; docs/versions.md says what was run."""

import warnings
from importlib.metadata import PackageNotFoundError, version

# `make test-newest` and `make test-oldest` on a release add it here, never a guess.
TRIED = {
    "transformers": ("5.17", "5.18", "5.19", "5.20", "5.21", "5.22", "5.23", "5.24"),
    "torch": ("2.11", "2.13", "2.14"),
}
_said: set[str] = set()


def untried() -> list[str]:
    """The installed libraries whose release (first two numbers of the version) no drill has seen: "transformers 5.25"."""
    found = []
    for name, releases in TRIED.items():
        try:
            release = ".".join(version(name).split(".")[:2])
        except PackageNotFoundError:  # a checkout on the path, say
            continue
        if release not in releases:
            found.append(f"{name} {release}")
    return found


def say_untried() -> None:
    """Warn once in a process of each library that no drill has seen. For the end of an attach, whose tests have passed."""
    for name in untried():
        if name not in _said:
            _said.add(name)
            warnings.warn(f"{name} has not been tried with this Ropewalk: the self-test at attach passed.", stacklevel=3)
