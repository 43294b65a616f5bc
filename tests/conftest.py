"""What any test may ask for.

One thread each: a process that is forked from one whose OpenMP threads have worked waits for them for ever.
"""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny model with a tokenizer, to train."""
    from support.training import with_tokenizer

    return with_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts, to train it on."""
    from support.training import texts

    return texts(tmp_path_factory.mktemp("texts") / "some")
