"""The explorer's page, written once for a file of tests, and one browser for all of its pages."""

import pytest

from ropewalk.jobs.explore.page import write_explorer
from support.browser import launched


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("explore") / "explorer.html"
    write_explorer(path)
    return path


@pytest.fixture(scope="module")
def browser():
    with launched() as running:
        yield running
