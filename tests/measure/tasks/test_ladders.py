"""Ladders: what a perfect, a blind and a wrong-position reader get, by teacher forcing and by generation."""

import random
import re
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from ropewalk.errors import BadLength, BadOption, UnknownName
from ropewalk.measure.greedy import generate_answers, greedy
from ropewalk.measure.material import Material
from ropewalk.measure.retrieval import check_chat, expand_tasks, make_samples
from ropewalk.measure.retrieval_tables import ladder_shares, retrieval_grids
from ropewalk.measure.reuse import read_answers
from ropewalk.measure.task import get_task, ladders
from ropewalk.models.load import load_tokenizer
from support.synthetic import answer, plans

TRIED = [
    "keys-0",
    "keys-3",
    "keys-16",
    "digits-4",
    "digits-32",
    "quote-4",
    "quote-32",
    "walk-1",
    "walk-4",
]
NONE = plans(["none"])["none"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}[/]{% endfor %}"
    "{% if add_generation_prompt %}[bot]{% endif %}"
)


@pytest.fixture(scope="module")
def material():
    """Code of numbered lines: no two passages of it are alike."""
    made = Material(load_tokenizer("ropewalk-tiny"), "")
    made.__dict__["code_ids"] = tuple(made.encode("".join(f"x_{i} = {i * i}\n" for i in range(4000))))
    return made


def samples(material, name, count=6, length=1500, depths=(0.0, 0.6), **options):
    return list(get_task(name)(material, length=length, count=count, depths=depths, **options))


# --- readers: what they see is text, and nothing of how it was made ---


def told(text):
    """Values by name, in the order in which they stand."""
    return dict(re.findall(r"# The (\w+) key is (\d+)\. Remember it\. \2 is the \1 key\.", text))


def roads(text):
    """Where the road goes on to, of the last walk's context: written examples say nothing else."""
    return dict(re.findall(r"# From (\w+) the road goes on to (\w+)\.", text))


def walked(text, start, end):
    way, at = [], start
    while at != end:
        way.append((at, roads(text)[at]))
        at = way[-1][1]
    written = "".join(f"\n# From {a} the road goes on to {b}." for a, b in way)
    return written.removeprefix(f"\n# From {start} the road goes on to")


def asked_walk(text, which=-1):
    return re.findall(r"Which way does the road from (\w+) go, stop by stop, to (\w+)\?", text)[which]


def quoted(text, shift=0):
    """What follows the first place where the prompt's end stands; `shift` characters further on for a wrong place."""
    shown = next(text[-n:] for n in range(400, 3, -1) if text[:-n].count(text[-n:]))
    at = text.index(shown) + len(shown) + shift
    return text[at : at + 400]


def perfect(stem, text):
    if stem in ("keys", "digits"):
        return told(text)["pass"]
    return walked(text, *asked_walk(text)) if stem == "walk" else quoted(text)


def elsewhere(stem, text):
    """Reads at another place of the same prompt."""
    if stem == "keys":
        return next((value for name, value in told(text).items() if name != "pass"), "12321")
    if stem == "digits":
        return re.findall(r"x_\d+ = (\d+)", text)[3]
    return walked(text, *asked_walk(text, 0)) if stem == "walk" else quoted(text, shift=30)


def blind(stem, text):
    """Has the last line alone, and guesses."""
    return {"walk": " wolf.", "quote": "x_1 = 1\n"}.get(stem, "31415926" * 40)


READERS = {"perfect": perfect, "blind": blind, "elsewhere": elsewhere}


class Reader(torch.nn.Module):
    """A model that writes what a reader says, one token after another, whatever stands before in its answer."""

    def __init__(self, material, sample, text, vocabulary):
        super().__init__()
        self.config, self.device, self.generation_config = (
            LlamaConfig(),
            torch.device("cpu"),
            SimpleNamespace(eos_token_id=None),
        )
        self.said, self.first, self.vocabulary, self.seen = (
            [*material.encode(text), *[0] * 600],
            sample.answer_start,
            vocabulary,
            0,
        )
        self.base_model = self

    def get_output_embeddings(self):
        return None

    def forward(self, ids, past_key_values=None, cache=None, use_cache=False, **more):
        self.seen = self.seen + ids.shape[1] if ids.shape[1] == 1 else ids.shape[1]
        logits = torch.zeros(1, ids.shape[1], self.vocabulary)
        for row, position in enumerate(range(self.seen - ids.shape[1], self.seen)):
            if position >= self.first - 1:
                logits[0, row, self.said[position - self.first + 1]] = 10.0
        keep = more.get("logits_to_keep", 0)
        return SimpleNamespace(logits=logits[:, keep] if isinstance(keep, torch.Tensor) else logits[:, -keep:])


def verdicts(material, sample, reader):
    """(by teacher forcing, by generation)."""
    model = Reader(
        material, sample, reader(sample.task.split("-")[0], material.decode(sample.prompt)), len(material.tokenizer)
    )
    (read,) = read_answers(model, NONE, [sample], reuse=False)
    (written,) = greedy(model, [sample.prompt], [sample.new_tokens], ends=frozenset())
    if not sample.task.startswith("quote"):  # a passage may end in blanks, which a comparison of texts leaves away
        ((_, score),) = generate_answers(model, NONE, [sample], material, scoring_name="exact", batch=1, reuse=False)
        assert score == float(tuple(written) == sample.answer)
    return read.exact, tuple(written) == sample.answer


@pytest.mark.parametrize("name", TRIED)
def test_a_perfect_reader_gets_all_a_blind_one_and_one_that_reads_elsewhere_nothing(name, material):
    """Both verdicts, and they are one. Guesses are right once in 10,000 cases here or less."""
    for sample in samples(material, name, count=2):
        found = {who: verdicts(material, sample, reader) for who, reader in READERS.items()}
        assert found == {"perfect": (True, True), "blind": (False, False), "elsewhere": (False, False)}


@pytest.mark.parametrize(("rung", "chance"), [(1, 1 / 2), (3, 1 / 4), (8, 1 / 9)])
def test_who_reads_any_key_is_right_as_often_as_chance_is(rung, chance, material):
    """Of 200 drawn with replacement a share strays by more than 0.12 in one test of 1,000 at most (Hoeffding: 2 exp(-2 n d^2)
    is 0.006 at d = 0.12; the binomial's own tail, at p = 1/2, is 0.0009)."""
    rng, hits = random.Random(0), 0
    for sample in samples(material, f"keys-{rung}", count=200, length=800, depths=(0.5,)):
        hits += rng.choice(list(told(material.decode(sample.prompt)).values())) == sample.references[0]
    assert abs(hits / 200 - chance) <= 0.12


@pytest.mark.parametrize("name", TRIED)
def test_a_rung_hides_what_its_number_says(name, material):
    stem, number = name.split("-")
    for sample in samples(material, name, count=3):
        text, said = material.decode(sample.prompt), material.decode(sample.answer)
        found = {
            "keys": len(told(text)) - 1,
            "digits": len(told(text)["pass"]) if stem == "digits" else 0,
            "walk": said.count("goes on to") + 1,
            "quote": len(sample.answer),
        }[stem]
        assert found == int(number)
        assert sample.references == (said,)
        assert len(sample.ids) == sample.answer_end == 1500


def test_rung_0_of_keys_and_rung_5_of_digits_are_the_pass_key(material):
    """In the words of `passkey`, the task that the bundled model was trained on."""
    for name in ("keys-0", "digits-5", "passkey"):
        for sample in samples(material, name, count=2, depths=(0.6,)):
            key, text = material.decode(sample.answer), material.decode(sample.prompt)
            assert re.fullmatch(r"\d{5}", key)
            assert text.count(f"\n# The pass key is {key}. Remember it. {key} is the pass key.\n") == 1
            assert text.endswith("\n# What is the pass key? The pass key is ")


def test_rungs_share_their_haystack_and_what_they_hide(material):
    low, high = (samples(material, name, depths=(1.0,)) for name in ("digits-4", "digits-32"))
    for a, b in zip(low, high, strict=True):
        assert b.references[0].startswith(a.references[0])
        assert a.ids[:1000] == b.ids[:1000]


def test_the_shown_beginning_of_a_quote_stands_once_before_the_question(material):
    for sample in samples(material, "quote-8"):
        shown = material.decode(sample.ids[sample.answer_start - 16 : sample.answer_start])
        assert material.decode(sample.prompt).count(shown) == 2
        assert material.decode(sample.prompt).count(shown + material.decode(sample.answer)) == 1


def test_a_text_too_short_for_a_passage_from_outside_is_refused():
    short = Material(load_tokenizer("ropewalk-tiny"), "x = 1\n" * 200)
    with pytest.raises(BadLength, match="a passage from outside the haystack needs a text of more than 1,528 tokens"):
        samples(short, "quote-4", length=1000)
    same = Material(load_tokenizer("ropewalk-tiny"), "x = 1\n" * 2000)
    with pytest.raises(BadLength, match="the text repeats itself too much"):
        samples(same, "quote-4", length=1000)


# --- names ---


def test_a_ladder_is_named_whole_or_by_rung():
    assert expand_tasks(["quote", "keys-3"], {}) == [f"quote-{n}" for n in (1, 2, 4, 8, 16, 32)] + ["keys-3"]
    assert get_task("keys-3").summary == get_task("keys-1").summary
    for ladder in ladders().values():
        assert len(ladder.tasks) >= 4
        assert all(get_task(name).source for name in ladder.tasks)


def test_a_rung_out_of_range_is_refused_in_words():
    with pytest.raises(BadOption, match=r"digits-0: the rungs of digits go from 1 to 256\."):
        get_task("digits-0")
    with pytest.raises(UnknownName, match="Did you mean 'keys-1"):
        get_task("kexs-1")
    with pytest.raises(UnknownName):
        get_task("keys-x")


# --- chat templates ---


@pytest.fixture
def chatting(material):
    made = Material(load_tokenizer("ropewalk-tiny"), "")
    made.__dict__["code_ids"] = material.code_ids
    made.tokenizer.chat_template = TEMPLATE
    return made


@pytest.mark.parametrize("name", ["keys-2", "walk-2", "digits-6", "quote-4"])
def test_in_a_chat_template_the_question_is_the_users_and_the_reply_is_begun(name, chatting):
    """What the tokenizer's own template makes of the conversation, the reply's beginning after it."""
    stem = name.split("-")[0]
    begun = {"keys": " The pass key is ", "digits": " The pass key is "}
    for sample in samples(chatting, name, chat=True, count=2):
        text = chatting.tokenizer.decode(sample.prompt, skip_special_tokens=False)
        user, reply = re.fullmatch(r"(?s).*?\[user\](.*)\[/\]\[bot\](.*)", text).groups()
        whole = chatting.tokenizer.apply_chat_template(
            [{"role": "user", "content": user}], add_generation_prompt=True, tokenize=False
        )
        assert text == whole + reply
        assert len(sample.ids) == 1500
        assert reply
        assert reply == begun.get(stem, f" {reply}")[1:]
        assert user.rstrip().endswith("?") or stem == "quote"
        assert verdicts(chatting, sample, perfect) == (True, True)
        assert verdicts(chatting, sample, elsewhere) == (False, False)


def test_what_has_no_form_for_a_chat_template_is_refused(material, chatting):
    with pytest.raises(BadOption, match=r"passkey, needle can only be asked as a base model is.*keys, quote|passkey, needle"):
        check_chat(["keys-2", "passkey", "needle"])
    check_chat(["keys-2", "walk-1"])
    with pytest.raises(BadOption, match="this model has no chat template: leave out chat"):
        samples(material, "keys-1", chat=True)
    for template, words in [("{{ nonsense(1) }}", "does not take a question"), ("hello", "writes the user's words 0 times")]:
        broken = Material(load_tokenizer("ropewalk-tiny"), "x")
        broken.tokenizer.chat_template = template
        with pytest.raises(BadOption, match=words):
            samples(broken, "keys-1", chat=True)


def test_samples_of_a_run_are_in_the_template_where_it_is_asked_for(chatting):
    made, _ = make_samples(chatting, ["keys-1"], [600], depths=(0.5,), count=1, seed=0, chat=True)
    assert "[bot]" in chatting.decode(made[0].ids)
    made, _ = make_samples(chatting, ["keys-1"], [600], depths=(0.5,), count=1, seed=0)
    assert "[bot]" not in chatting.decode(made[0].ids)


# --- tables ---


def test_rungs_stand_side_by_side_in_the_order_of_their_numbers():
    """8 of 10, 2 of 10 and all of 10; what is no rung is in no such table."""
    records = [
        answer(NONE, task, 512, depth, i, float(i < hits))
        for task, hits in (("keys-16", 1), ("keys-2", 4), ("quote-1", 5), ("needle", 2))
        for depth in (0.0, 1.0)
        for i in range(5)
    ]
    grids = retrieval_grids(records)
    assert list(grids) == ["keys-2", "keys-16", "needle", "quote-1"]
    shares = ladder_shares(grids)
    assert list(shares) == [("keys", 512), ("quote", 512)]
    row = shares["keys", 512]["none"]
    assert {rung: (cell.share.value, cell.tries) for rung, cell in row.items()} == {2: (0.8, 10), 16: (0.2, 10)}
    assert row[2].written() == "80 (49-94)"  # Wilson's interval of 8 of 10: Brown, Cai & DasGupta 2001
