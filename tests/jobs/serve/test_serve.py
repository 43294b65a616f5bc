"""The server as clients meet it: the real openai client over a real socket on loopback."""

import asyncio
import json
import socket
import threading
import time

import openai
import pytest
import torch
import urllib3

from ropewalk.errors import BadOption
from ropewalk.jobs.serve.server import listen
from ropewalk.models import limits
from support.running import serving
from support.serving import TINY, alone, opened, prompts

NEW = 10
SHORT = "def area(width, height):"


def complete(client, prompt, **more):
    return client.completions.create(**{"model": TINY, "prompt": prompt, "max_tokens": NEW, "temperature": 0, **more})


def streamed(client, prompt, **more):
    return "".join(chunk.choices[0].text for chunk in complete(client, prompt, stream=True, **more))


# --- equal to the same request alone


def at_once(client, asked):
    """All requests in flight together, every other one streaming."""
    url = str(client.base_url)

    async def gather():
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600) as many:

            async def one(i, prompt, new):
                how = dict(model=TINY, prompt=prompt, max_tokens=new, temperature=0)
                if i % 2:
                    stream = await many.completions.create(**how, stream=True)
                    return "".join([chunk.choices[0].text async for chunk in stream])
                return (await many.completions.create(**how)).choices[0].text

            return await asyncio.gather(*(one(i, *each) for i, each in enumerate(asked)))

    return asyncio.run(gather())


def test_64_requests_at_once_are_each_answered_as_alone(each):
    served, client = each
    texts = prompts(64, 900 if served.plan is None else 1800)
    asked = [(text, 4 + i % NEW) for i, text in enumerate(texts)]
    wanted = [alone(served, served.tokens(text), new) for text, new in asked]
    assert min(gap for _, gap in wanted) > 2e-5  # or rounding could decide
    longest = max(len(served.tokens(text)) for text in texts)
    assert longest > 512 or served.plan is None  # some read beyond the original window
    got = at_once(client, asked)
    assert got == [served.tokenizer.decode(tokens, skip_special_tokens=True) for tokens, _ in wanted]
    assert len(set(got)) > 48  # or one answer for all would do


def test_streamed_and_whole_are_the_same_text(each):
    _, client = each
    assert streamed(client, SHORT, max_tokens=40) == complete(client, SHORT, max_tokens=40).choices[0].text


def test_characters_of_many_bytes_are_streamed_whole(causal):
    _, client, _ = causal
    pieces = [c.choices[0].text for c in complete(client, SHORT, stream=True, temperature=2, seed=1, max_tokens=200)]
    whole = complete(client, SHORT, temperature=2, seed=1, max_tokens=200).choices[0].text
    assert "".join(pieces) == whole
    assert any(ord(character) > 127 for character in whole)  # or nothing was put together


def test_a_seeded_draw_does_not_depend_on_its_company(causal):
    _, client, _ = causal
    how = dict(temperature=1, seed=11, max_tokens=20)
    before = complete(client, SHORT, **how).choices[0].text
    together = complete(client, [SHORT, "import os", "class A:", SHORT], n=1, **how)
    assert [together.choices[0].text, together.choices[3].text] == [before, before]
    n = complete(client, SHORT, n=3, **how)
    assert n.choices[0].text == before
    assert len({choice.text for choice in n.choices}) == 3


# --- what the API promises


def test_models(causal):
    _, client, _ = causal
    [model] = client.models.list().data
    assert (model.id, model.max_model_len) == (TINY, 4096)
    assert client.models.retrieve(TINY).id == TINY


def test_usage_and_finish(causal):
    served, client, _ = causal
    answer = complete(client, SHORT, n=2)
    read = len(served.tokens(SHORT))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (read, 2 * NEW)
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
    *_, last, counted = complete(client, SHORT, stream=True, stream_options={"include_usage": True})
    assert last.choices[0].finish_reason == "length"
    assert counted.choices == []
    assert counted.usage.total_tokens == read + NEW


def test_prompts_of_tokens_and_echo(causal):
    served, client, _ = causal
    text, ids = complete(client, SHORT).choices[0].text, served.tokens(SHORT)
    assert complete(client, ids).choices[0].text == text
    assert complete(client, [ids, ids[:3]]).choices[0].text == text
    assert complete(client, SHORT, echo=True).choices[0].text == SHORT + text
    assert streamed(client, SHORT, echo=True) == SHORT + text


def test_echo_with_logprobs_tells_how_likely_the_prompt_was(each):
    """Against one plain forward pass of the same model; the first token follows nothing, and has no probability."""
    served, client = each
    prompt = max(prompts(2, 900), key=len)
    ids = served.tokens(prompt)
    assert 300 < len(ids) < 500  # more than are read in one call where all logits are wanted
    with torch.inference_mode():
        rows = served.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = rows[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]

    choice = complete(client, prompt, echo=True, logprobs=2, max_tokens=3).choices[0]

    told, count = choice.logprobs, len(ids)
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == count + 3
    assert (told.token_logprobs[0], told.top_logprobs[0]) == (None, None)
    torch.testing.assert_close(torch.tensor(told.token_logprobs[1:count]), expected, atol=2e-4, rtol=0)
    best = torch.tensor([max(top.values()) for top in told.top_logprobs[1:count]])
    torch.testing.assert_close(best, rows[:-1].max(-1).values, atol=2e-4, rtol=0)
    assert choice.text[told.text_offset[count] :] == choice.text[len(prompt) :]
    assert all(choice.text[at:].startswith(token) for at, token in zip(told.text_offset, told.tokens, strict=True))


def test_stop_strings(causal):
    _, client, _ = causal
    whole = complete(client, SHORT, max_tokens=40).choices[0].text
    stop = whole[20:23]
    cut = whole[: whole.index(stop)]
    for how in (stop, ["never written", stop]):
        answer = complete(client, SHORT, max_tokens=40, stop=how)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == (cut, "stop")
        assert answer.usage.completion_tokens < 40  # and it did stop
    assert streamed(client, SHORT, max_tokens=40, stop=stop) == cut


def test_logprobs_are_the_models_own(each):
    """Against one forward pass without a cache over prompt and answer."""
    served, client = each
    prompt = prompts(4, 900 if served.plan is None else 1500, seed=3)[0]
    given = complete(client, prompt, logprobs=3, seed=1, temperature=0.7).choices[0].logprobs
    ids = served.tokens(prompt)
    spelt = {served.tokenizer.decode([token]): token for token in range(len(served.tokenizer))}
    written = [spelt[text] for text in given.tokens]
    with torch.no_grad():
        logits = served.model(torch.tensor([ids + written]), use_cache=False).logits[0]
    wanted = logits.double().log_softmax(-1)[len(ids) - 1 : -1]
    assert given.token_logprobs == pytest.approx([float(row[t]) for row, t in zip(wanted, written, strict=True)], abs=1e-4)
    for row, top, text in zip(wanted, given.top_logprobs, given.tokens, strict=True):
        assert sorted(top.values(), reverse=True)[:3] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
        assert len(top) == 3 + (spelt[text] not in row.topk(3).indices)
    assert given.text_offset == [len("".join(given.tokens[:i])) for i in range(NEW)]


def test_top_logprobs_of_a_completion_hold_the_token_that_was_written(causal):
    """OpenAI's API reference, completions, logprobs: the sampled token's is always there, so up to logprobs + 1 elements."""
    _, client, _ = causal
    told = complete(client, SHORT, logprobs=1, seed=2, temperature=2.0).choices[0].logprobs
    assert {len(top) for top in told.top_logprobs} == {1, 2}
    assert [top[text] for top, text in zip(told.top_logprobs, told.tokens, strict=True)] == told.token_logprobs
    none = complete(client, SHORT, logprobs=0, max_tokens=2).choices[0].logprobs
    assert [list(top) for top in none.top_logprobs] == [[text] for text in none.tokens]


def test_streamed_logprobs_are_all_there(causal):
    _, client, _ = causal
    whole = complete(client, SHORT, logprobs=1).choices[0].logprobs
    chunks = [c.choices[0].logprobs for c in complete(client, SHORT, logprobs=1, stream=True)]
    assert [token for chunk in chunks if chunk for token in chunk.tokens] == whole.tokens


def test_tokens_of_a_stop_string_have_no_logprobs(causal):
    _, client, _ = causal
    whole = complete(client, SHORT, max_tokens=40, logprobs=0).choices[0]
    stop = whole.text[20:32]  # of several tokens
    cut = complete(client, SHORT, max_tokens=40, logprobs=0, stop=stop).choices[0]
    assert len(cut.logprobs.tokens) < len(whole.logprobs.tokens)
    assert "".join(cut.logprobs.tokens).startswith(cut.text)
    assert max(cut.logprobs.text_offset) < len(cut.text)


# --- chat


def test_without_a_chat_template_there_is_no_chat(causal):
    _, client, _ = causal
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model=TINY, messages=[{"role": "user", "content": "hi"}])


@pytest.fixture
def chatting(causal, monkeypatch):
    served, client, _ = causal
    template = (
        "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}# me:{% endif %}"
    )
    monkeypatch.setattr(served.tokenizer, "chat_template", template)
    return served, client


def test_chat_is_the_templates_text_gone_on_from(chatting):
    _, client = chatting
    said = [{"role": "user", "content": "hello"}, {"role": "user", "content": [{"type": "text", "text": "again"}]}]
    how = dict(model=TINY, messages=said, max_tokens=NEW, temperature=0)
    answer = client.chat.completions.create(**how, logprobs=True, top_logprobs=2)
    wanted = complete(client, "# user: hello\n# user: again\n# me:", logprobs=2).choices[0]
    assert answer.choices[0].message.content == wanted.text
    content = answer.choices[0].logprobs.content
    assert [one.token for one in content] == wanted.logprobs.tokens
    assert bytes(b for one in content for b in one.bytes).decode() == wanted.text
    assert all(len(one.top_logprobs) == 2 for one in content)
    pieces = list(client.chat.completions.create(**how, stream=True))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == wanted.text
    assert pieces[-1].choices[0].finish_reason == "length"


def test_an_answer_is_sent_back_as_it_came(chatting):
    """openai's client sends a message object with every field that the server gave it: refusal is null."""
    _, client = chatting
    said = [{"role": "user", "content": "hello"}]
    how = dict(model=TINY, max_tokens=3, temperature=0)
    answer = client.chat.completions.create(messages=said, **how).choices[0].message
    assert answer.to_dict()["refusal"] is None
    told = client.chat.completions.create(messages=[*said, answer, *said], tools=None, **how, extra_body={"n": None})
    wanted = complete(client, f"# user: hello\n# assistant: {answer.content}\n# user: hello\n# me:", max_tokens=3)
    assert told.choices[0].message.content == wanted.choices[0].text


def test_a_chat_that_sets_no_limit_may_be_as_long_as_its_cache_has_room(chatting, monkeypatch):
    """By hand: keys and values of 6 layers, 2 heads of 64 channels, float32; a causal plan keeps keys twice meanwhile."""
    served, client = chatting
    layers, heads, width = (
        getattr(served.model.config, key) for key in ("num_hidden_layers", "num_key_value_heads", "head_dim")
    )
    monkeypatch.setattr(limits, "available_bytes", lambda device: int(2 * layers * heads * width * 4 * 1.5) * 40)
    said = [{"role": "user", "content": "hello"}]
    told = client.chat.completions.create(model=TINY, messages=said, temperature=0)
    assert (told.choices[0].finish_reason, told.usage.total_tokens) == ("length", 40)
    with pytest.raises(openai.BadRequestError, match="key-value cache of"):
        client.chat.completions.create(model=TINY, messages=said, max_tokens=60)


def test_a_name_is_given_to_the_template(chatting, monkeypatch):
    served, client = chatting
    monkeypatch.setattr(served.tokenizer, "chat_template", "{% for m in messages %}{{ m.name }}: {{ m.content }}{% endfor %}")
    how = dict(max_tokens=3, temperature=0)
    said = [{"role": "user", "content": "hello", "name": "Ada"}]
    told = client.chat.completions.create(model=TINY, messages=said, **how).choices[0].message.content
    assert told == complete(client, "Ada: hello", **how).choices[0].text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top_logprobs": 3}, "top_logprobs are of logprobs, and none are asked for"),
        ({"max_completion_tokens": 4}, "max_tokens and max_completion_tokens are two names of one limit, and differ"),
        ({"messages": [{"role": "user", "content": None}]}, "messages: Input should be a valid string"),
    ],
)
def test_what_of_a_chat_would_not_be_obeyed_is_refused(chatting, wrong, message):
    """vLLM (0.33, entrypoints/openai) refuses the first, too, and stream_options without a stream."""
    _, client = chatting
    with pytest.raises(openai.BadRequestError, match=message):
        client.chat.completions.create(
            **{"model": TINY, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, **wrong}
        )


def test_chat_says_what_its_template_refuses(chatting, monkeypatch):
    served, client = chatting
    monkeypatch.setattr(served.tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(openai.BadRequestError, match="roles must alternate"):
        client.chat.completions.create(model=TINY, messages=[{"role": "user", "content": "hi"}])


# --- what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_tokens": 5000}, r"5,011 tokens \(11 of prompt and 5,000 new\), and the plan \(dynamic-yarn\) reaches 4,096"),
        ({"prompt": "x = 1\n" * 3000}, "Shorten the prompt by"),
        ({"prompt": ""}, "no tokens"), ({"prompt": []}, "empty list"),
        ({"prompt": [5000]}, "outside the vocabulary, 0 to 1023"),
        ({"prompt": [-1]}, "outside the vocabulary"), ({"prompt": 3}, "prompt: Input should be a valid string"),
        ({"temperature": -1}, "temperature: Input should be greater"), ({"temperature": float("1e9")}, "temperature"),
        ({"top_p": 0}, "top_p"), ({"n": 0}, "n: "), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": "many"}, "max_tokens"),
        ({"logprobs": 50}, "logprobs"), ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"best_of": 3}, "best_of: this server"),
        ({"logit_bias": {"5": 1}}, "logit_bias: this server does not obey it"),
        ({"echo": True, "logprobs": 1, "stream": True}, "echo with logprobs is not streamed"),
        ({"stream_options": {"include_usage": True}}, "stream_options are of a stream, and none is asked for"),
    ],
)  # fmt: skip
def test_bad_requests_are_400_and_say_why(causal, wrong, message):
    _, client, _ = causal
    with pytest.raises(openai.BadRequestError, match=message) as error:
        complete(client, **{"prompt": SHORT, **wrong})
    assert error.value.body["type"] == "invalid_request_error"


def test_too_long_has_the_code_clients_look_for(causal):
    _, client, _ = causal
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, SHORT, max_tokens=5000)
    assert error.value.code == "context_length_exceeded"


def test_another_model_and_another_path_are_404(causal):
    _, client, _ = causal
    with pytest.raises(openai.NotFoundError, match="no model is called 'gpt-9'"):
        complete(client, SHORT, model="gpt-9")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=TINY, input="x")


def post(client, body, headers):
    url = f"{client.base_url}completions"
    return urllib3.request("POST", url, body=body, headers=headers, timeout=30)


def test_bodies_that_are_no_requests(causal):
    _, client, _ = causal
    headers = {"Content-Type": "application/json"}
    for body in ("{", "[]", "", '"x"', "null", "\ud800".encode("utf-16", "surrogatepass")):
        answer = post(client, body, headers)
        assert answer.status == 400, body
        assert json.loads(answer.data)["error"]["type"] == "invalid_request_error"


def test_a_page_under_another_name_cannot_reach_it(causal):
    """DNS rebinding: a browser would send the page's own host name."""
    _, client, _ = causal
    body = json.dumps({"model": TINY, "prompt": SHORT, "max_tokens": 1})
    port = client.base_url.port
    named = {"Content-Type": "application/json", "Host": f"localhost:{port}"}
    assert post(client, body, named).status == 200
    assert post(client, body, {**named, "Host": "evil.example"}).status == 400


def test_it_listens_on_loopback_only(causal):
    _, client, _ = causal
    port = client.base_url.port
    mine = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    socket.create_connection(("127.0.0.1", port), 2).close()
    for address in mine or {"127.0.0.2"}:  # all of 127.0.0.0/8 would answer, were it bound to every address
        with pytest.raises(OSError):  # noqa: PT011
            socket.create_connection((address, port), 2)


def test_a_port_that_is_taken():
    with listen("127.0.0.1", 0) as first, pytest.raises(BadOption, match=r"Another server may; try another: port \(--port\)"):
        listen("127.0.0.1", first.getsockname()[1])


# --- queue, departure, failure


class Brake:
    """Holds the model's forward until it is released."""

    def __init__(self, model):
        self.go, self.calls = threading.Event(), 0
        self._hook = model.register_forward_pre_hook(self._wait)

    def _wait(self, *_):
        self.calls += 1
        self.go.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go.set()
        self._hook.remove()


def eventually(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def narrow():
    """One row and room for two that wait."""
    served = opened(None)
    with serving(served, rows=1, waiting=2) as (client, engine):
        yield served, client, engine


def test_a_full_queue_is_429_with_a_time_to_come_back(narrow):
    served, client, engine = narrow
    with Brake(served.model) as brake:
        threads = [threading.Thread(target=complete, args=(client, SHORT)) for _ in range(3)]
        threads[0].start()
        eventually(lambda: brake.calls)  # one is being read
        for thread in threads[1:]:
            thread.start()
        eventually(lambda: len(engine._waiting) == 2)
        with pytest.raises(openai.RateLimitError, match="2 requests are waiting") as error:
            complete(client, SHORT)
        assert int(error.value.response.headers["Retry-After"]) >= 1
        with pytest.raises(openai.BadRequestError):  # what is wrong is told at once, full or not
            complete(client, SHORT, max_tokens=10**6)
    for thread in threads:
        thread.join()
    assert complete(client, SHORT).choices[0].text


@pytest.mark.parametrize("stream", [True, False])
def test_when_the_client_goes_away_the_writing_ends(narrow, stream):
    served, client, engine = narrow
    impatient = client.with_options(timeout=1.5)
    steps = []
    hook = served.model.register_forward_pre_hook(lambda *_: (steps.append(1), time.sleep(0.1))[0:0] or None)
    try:
        if stream:
            pieces = complete(impatient, SHORT, max_tokens=400, stream=True)
            next(pieces)
            pieces.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                complete(impatient, SHORT, max_tokens=400)
        eventually(lambda: not engine._running and engine._reading is None)
    finally:
        hook.remove()
    assert len(steps) < 200  # of 400: it did not go on to the end
    assert complete(client, SHORT).choices[0].text  # and the next is served


def test_a_failure_is_told_and_the_next_request_is_served(narrow):
    served, client, _ = narrow

    def fail(*_):
        raise RuntimeError("out of memory, say")

    hook = served.model.register_forward_pre_hook(fail)
    with pytest.raises(openai.InternalServerError, match="the model failed while it wrote: RuntimeError"):
        complete(client, SHORT)
    with pytest.raises(openai.APIError, match="the model failed while it wrote"):
        streamed(client, SHORT)
    hook.remove()
    assert complete(client, SHORT).choices[0].text


def test_open_requests_are_answered_before_it_ends():
    served = opened(None)
    answers = []
    with serving(served, rows=1) as (client, _):
        thread = threading.Thread(target=lambda: answers.append(complete(client, SHORT, max_tokens=60)))
        with Brake(served.model) as brake:
            thread.start()
            eventually(lambda: brake.calls)
    thread.join()  # `serving` told the server to end while the answer was being written
    assert answers[0].usage.completion_tokens == 60
