"""What a server is asked, and what is made of its answers: with an endpoint that answers by rule. No server."""

import math
from types import SimpleNamespace as Reading

import pytest

from ropewalk.errors import BadAnswer, BadLength
from ropewalk.jobs.doctor.live import measure
from ropewalk.jobs.doctor.live.client import Late, Refused
from ropewalk.jobs.doctor.live.measure import Cell, Round, fits, fitting, lengths_for, measure_keys, measure_loss
from support.watching import Advances

L = 512


class Texts:
    """A source of one character a token, until it learns another number; what it learnt is kept."""

    def __init__(self, count=2):
        self.count, self.learnt = count, []

    def before(self, passage, tokens):
        return "x" * tokens

    def with_key(self, passage, tokens, depth):
        return "x" * tokens, f"key{passage}"

    def learn(self, passage, characters, tokens):
        self.learnt.append((passage, characters, tokens))


class Server:
    """read: answers by (text, how many of the last tokens).  wrote: what stands after a prompt."""

    def __init__(
        self, most=10**6, logprob=lambda count: -2.0, wrote=lambda prompt: "key0 and more", tokens=lambda count: "ab"
    ):
        self.reader, self.client = Reading(most=most), Reading(root="http://h")
        self.logprob, self.wrote, self.tokens = logprob, wrote, tokens
        self.asked = []

    def read(self, text, last):
        self.asked.append((len(text), last))
        return Reading(logprobs=[self.logprob(len(text))] * last, tokens=tuple(self.tokens(len(text))), count=len(text))

    def write(self, prompt, new):
        self.asked.append((len(prompt), new))
        return self.wrote(prompt), len(prompt)


def asked(server, lengths=(256, 512, 1024, 2048), count=2, told=None):
    return Round(server, Texts(count), lengths, L, Advances(told))


def test_lengths_by_hand():
    """Half the window, the window, and doubled up to the target, which comes once and last."""
    assert lengths_for(512, 4096) == [256, 512, 1024, 2048, 4096]
    assert lengths_for(512, 3000) == [256, 512, 1024, 2048, 3000]
    assert lengths_for(512, 700) == [256, 512, 700]
    assert lengths_for(512, 1024) == [256, 512, 1024]
    for target in (512, 100):
        with pytest.raises(BadLength, match=f"reads {target:,} tokens and the model was made for 512"):
            lengths_for(512, target)


def test_a_loss_is_the_mean_over_the_last_eighth_of_the_window():
    """At every length the same 64 tokens; fewer where a server tells fewer."""
    told = []
    server = Server()
    cells = measure_loss(asked(server, told=told))
    assert [(c.passage, c.length, c.loss, c.tokens) for c in cells] == [
        (p, n, 2.0, 64) for p in range(2) for n in (256, 512, 1024, 2048)
    ]
    assert {last for _, last in server.asked} == {64}
    assert [size for size, _ in server.asked[:4]] == [240, 496, 1008, 2032]  # 16 tokens are left free
    assert [c.position for c in cells[:4]] == [240, 496, 1008, 2032]
    assert told == [256.0, 512.0, 1024.0, 2048.0] * 2
    few = Server(most=5)
    assert measure_loss(asked(few))[0].tokens == 5


def test_a_passage_that_is_cut_otherwise_at_another_length_is_not_the_same():
    with pytest.raises(BadAnswer, match="http://h cuts the same passage into other tokens at 1,024 than before"):
        measure_loss(asked(Server(tokens=lambda count: "ab" if count < 600 else "ba")))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_kept_with_its_trouble_and_asked_for_again(bad):
    """Of the next passage at that length, too: each is a finding. A refusal would end the length."""
    cells = measure_loss(asked(Server(logprob=lambda count: bad if count > 1500 else -2.0)))
    far = [c for c in cells if c.length == 2048]
    assert [c.passage for c in far] == [0, 1]
    assert all(math.isnan(c.loss) and "at 2,048 tokens are not numbers" in c.trouble for c in far)
    assert not any(c.trouble for c in cells if c.length < 2048)


@pytest.mark.parametrize("length", [256, 512])
def test_trouble_inside_the_window_or_at_its_end_leaves_nothing_to_judge(length):
    with pytest.raises(BadAnswer, match=f"inside the original window, with {length} tokens: .*not numbers"):
        measure_loss(asked(Server(logprob=lambda count: math.nan if count == length - 16 else -2.0)))


def test_a_length_that_is_refused_is_not_asked_for_again_and_the_bar_goes_on():
    """Five tries, each 6 % shorter: 2,032, 1,910, 1,795, 1,687, 1,585; then never again at 2,048."""
    told, tried = [], []

    class Small(Server):
        def read(self, text, last):
            if len(text) > 1100:
                tried.append(len(text))
                raise Refused("too long", 400)
            return super().read(text, last)

    cells = measure_loss(asked(Small(), told=told))
    assert tried == [2032, 1910, 1795, 1687, 1585]
    assert [(c.passage, c.length) for c in cells] == [(0, 256), (0, 512), (0, 1024), (0, 2048), (1, 256), (1, 512), (1, 1024)]
    assert "too long" in cells[3].trouble
    assert cells[3].loss is None
    assert sum(told) == 2 * (256 + 512 + 1024 + 2048)


def test_keys_are_found_where_the_answer_begins_with_them():
    """Each passage has its key at a depth of its own: of two, a quarter and three quarters."""
    cells = measure_keys(asked(Server(wrote=lambda prompt: "  key0, of course" if len(prompt) < 2000 else "no key0")))
    assert [c.found for c in cells] == [True, True, True, False] + [False] * 4
    assert [c.depth for c in cells] == [0.25] * 4 + [0.75] * 4
    assert all(c.loss is None for c in cells)


def test_what_is_nearly_as_long_as_asked():
    """Between three quarters of the room and all of it; 16 tokens are free at the end."""
    assert [fits(count, 1016) for count in (749, 750, 1000, 1001)] == [False, True, True, False]


def counting(*answers):
    """Answers in turn: a count of tokens, or an error to raise; what was aimed at is kept."""
    turn, aims = iter(answers), []

    def ask(tokens):
        aims.append(tokens)
        answer = next(turn)
        if isinstance(answer, Exception):
            raise answer
        return f"try {len(aims)}", 3 * tokens, answer

    return ask, aims


def test_a_prompt_that_is_far_too_short_or_too_long_is_made_again():
    source = Texts()
    ask, aims = counting(300, 1200, 990)
    assert fitting(ask, source, 1, 1016) == ("try 3", 990)
    assert aims == [1000] * 3
    assert source.learnt == [(1, 3000, 300), (1, 3000, 1200), (1, 3000, 990)]


def test_after_a_refusal_only_a_prompt_that_fits_teaches_how_long_text_is():
    """What a server counts in a shortened prompt is right, but one that is too short after a refusal must not grow again."""
    source = Texts()
    ask, aims = counting(Refused("no", 400), 700, 800)
    assert fitting(ask, source, 0, 1016) == ("try 3", 800)
    assert aims == [1000, 940, 940]
    assert source.learnt == [(0, 2820, 800)]


def test_it_gives_up_after_five_tries_and_says_why():
    assert "no prompt of about 1,016 tokens could be made" in fitting(counting(*[10] * 9)[0], Texts(), 0, 1016)
    ask, aims = counting(*[Refused("too long", 400)] * 9)
    assert "too long" in fitting(ask, Texts(), 0, 1016)
    assert len(aims) == 5


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_forbidden_or_not_there_is_no_finding_about_a_length(status):
    with pytest.raises(Refused):
        fitting(counting(Refused("no", status))[0], Texts(), 0, 1016)


def test_an_answer_that_does_not_come_is_waited_for_once():
    ask, aims = counting(Late("no whole answer"), 990)
    assert "no whole answer" in fitting(ask, Texts(), 0, 1016)
    assert len(aims) == 1


def test_the_numbers_are_those_of_the_documentation():
    assert (measure.NEW, measure.ROOM, measure.NEAR, measure.TRIES, measure.SHARE) == (8, 16, 0.75, 5, 0.06)
    assert Cell(0, 1).trouble == ""
