"""What any test may ask for.

One thread each: a process that is forked from one whose OpenMP threads have worked waits for them for ever.
An interrupt is heard: a shell that starts pytest with `&` has it ignored, and what pytest starts inherits that.
"""

import os
import signal
import sys
from contextlib import ExitStack

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def online(monkeypatch):
    """A hub may be asked; which one, a test says with `serve_hub`."""
    from ropewalk.checkpoints import hub_header

    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub_header, "_found", {})


@pytest.fixture(params=["light", "full"])
def each_install(request, online, monkeypatch):
    """The base install, and one with the hub's library."""
    if request.param == "light":
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    return request.param


@pytest.fixture
def serve_hub(monkeypatch):
    """Serves a `support.fake_hub.Hub` as long as the test runs, and answers with it."""
    from support.fake_hub import serving

    with ExitStack() as open_ones:

        def serve(hub):
            monkeypatch.setenv("HF_ENDPOINT", open_ones.enter_context(serving(hub)))
            return hub

        yield serve
