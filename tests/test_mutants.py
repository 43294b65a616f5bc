"""The list of mutants cannot rot: each is still in the source, and its tests are there. `make mutants` runs them."""

import pytest

from mutants.__main__ import FLOORS, ROOT, mutants


@pytest.mark.parametrize("floor", FLOORS)
def test_every_mutant_is_still_in_the_source_and_has_tests(floor):
    for mutant in mutants(floor):
        source = (ROOT / "src" / "ropewalk" / mutant.file).read_text(encoding="utf-8")
        assert mutant.file.startswith(f"{floor}/"), mutant
        assert mutant.right in source, mutant
        assert mutant.wrong != mutant.right
        for tests in mutant.tests:
            assert (ROOT / tests).exists(), mutant
