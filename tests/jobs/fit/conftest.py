"""What a short fit of the bundled model needs, loaded once for a file of tests."""

import pytest

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.fit.objective import Sets, library_sets
from ropewalk.models.load import load_model, load_tokenizer
from support.fitting import TARGET


@pytest.fixture(scope="module")
def parts():
    tokenizer = load_tokenizer("ropewalk-tiny")
    sets = library_sets(tokenizer, TARGET, seed=0)
    few = Sets(sets.fit[:3], sets.choose[:2], sets.report[:2])
    return load_model("ropewalk-tiny"), tokenizer, bundled_model(), read(read_config(bundled_model())), few
