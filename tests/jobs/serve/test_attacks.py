"""What somebody may send to hurt the others: whatever is wrong with a request is told to that one alone, and soon."""

import json
import threading
import time

import openai
import pytest
import torch
import urllib3

from jobs.serve.test_serve import NEW, SHORT, Brake, complete, eventually, streamed
from ropewalk.jobs.serve.answer import Answer, Stop
from ropewalk.jobs.serve.server import build_engine, build_server, listen
from support.serving import TINY, opened

JSON = {"Content-Type": "application/json"}


def post(client, body, path="completions", timeout=60):
    answer = urllib3.request("POST", f"{client.base_url}{path}", body=body, headers=JSON, timeout=timeout, retries=False)
    return answer.status, json.loads(answer.data)


def together(client, served, asked):
    """The answers, or errors, of requests that decode in the same steps."""
    found = [None] * len(asked)

    def ask(i, more):
        try:
            found[i] = complete(client, SHORT, **{"max_tokens": 40, **more}).choices[0].text
        except openai.APIError as error:
            found[i] = error

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(asked)]
    with Brake(served.model):
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    return found


# --- one request's failure is its own


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e-40, 1e-8])
def test_a_temperature_next_to_0_is_as_good_as_0(causal, temperature):
    served, client, _ = causal
    alone = complete(client, SHORT, max_tokens=40).choices[0].text
    found = together(client, served, [{}, {"temperature": temperature}, {"temperature": temperature, "top_p": 0.5}, {}])
    assert found == [alone] * 4


def test_a_row_that_cannot_choose_its_token_fails_alone(each, monkeypatch):
    served, client = each
    alone = complete(client, SHORT, max_tokens=40).choices[0].text
    choose = Answer._choose

    def fails(self, logits):
        if self.wanted.seed == 13 and self.written == 5:
            raise ValueError("unlucky")
        return choose(self, logits)

    monkeypatch.setattr(Answer, "_choose", fails)
    found = together(client, served, [{}, {"seed": 13}, {}, {"max_tokens": 41}])
    assert isinstance(found[1], openai.InternalServerError)
    assert "ValueError" in str(found[1])
    assert [found[0], found[2]] == [alone, alone]
    assert found[3].startswith(alone)


def test_a_forward_that_fails_for_one_row_is_done_again_row_by_row(each):
    """Who is to blame is found out by writing each by itself; what the others are told goes on where it was."""
    served, client = each
    poison = served.tokens("~")[-1]
    alone = complete(client, SHORT, max_tokens=40).choices[0].text
    longer = streamed(client, SHORT + " ", max_tokens=40)

    def fail(module, args, *_):
        ids = args[0]
        if len(ids) > 1:  # in company
            raise RuntimeError("illegal memory access, say")
        if ids.shape[1] > 1 and poison in ids[0] and ids.shape[1] > poison_length:  # and by itself, when it is read again
            raise RuntimeError("illegal memory access, say")

    poison_length = len(served.tokens(SHORT + "~"))
    hook = served.model.register_forward_pre_hook(fail)
    got = {}
    asked = [(SHORT, False), (SHORT + "~", False), (SHORT + " ", True)]

    def ask(i, prompt, stream):
        try:
            how = {"max_tokens": 40}
            got[i] = streamed(client, prompt, **how) if stream else complete(client, prompt, **how).choices[0].text
        except openai.APIError as error:
            got[i] = error

    threads = [threading.Thread(target=ask, args=(i, *one)) for i, one in enumerate(asked)]
    try:
        with Brake(served.model) as brake:
            threads[1].start()
            eventually(lambda: brake.calls)  # it is the first, and is joined by the others
            threads[0].start()
            threads[2].start()
            time.sleep(0.5)
        for thread in threads:
            thread.join()
    finally:
        hook.remove()
    assert isinstance(got[1], openai.InternalServerError)
    assert (got[0], got[2]) == (alone, longer)
    assert complete(client, SHORT, max_tokens=40).choices[0].text == alone


def test_a_model_that_answers_nan_is_an_error_and_no_token(causal):
    served, client, _ = causal

    def spoil(module, args, output):
        output.logits = torch.full_like(output.logits, torch.nan)

    hook = served.model.register_forward_hook(spoil)
    try:
        for temperature in (0, 1):
            with pytest.raises(openai.InternalServerError, match="NaN or infinity after 11 tokens"):
                complete(client, SHORT, temperature=temperature)
    finally:
        hook.remove()


# --- what is no text


@pytest.mark.parametrize("text", [r"\ud800", r"caf\udce9", r"a\udc00\ud800"])
def test_half_a_surrogate_pair_is_told_to_whoever_sent_it(causal, monkeypatch, text):
    served, client, _ = causal
    monkeypatch.setattr(served.tokenizer, "chat_template", "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}")
    quoted = f'"{text}"'
    role = f'"messages": [{{"role": {quoted}, "content": "hi"}}]'
    for path, body in {
        "completions": [f'"prompt": {quoted}', f'"prompt": ["a", {quoted}]'],
        "chat/completions": [said(quoted), role],
    }.items():
        for field in body:
            status, answer = post(client, f'{{"model": "{TINY}", {field}, "max_tokens": 3}}', path)
            assert (status, "half of a surrogate pair" in answer["error"]["message"]) == (400, True), (field, answer)
    assert post(client, f'{{"model": {quoted}, "prompt": "a"}}')[0] == 400
    assert post(client, f'{{"model": "{TINY}", "prompt": "a", {quoted}: 1}}')[0] == 400
    assert post(client, f'{{"model": "{TINY}", "prompt": "a", "stop": {quoted}, "max_tokens": 2}}')[0] == 200


@pytest.mark.parametrize(
    "field",
    [
        '"temperature": NaN', '"top_p": Infinity', '"max_tokens": 1' + "0" * 400, '"seed": 1' + "0" * 5000,
        '"presence_penalty": NaN', '"frequency_penalty": 1e999', '"repetition_penalty": 0', '"top_k": -2', '"top_k": 1.5',
        '"prompt": [true]', '"prompt": [1.0]', '"prompt": [["a"]]', '"prompt": [1, "a"]', '"prompt": [[1], "a"]',
        '"prompt": {}',
        '"prompt": [1' + "0" * 400 + "]", '"x": ' + "[" * 20000 + "]" * 20000, '"stop": [1]', '"stop": ["a", null]',
    ],
)  # fmt: skip
def test_numbers_and_forms_that_no_request_has(causal, field):
    _, client, _ = causal
    status, answer = post(client, f'{{"model": "{TINY}", "prompt": "a", {field}}}')
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert len(answer["error"]["message"]) < 1000


# --- what is too much


def timed(ask):
    start = time.monotonic()
    return ask(), time.monotonic() - start


def many(item, count=200_000):
    return "[" + ",".join([item] * count) + "]"


def keys(count):
    return ",".join(f'"k{i}": 0' for i in range(count))


def said(content, more=""):
    return f'"messages": [{{"role": "user", "content": {content}{more}}}]'


LONG = '"' + "x" * 400_000 + '"'
SHORT_STOP = '"x"'
CHAT = "chat/completions"


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("completions", f'"prompt": {many("null")}', "prompt: Input should be a valid string"),
        ("completions", f'"prompt": {many("1")[:-1]}, "a"]', "prompt: Input should be a valid string"),
        ("completions", f'"prompt": {many("1")}', "reaches 4,096"),
        ("completions", f'"prompt": {many("[]")}', "200,000 answers are wanted, and 256 may wait here"),
        ("completions", f'"prompt": {LONG}', "400,000 characters"),
        ("completions", f'"prompt": "a", "stop": {many("null")}', "at most 16 strings"),
        ("completions", f'"prompt": "a", "stop": {LONG}', "at most 1,000 characters"),
        ("completions", f'"prompt": "a", "stop": {many(SHORT_STOP, 1000)}', "at most 16 strings"),
        ("completions", f'"prompt": "a", {keys(99_998)}', "an object has 100,000 keys"),
        ("completions", f'"prompt": "a", "user": {LONG}', "user: String should have at most"),
        (CHAT, f'"messages": {many("null")}', "messages: Input should be a valid dict"),
        (CHAT, said(many("0")), "messages: Input should be a valid"),
        (CHAT, said(many("{}")), "messages: "),
        (CHAT, said('"a"', ", " + keys(99_998)), "an object has 100,000 keys"),
        (CHAT, said(LONG), "400,000 characters"),
    ],
)
def test_what_is_long_is_refused_at_once_and_in_words(causal, monkeypatch, path, field, words):
    served, client, _ = causal
    monkeypatch.setattr(served.tokenizer, "chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")
    body = f'{{"model": "{TINY}", {field}}}'
    (status, answer), seconds = timed(lambda: post(client, body, path))
    assert status == 400, answer
    assert words in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 1000
    assert seconds < 3  # the first took 115 s, and held up everybody else


def test_a_body_that_no_request_needs_is_413(causal):
    _, client, _ = causal
    (status, answer), seconds = timed(lambda: post(client, '{"prompt": "%s"}' % ("x" * 20_000_000)))
    assert (status, answer["error"]["type"]) == (413, "invalid_request_error")
    assert "more than 8,650,752 bytes" in answer["error"]["message"]
    assert seconds < 3
    chunks = (b"x" * 100_000 for _ in range(200))  # without a Content-Length
    answer = urllib3.PoolManager().urlopen("POST", f"{client.base_url}completions", body=chunks, headers=JSON, chunked=True)
    assert answer.status == 413
    assert complete(client, SHORT).choices[0].text


def test_others_are_answered_while_a_long_prompt_is_tokenised(causal, monkeypatch):
    served, client, _ = causal
    go, begun = threading.Event(), threading.Event()
    tokens = type(served).tokens

    def slow(self, text, **how):
        if len(text) > 1000:
            begun.set()
            go.wait(60)
        return tokens(self, text, **how)

    monkeypatch.setattr(type(served), "tokens", slow)
    thread = threading.Thread(target=complete, args=(client, "x = 1\n" * 200))
    thread.start()
    assert begun.wait(30)
    assert complete(client, SHORT).choices[0].text
    go.set()
    thread.join()


# --- stop strings


def test_every_character_is_looked_at_once():
    """Steps of the matcher, not seconds: at most two for each character of the stop string and of the text."""
    steps = 0

    class Counted(Stop):
        def _after(self, begun, character):
            nonlocal steps
            while begun and self._text[begun] != character:
                begun, steps = self._shorter[begun], steps + 1
            steps += 1
            return begun + (self._text[begun] == character)

    stop = Counted("a" * 5000 + "b")
    for i in range(2000):
        assert stop.find("aaa" if i % 100 else "aac", 3 * i) is None
    assert steps <= 2 * (5000 + 6000)
    assert Stop("a" * 5000 + "b").find("a" * 5003 + "b", 0) == 3


@pytest.mark.parametrize("stop", ["aab", "abab", "aa", "abaab", "b", "aabaaab"])
def test_the_matcher_finds_what_find_finds(stop):
    for number in range(2**12):
        text = "".join("ab"[number >> i & 1] for i in range(12))
        matcher, found = Stop(stop), None
        for i in range(0, 12, 3):
            found = matcher.find(text[i : i + 3], i)
            if found is not None:
                break
            so_far = text[: i + 3]
            assert matcher.begun == max(n for n in range(len(stop)) if so_far.endswith(stop[:n]))
        assert (-1 if found is None else found) == text.find(stop)


# --- the end


def ended(served, grace, signals):
    """What an open request and a stream are told when the server is told to stop while they are written."""
    engine, told = build_engine(served, rows=2, waiting=8), []
    with listen("127.0.0.1", 0) as opened_socket:
        server = build_server(served, engine, TINY, "127.0.0.1")
        server._grace = grace
        running = threading.Thread(target=server.run, kwargs={"sockets": [opened_socket]})
        running.start()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{opened_socket.getsockname()[1]}/v1", api_key="none", max_retries=0)
        hook = served.model.register_forward_pre_hook(lambda *_: time.sleep(0.05))

        def ask(how):
            try:
                told.append(how(client, SHORT, max_tokens=400))
            except openai.APIError as error:
                told.append(error)

        threads = [threading.Thread(target=ask, args=(how,)) for how in (complete, streamed)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(engine._running) == 2)
        for _ in range(signals):
            server.handle_exit(2, None)
        for thread in (*threads, running):
            thread.join(30)
            assert not thread.is_alive()
        hook.remove()
    return told


@pytest.mark.parametrize(("grace", "signals"), [(0.3, 1), (600, 2)])
def test_requests_that_are_open_at_the_end_are_told_and_nothing_is_printed(capfd, grace, signals):
    told = ended(opened(None), grace, signals)
    assert len(told) == 2
    assert all("the server is stopping" in str(error) for error in told)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


# --- settings


def test_top_k_and_penalties_are_what_they_are_in_vllm(causal):
    """Against one forward of the model, and the formulas of vLLM's sampler: repetition over prompt and answer, presence and
    frequency over the answer alone (vllm/model_executor/layers/utils.py, apply_penalties)."""
    served, client, _ = causal
    prompt = "x = 1\nx = 1\nx = "
    more = {"repetition_penalty": 1.3, "top_k": 1}
    how = dict(max_tokens=12, presence_penalty=0.4, frequency_penalty=0.7, extra_body=more, logprobs=0)
    greedy = complete(client, prompt, temperature=0, **how).choices[0].text
    assert complete(client, prompt, temperature=2, seed=1, **how).choices[0].text == greedy  # top_k of 1 leaves one
    ids, written = served.tokens(prompt), []
    for _ in range(12):
        with torch.no_grad():
            scores = served.model(torch.tensor([ids + written]), use_cache=False).logits[0, -1].double()
        for token in set(ids + written):
            scores[token] *= 1.3 if scores[token] < 0 else 1 / 1.3
        for token in set(written):
            scores[token] -= 0.4 + 0.7 * written.count(token)
        written.append(int(scores.argmax()))
    assert greedy == served.tokenizer.decode(written)
    assert greedy != complete(client, prompt, max_tokens=12).choices[0].text


def test_top_k_draws_from_so_many(causal):
    _, client, _ = causal
    likely = {token for token in complete(client, SHORT, max_tokens=1, logprobs=3).choices[0].logprobs.top_logprobs[0]}
    drawn = {
        complete(client, SHORT, max_tokens=1, temperature=2, n=16, seed=seed, extra_body={"top_k": 3}).choices[i].text
        for seed in (0, 100)
        for i in range(16)
    }
    assert len(drawn) > 1
    assert drawn <= likely


def test_a_response_format_of_text_is_what_is_written_anyway(causal):
    _, client, _ = causal
    plain = complete(client, SHORT).choices[0].text
    assert complete(client, SHORT, extra_body={"response_format": {"type": "text"}}).choices[0].text == plain
    with pytest.raises(openai.BadRequestError, match="response_format"):
        complete(client, SHORT, extra_body={"response_format": {"type": "json_object"}})


def test_a_line_for_each_request_and_a_page_that_asks_nobody_else():
    served, lines = opened(None), []
    engine = build_engine(served, rows=2, waiting=8)
    with listen("127.0.0.1", 0) as opened_socket:
        server = build_server(served, engine, "my-model", "127.0.0.1", lines.append)
        running = threading.Thread(target=server.run, kwargs={"sockets": [opened_socket]})
        running.start()
        root = f"http://127.0.0.1:{opened_socket.getsockname()[1]}"
        client = openai.OpenAI(base_url=f"{root}/v1", api_key="none", max_retries=0)
        complete(client, SHORT, model="my-model")
        streamed(client, SHORT, model="my-model", n=2)
        with pytest.raises(openai.NotFoundError, match="my-model"):
            complete(client, SHORT)
        urllib3.request("GET", f"{root}/v1/models/%1b%5b31m")
        page = urllib3.request("GET", root)
        server.should_exit = True
        running.join()
    said = [line.split(" ", 1)[1] for line in lines]
    assert said[0].startswith("POST /v1/completions 200, ")
    assert said[0].endswith(f" s: 11 tokens read, {NEW} written")
    assert said[1].endswith(f" s: 11 tokens read, {2 * NEW} written")
    assert said[2].startswith("POST /v1/completions 404, ")
    assert said[3].startswith("GET /v1/models/%1B%5B31m 404, ")  # nothing that a terminal would obey
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = page.data.decode()
    assert "/v1/chat/completions" in text
    assert "http" not in text.replace("/v1", "")  # it names no other place
