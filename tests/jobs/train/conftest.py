"""A tiny model with a tokenizer, and texts, for the tests that run the whole job."""

import pytest

from training import texts, with_tokenizer


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return with_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts(tmp_path_factory.mktemp("texts") / "some")
