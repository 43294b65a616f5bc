"""`ropewalk.generate` and `ropewalk.serve` as Python calls them."""

import asyncio
import threading
import urllib.request
from pathlib import Path

import pytest

import ropewalk
from ropewalk.engines.transformers.checkpoint import bundled_model
from ropewalk.errors import RopewalkError
from ropewalk.models.load import load_model, load_tokenizer
from ropewalk.progress import Silent

TINY, PROMPT = "ropewalk-tiny", "def area(width, height):"
SHORT = {"max_new_tokens": 8, "device": "cpu"}


def test_a_name_a_path_and_a_live_model_write_the_same():
    pieces = []
    written = ropewalk.generate(TINY, PROMPT, **SHORT, stream=pieces.append)
    assert "".join(pieces) == written.text == str(written) != ""
    assert (len(written.tokens), written.finish, written.plan) == (8, "length", None)
    assert written.prompt_tokens == len(load_tokenizer(TINY)(PROMPT)["input_ids"])
    assert written.seconds > 0 < written.tokens_per_second
    assert written.to_dict()["text"] == written.text
    live = load_model(TINY).train()
    assert ropewalk.generate(bundled_model(), PROMPT, **SHORT).text == written.text
    assert ropewalk.generate(live, PROMPT, **SHORT, tokenizer=load_tokenizer(TINY)).text == written.text
    assert live.training


def test_plans_as_objects_files_and_words_and_a_live_model_is_as_it_was(tmp_path):
    found = ropewalk.generate(TINY, PROMPT, method="linear", factor="8", **SHORT)
    assert found.plan.target_length == 4096
    (tmp_path / "plan.json").write_text(found.plan.to_json())
    live, words = load_model(TINY), load_tokenizer(TINY)
    before = ropewalk.generate(live, PROMPT, **SHORT, tokenizer=words).text
    assert found.text != before
    for plan in (found.plan, tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert ropewalk.generate(live, PROMPT, plan=plan, tokenizer=words, **SHORT).text == found.text
    assert ropewalk.generate(live, PROMPT, to="4k", method="linear", tokenizer=words, **SHORT).text == found.text
    assert ropewalk.generate(live, PROMPT, **SHORT, tokenizer=words).text == before


def test_messages_go_through_the_chat_template():
    words = load_tokenizer(TINY)
    words.chat_template = "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}# me:"
    spelt = ropewalk.generate(TINY, "# user: hello\n# me:", **SHORT).text
    said = [{"role": "user", "content": "hello"}]
    assert ropewalk.generate(TINY, said, tokenizer=words, **SHORT).text == spelt
    assert ropewalk.generate(TINY, "hello", chat="auto", tokenizer=words, **SHORT).text == spelt
    assert ropewalk.generate(TINY, "hello", tokenizer=words, **SHORT).text != spelt


def test_an_interrupt_leaves_what_was_written():
    def stop(text):
        raise KeyboardInterrupt

    written = ropewalk.generate(TINY, PROMPT, stream=stop, **SHORT)
    assert (written.finish, len(written.tokens)) == ("interrupted", 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": 3}, "this is no prompt, but of type int"),
        ({"prompt": Path("a")}, "this is no prompt"),
        ({"prompt": [{"role": "user"}]}, "this is no prompt"),
        ({"prompt": [{"role": "user", "content": "a"}]}, "no chat template"),
        ({"model": 3}, "int"),
        ({"model": "no/such/folder/here"}, "no/such"),
        ({"tokenizer": object()}, "this is no tokenizer, but of type object"),
        ({"max_new_tokens": "many"}, "new tokens are 'many'"),
        ({"max_new_tokens": True}, "new tokens are True"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"temperature": -1}, "temperature is -1"),
        ({"seed": "s"}, "seed is 's'"),
        ({"stop": 3}, "stop is 3"),
        ({"chat": "yes"}, "chat is 'yes'"),
        ({"device": "gpu0"}, "device is 'gpu0', which cannot be used here"),
        ({"device": 3.5}, "device is 3.5, which cannot be used here"),
        ({"dtype": "int8"}, "no dtype is called 'int8'"),
        ({"dtype": 8}, "dtype"),
        ({"method": "yarm", "factor": 2}, "yarm"),
        ({"method": 3, "factor": 2}, "3"),
        ({"dynamic": 3}, "3"),
        ({"factor": "much"}, "much"),
        ({"to": "far"}, "far"),
        ({"options": {"beta_fast": 16}}, "options are of a method"),
        ({"plan": 3}, "plan"),
        ({"plan": "no/plan.json"}, "no/plan.json"),
        ({"plan": "p", "factor": 2}, "leave out the other options"),
    ],
)
def test_bad_arguments_are_refused_in_our_words(given, words):
    given = {"model": TINY, "prompt": PROMPT, **SHORT, **given}
    with pytest.raises(RopewalkError, match=words.replace("(", r"\(")):
        ropewalk.generate(given.pop("model"), given.pop("prompt"), **given)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)


async def as_in_a_notebook(call):
    return call()


@pytest.mark.parametrize("around", [lambda call: call(), lambda call: asyncio.run(as_in_a_notebook(call))])
def test_serve_answers_and_comes_back_when_it_is_told_to_end(monkeypatch, around):
    from ropewalk.jobs.serve import server

    servers, build, told = [], server.build_server, Notes()
    monkeypatch.setattr(server, "build_server", lambda *a, **k: servers.append(build(*a, **k)) or servers[-1])

    def ask(address):
        def go():
            found.append(urllib.request.urlopen(f"{address}/models").read())
            servers[0].should_exit = True

        threading.Thread(target=go).start()

    found = []
    live = load_model(TINY)
    words = load_tokenizer(TINY)
    around(lambda: ropewalk.serve(live, tokenizer=words, port=0, dynamic="yarn", ready=ask, progress=told))
    assert b'"max_model_len":4096' in found[0]
    assert "(dynamic-yarn, 4,096 tokens) at http://127.0.0.1:" in told.notes[0]
    assert "GET /v1/models 200" in told.notes[1]
    ropewalk.generate(live, PROMPT, method="linear", factor=2, tokenizer=load_tokenizer(TINY), **SHORT)  # no plan was left


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": "8000"}, "port is '8000'"),
        ({"port": 70000}, "port is 70000"),
        ({"rows": 0}, "rows is 0"),
        ({"waiting": 1.5}, "waiting is 1.5"),
        ({"host": None}, "host is None"),
        ({"host": "256.1.1.1"}, "cannot listen on 256.1.1.1"),
        ({"dynamic": "longrope"}, "longrope"),
    ],
)
def test_what_cannot_be_served(given, words):
    with pytest.raises(RopewalkError, match=words):
        ropewalk.serve(TINY, device="cpu", **given)
