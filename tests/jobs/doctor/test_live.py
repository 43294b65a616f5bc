"""A running server: healthy, sick, down, slow and lying, each a verdict or an error in words."""

import json
import math
import random

import pytest

from ropewalk.errors import BadAnswer, BadLength, BadOption
from ropewalk.jobs.doctor.live.client import Client, Late, key_from, root_of
from ropewalk.jobs.doctor.live.endpoint import find
from ropewalk.jobs.doctor.live.job import WrittenConfig, examine
from ropewalk.jobs.doctor.live.measure import lengths_for
from support.fake_server import Fake, serving, tokens_of

L = 512
LENGTHS = [256, 512, 1024, 2048]
# Words with a line break now and then: a token is a word here, and a pass key is hidden between lines.
TEXT = "".join(random.Random(0).choices(["one ", "three ", "seven ", "eleven ", "x\n "], k=40_000))


def asked(fake, timeout=20.0, key=None, **how):
    with serving(fake) as url:
        endpoint = find(Client(url, timeout, key))
        return examine(endpoint, LENGTHS, L, text=TEXT, **how)


def test_a_loss_that_stays_is_pass():
    result = asked(Fake())

    assert result.verdict == "PASS"
    assert [step.verdict for step in result.loss] == ["", "", "PASS", "PASS"]
    assert [round(step.loss.value, 6) for step in result.loss] == [2.0] * 4
    assert [step.found for step in result.keys] == [12] * 4
    assert result.findings == ()


def test_a_loss_that_rises_beyond_the_window_is_fail():
    result = asked(Fake(logprob=lambda at: -2.0 if at < L else -3.0))

    assert result.verdict == "FAIL"
    assert [round(step.difference.value, 3) for step in result.loss[2:]] == [1.0, 1.0]


@pytest.mark.parametrize(("rise", "verdict"), [(0.05, "PASS"), (0.2, "FAIL")])
def test_the_margin_decides_what_matters(rise, verdict):
    fake = Fake(logprob=lambda at: -2.0 - (rise if at >= L else 0.0))
    assert asked(fake, margin=0.1).verdict == verdict


def test_noise_as_large_as_the_margin_is_inconclusive():
    noise = random.Random(0)
    result = asked(Fake(logprob=lambda at: -abs(noise.gauss(4, 4))), margin=0.02)
    assert result.verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(("remembers", "verdict"), [(10**9, "PASS"), (L, "FAIL")])
def test_without_log_probabilities_the_pass_key_decides_alone(remembers, verdict):
    result = asked(Fake(logprob=lambda at: None, remembers=remembers))

    assert result.verdict == verdict
    assert result.loss == ()
    assert "pass keys alone decide" in result.notes[0]
    assert result.keys[-1].share.low == pytest.approx(0.7575 if verdict == "PASS" else 0.0, abs=1e-4)  # Wilson, 12 of 12


def test_an_echo_that_is_one_token_late_is_not_believed():
    """As llama-cpp-python's (its issue 1983): what is expected in the last place changes with the token that stands there."""
    result = asked(Fake(late=True))
    assert (result.how, result.loss, result.verdict) == ("", (), "PASS")
    assert "pass keys alone decide" in result.notes[0]


def test_a_model_that_finds_no_key_anywhere_says_nothing_by_it():
    assert asked(Fake(logprob=lambda at: None, remembers=0)).verdict == "INCONCLUSIVE"


def test_few_trials_do_not_decide():
    assert asked(Fake(logprob=lambda at: None), passages=4).verdict == "INCONCLUSIVE"


def test_a_claimed_length_that_is_refused_is_a_finding_and_asked_for_once():
    fake = Fake(reads=1100)
    result = asked(fake)

    assert result.verdict == "FAIL"
    assert "at 2,048 tokens" in result.findings[0]
    assert "are too long" in result.findings[0]
    assert sum(len(tokens_of(body["prompt"])) > 1100 for _, body, _ in fake.seen if body) == 5


def test_nan_beyond_the_window_is_a_finding():
    result = asked(Fake(logprob=lambda at: -2.0 if at < L else math.nan))
    assert result.verdict == "FAIL"
    assert "12 of the requests: its log-probabilities at 1,024 tokens are not numbers" in result.findings[0]
    json.dumps(result.to_dict(), allow_nan=False)


def test_nan_inside_the_window_leaves_nothing_to_compare_with():
    with pytest.raises(BadAnswer, match=r"inside the original window.*not numbers"):
        asked(Fake(logprob=lambda at: math.nan))


def test_more_than_the_config_means_is_a_factor_applied_twice():
    result = asked(Fake(claimed=4096), written=WrittenConfig(L, 2048))
    assert result.verdict == "FAIL"
    assert "x2 of the 2,048" in result.findings[0]


def _without_one(path, answer):
    """One log-probability fewer than tokens."""
    told = (answer.get("choices") or [{}])[0].get("logprobs")
    if told:
        told["token_logprobs"].pop(3)
    return json.dumps(answer).encode()


def _likelier_than_sure(path, answer):
    return json.dumps(answer).replace("-2.0", "2.0").encode()


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        (Fake(lie=lambda path, answer: b"<html><title>Welcome</title>"), "did not answer with JSON but with '<html>"),
        (Fake(lie=lambda path, answer: b"[]"), "lists no model"),
        (Fake(lie=_without_one), "log-probabilities for .* they do not belong to these tokens"),
        (Fake(lie=_likelier_than_sure), "a probability above 1"),
        (Fake(claimed=-5), "reads -5 tokens"),
        (Fake(claimed="many"), "reads 'many' tokens"),
        (Fake(status=404), "no /v1/models"),
        (Fake(status=401), r"api_key_env \(--api-key-env\)"),
        (Fake(status=302), "points elsewhere"),
        (Fake(status=500), "answered status 500: 'no'"),
    ],
)
def test_lies_are_errors_in_words(fake, words):
    with pytest.raises(BadAnswer, match=words):
        asked(fake)


def test_a_server_that_is_down():
    with pytest.raises(BadAnswer, match=r"cannot be reached: .*refused.* Is the server running"):
        find(Client("http://127.0.0.1:9"))


def test_a_server_that_is_slow():
    with pytest.raises(Late, match=r"no whole answer in 0\.3 s.*--timeout"):
        asked(Fake(wait=5), timeout=0.3)


def test_a_busy_server_is_asked_again_until_time_is_up():
    fake = Fake(status=429)
    with pytest.raises(Late, match="busy"):
        asked(fake, timeout=2.5)
    assert len(fake.seen) > 1


def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("SECRET", "sk-123")
    fake = Fake(lie=lambda path, answer: b"your key is sk-123")
    with pytest.raises(BadAnswer) as error:
        asked(fake, key=key_from("SECRET"))
    assert fake.seen[0][2]["Authorization"] == "Bearer sk-123"
    assert "sk-123" not in str(error.value)
    assert "sk-123" not in repr(Client("http://x", key="sk-123"))


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "schlüssel"])
def test_what_no_header_carries_is_refused_without_being_shown(monkeypatch, value):
    monkeypatch.setenv("SECRET", value)
    with pytest.raises(BadOption, match="SECRET") as error:
        key_from("SECRET")
    assert not value or value not in str(error.value)


@pytest.mark.parametrize(
    ("url", "root"),
    [("http://127.0.0.1:8000", "http://127.0.0.1:8000"), ("https://h/v1/", "https://h"), ("http://[::1]:80/a/v1", "http://[::1]:80/a")],
)  # fmt: skip
def test_addresses(url, root):
    assert root_of(url) == root


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h", "http://", "http://u:p@h", "http://h:99999", "http://h?q=1"])
def test_other_addresses_are_refused(url):
    with pytest.raises(BadOption):
        root_of(url)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_that_decides_nothing_is_refused(margin):
    with pytest.raises(BadOption, match="a finite margin above 0"):
        asked(Fake(), margin=margin)


def test_lengths_double_and_end_at_the_target():
    assert lengths_for(512, 3000) == [256, 512, 1024, 2048, 3000]
    with pytest.raises(BadLength, match="nothing beyond to test"):
        lengths_for(512, 512)
