"""Under a transformers or torch that training refuses, its tests are not run; what it then says is tested all the same."""

import pytest

from ropewalk.errors import BadConfig
from ropewalk.jobs.train.setup import check_libraries

RUNS_ANYWHERE = "test_old_libraries"


def pytest_collection_modifyitems(items):
    try:
        check_libraries()
    except BadConfig as refusal:
        for item in items:
            if "tests/jobs/train/" in item.path.as_posix() and item.path.stem != RUNS_ANYWHERE:
                item.add_marker(pytest.mark.skip(reason=str(refusal).splitlines()[0]))
