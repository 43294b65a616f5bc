"""A trainer beside its rollout: what differs is found, what is noise is not, and other tokens are never compared."""

import json
import math
import random

import numpy
import pytest

from jobs.doctor.test_live import LENGTHS, TEXT, L
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadAnswer, BadLength, BadOption
from ropewalk.jobs.doctor.live.client import Client
from ropewalk.jobs.doctor.live.endpoint import find
from ropewalk.jobs.doctor.stacks.job import compare
from ropewalk.jobs.doctor.stacks.measure import Stacks, k3, lengths_of
from ropewalk.jobs.doctor.stacks.sides import ModelSide, ServerSide, Words, of_server
from ropewalk.models.load import load_tokenizer
from ropewalk.models.served import open_model
from ropewalk.scaling.plan import make_plan
from support.fake_server import Fake, serving, tokens_of
from support.serving import TINY


class Vocabulary:
    """A tokenizer of the fake server's words, as transformers' are called; every word has one spelling."""

    def __init__(self):
        self.known = {}

    def ids(self, text):
        return [self.known.setdefault(word, len(self.known)) for word in tokens_of(text)]

    def spells(self, token, said):
        return list(self.known)[token] == said


def compared(one, other, words=None, **how):
    """Two fake servers."""
    with serving(one) as first, serving(other) as second:
        sides = [of_server(url, find(Client(url, 20.0)), words) for url in (first, second)]
        return compare(Stacks(*sides, words), LENGTHS, L, text=TEXT, **how)


def shifted(by, beyond=0.0):
    return Fake(logprob=lambda at: -2.0 - (by if at < L else beyond))


def test_the_same_numbers_are_alike():
    result = compared(Fake(), Fake())

    assert result.verdict == "ALIKE"
    assert [(band.length, band.beyond, band.tokens) for band in result.bands] == [
        (256, False, 768), (512, False, 768), (1024, True, 768), (2048, True, 768)
    ]  # fmt: skip
    assert {(band.apart.high, band.kl.high, band.largest) for band in result.bands} == {(0.0, 0.0, 0.0)}


def test_where_they_differ_is_said():
    beyond, inside = compared(Fake(), shifted(0.0, 0.5)), compared(Fake(), shifted(0.5, 0.5))

    assert [band.verdict for band in beyond.bands] == ["ALIKE", "ALIKE", "DIFFER", "DIFFER"]
    assert beyond.words.startswith("beyond the original window alone")
    assert [band.verdict for band in inside.bands] == ["DIFFER"] * 4
    assert inside.words.startswith("inside the original window too")
    assert beyond.bands[-1].mean.value == pytest.approx(-0.5)  # rollout minus trainer: it finds the text less likely
    assert beyond.bands[-1].kl.value == pytest.approx(math.exp(0.5) - 1 - 0.5)


@pytest.mark.parametrize(("noise", "verdict"), [(0.02, "ALIKE"), (0.062, "UNDECIDED"), (0.2, "DIFFER")])
def test_differences_of_both_signs_do_not_cancel(noise, verdict):
    """|x| of a normal deviate is 0.798 sigma on average: 0.016, 0.0495 and 0.16, beside a margin of 0.05."""
    chance = random.Random(3)
    result = compared(Fake(), Fake(logprob=lambda at: -2.0 + chance.gauss(0, noise)))
    assert result.verdict == verdict
    assert result.bands[0].apart.value == pytest.approx(0.798 * noise, rel=0.1)
    assert abs(result.bands[0].mean.value) < 0.2 * noise


@pytest.mark.parametrize(("margin", "verdict"), [(0.09, "DIFFER"), (0.11, "ALIKE")])
def test_the_margin_decides_what_matters(margin, verdict):
    assert compared(Fake(), shifted(0.1, 0.1), margin=margin).verdict == verdict


def test_k3_over_the_rollout_s_own_tokens_is_the_divergence():
    """Its mean under the rollout's distribution is KL(rollout || trainer) exactly: sum q ln(q / p), added up here."""
    chance = numpy.random.default_rng(0)
    q, p = (chance.dirichlet(numpy.ones(20)) for _ in range(2))
    assert (q * k3(numpy.log(q) - numpy.log(p))).sum() == pytest.approx((q * numpy.log(q / p)).sum(), rel=1e-12)
    assert k3(numpy.array([1e-9]))[0] == pytest.approx(0.5e-18, rel=1e-6)  # d^2 / 2, not lost in rounding
    assert math.isfinite(k3(numpy.array([-9999.0]))[0])  # as unlikely as vLLM says that a token is


def test_servers_of_other_forms_are_given_the_same_ids():
    words = Vocabulary()
    one, other = Fake(tells="forced"), Fake(tells="prompt_logprobs", logprob=lambda at: -2.5)
    result = compared(one, other, words)

    assert result.how == ("llama.cpp's /completion, token by token, ids sent", "prompt_logprobs, ids sent")
    assert result.verdict == "DIFFER"
    assert result.bands[0].tokens == 12 * 16  # as many as the slower reader is asked for
    asked = [body["prompt"] for path, body, _ in other.seen if path == "/v1/completions"]
    assert asked[-1] == words.ids("".join(list(words.known)[token] for token in asked[-1]))


def test_without_a_tokenizer_servers_that_spell_otherwise_are_refused():
    with pytest.raises(BadAnswer, match=r"or spell them in other ways\.\n  Give the model's folder with config \(--config\)"):
        compared(Fake(), Fake(tells="prompt_logprobs"))


def test_text_is_checked_token_by_token_where_ids_are_not_taken():
    words = Vocabulary()
    assert compared(Fake(), Fake(ids=False), words).how[1] == "echo with logprobs, text sent"

    def other_words(path, answer):
        return json.dumps(answer).replace('"one"', '"ones"').encode()

    with pytest.raises(BadAnswer, match=r"into other tokens: 'ones' where the other side has number"):
        compared(Fake(), Fake(ids=False, lie=other_words), words)

    class WithStart(Vocabulary):
        def ids(self, text):
            return [0, *super().ids(text)]

    with pytest.raises(BadAnswer, match="does one side alone add a start token"):
        compared(Fake(), Fake(ids=False), WithStart())


def test_the_spellings_of_a_real_tokenizer():
    """vLLM 0.32.0 echoed the bundled model's tokens 564, 525, 640 and 199 so on 2026-11-24; others give the vocabulary's."""
    words = Words(load_tokenizer(TINY))
    for token, said in ((564, " he"), (525, "ig"), (640, "ht"), (199, "\n"), (564, "564"), (564, "\u0120he")):
        assert words.spells(token, said)
        assert not words.spells(token + 1, said)


def test_a_server_that_adds_a_token_to_ids_is_not_compared():
    def one_more(path, answer):
        if "usage" in answer:
            answer["usage"]["prompt_tokens"] += 1
        return json.dumps(answer).encode()

    with pytest.raises(BadAnswer, match=r"was given [\d,]+ tokens by their ids and counts [\d,]+\."):
        compared(Fake(), Fake(lie=one_more), Vocabulary())


def test_a_refusal_or_nan_beyond_the_window_is_a_finding():
    result = compared(Fake(), Fake(reads=1100))
    assert result.verdict == "DIFFER"
    assert [band.length for band in result.bands] == [256, 512, 1024]
    assert len(result.findings) == 1
    assert "at 2,048 tokens" in result.findings[0]
    assert result.words == "one side does not answer where the other does."

    result = compared(Fake(), Fake(logprob=lambda at: -2.0 if at < L else math.nan))
    assert "are not numbers (NaN or infinite)" in result.findings[0]
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_refusal_inside_the_window_leaves_nothing_to_compare():
    with pytest.raises(BadAnswer, match=r"inside the original window, with 512 tokens: .* too long"):
        compared(Fake(), Fake(reads=300))


def test_a_server_without_log_probabilities_is_refused():
    with pytest.raises(BadAnswer, match="tells no log-probabilities of a prompt"):
        compared(Fake(), Fake(logprob=lambda at: None))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"passages": 1}, BadOption),
        ({"margin": 0.0}, BadOption),
        ({"margin": math.nan}, BadOption),
        ({"margin": math.inf}, BadOption),
    ],
)
def test_bad_settings(how, error):
    with pytest.raises(error):
        compared(Fake(), Fake(), **how)


def claiming(*claims):
    sides = [ServerSide(f"s{n}", _Claims(n), None, takes_ids=False) for n in claims]
    return Stacks(*sides, None)


class _Claims:
    def __init__(self, claimed):
        self.claimed = claimed


def test_as_far_as_both_read():
    assert lengths_of(claiming(2048, 4096), 512, None) == [256, 512, 1024, 2048]
    assert lengths_of(claiming(2048, None), 512, 1024) == [256, 512, 1024]
    assert lengths_of(claiming(512, 2048), 512, None) == [256, 512]
    with pytest.raises(BadOption, match="--to"):
        lengths_of(claiming(None, None), 512, None)


@pytest.mark.parametrize(("asked", "verdict"), [(False, "DIFFER"), (True, "ALIKE")])
def test_one_side_that_reads_no_further_than_the_window_is_a_finding_unless_it_was_meant(asked, verdict):
    with serving(Fake(claimed=512)) as one, serving(Fake()) as other:
        stacks = Stacks(*(of_server(url, find(Client(url)), None) for url in (one, other)), None)
        result = compare(stacks, [256, 512], L, text=TEXT, asked=asked)
    assert result.verdict == verdict
    assert bool(result.findings) is not asked
    assert asked or "reads 512 tokens, no more than the original window" in result.findings[0]


def test_a_window_that_is_too_short():
    with pytest.raises(BadLength, match="too short to examine"), serving(Fake()) as url:
        side = of_server(url, find(Client(url)), None)
        compare(Stacks(side, side, None), [16, 32], 32, text=TEXT)


# The bundled model, as a trainer loads it, beside the same with a fault that engines have had.


def model(method, factor, dtype="float32", **options):
    spec = read(read_config(checkpoint(TINY)))
    plan = make_plan(spec, factor=factor, method=method, options=options) if method else None
    return ModelSide(f"{method} {factor} {dtype}", open_model(TINY, plan, dtype=dtype))


@pytest.fixture(scope="module")
def trainer():
    return model("yarn", 4)


def beside(trainer, rollout):
    stacks = Stacks(trainer, rollout, Words(trainer.served.tokenizer))
    return compare(stacks, [512, 1024], L, passages=6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_noise_of_half_precision_is_alike(trainer, dtype):
    result = beside(trainer, model("yarn", 4, dtype))
    assert result.verdict == "ALIKE"
    assert 1e-7 < result.bands[-1].kl.value < 1e-3  # measured 3e-4 and 5e-6: it is not the same arithmetic


@pytest.mark.parametrize(
    "fault",
    [
        (None, 1), ("yarn", 8), ("ntk_by_parts", 4), ("ntk", 4), ("linear", 4),
    ],
    ids=["unscaled", "factor doubled", "attention factor lost", "another method", "another method, linear"],
)  # fmt: skip
def test_the_faults_of_engines_differ(trainer, fault):
    result = beside(trainer, model(*fault))
    assert result.verdict == "DIFFER"
    assert result.bands[-1].kl.value > 0.01  # at least 30 times what half precision makes
