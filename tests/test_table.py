"""The table of all stretches: what is measured, what a folder says, what stays empty; and the page says what its JSON says."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ropewalk.errors import BadConfig
from support import synthetic
from support.scripts import load
from support.synthetic import NAT, answer, plans, reading, taxed, timed

ROOT = Path(__file__).parent.parent
EDGES = (0, 4, 8)
PLANS = plans(["none", "yarn", "dynamic-yarn", "near-linear"])
NONE, YARN, DYNAMIC, NEAR = PLANS.values()


@pytest.fixture
def page(monkeypatch):
    return load("table_page", monkeypatch)


@pytest.fixture
def table(page, monkeypatch):
    return load("table", monkeypatch)


@pytest.fixture
def small(table):
    """A case of a few tokens, at the place of the bundled model's."""
    return replace(table.TINY, window=4, factor=2, edges=EDGES, documents=3, ask_at=(8,), time_at=8)


def cells(text, head, name):
    """Of one row of the table whose first cell is so."""
    (block,) = [part for part in text.split("\n\n") if part.startswith(f"| {head} |")]
    (line,) = [line for line in block.splitlines() if line.startswith(f"| {name} |")]
    heads = [cell.strip() for cell in block.splitlines()[0].strip("|").split("|")]
    return dict(zip(heads[1:], [cell.strip() for cell in line.strip("|").split("|")][1:], strict=True))


# --- what a folder says ---


def of(small, table, tmp_path, *records, part="loss"):
    synthetic.write(tmp_path / "tiny-x2" / part, records, PLANS)
    return table.of_case(small, tmp_path, "dynamic-yarn")


def test_a_cell_that_was_not_measured_is_empty_and_said(small, table, page, tmp_path):
    found = of(small, table, tmp_path, *(reading(plan, name, [1] * 7) for plan in (YARN, DYNAMIC) for name in "abc"))
    text = page.case_tables(found)
    assert "| near-linear |" not in text  # a row of nothing is named alone
    assert cells(text, "bits per token", "yarn")["beyond 4"] == f"{NAT:.3f}"
    told = re.findall(r"^Not measured: (.*)\.$", text, re.MULTILINE)
    assert len(told) == 3  # loss, the same less the reference, what it costs
    assert all("near-linear" in sentence for sentence in told)
    assert "yarn" not in re.findall(r"[\w-]+", told[0])
    assert "Nothing is asked beyond the window yet." in text
    assert "are not measured yet" in text


def test_a_document_that_is_too_short_is_in_its_stretch_and_in_no_other(small, table, page, tmp_path):
    records = [reading(plan, name, [1] * n) for plan in (YARN, DYNAMIC) for name, n in (("a", 7), ("b", 3))]
    text = page.case_tables(of(small, table, tmp_path, *records))
    assert cells(text, "bits per token", "yarn")["documents"] == "1 to 2"
    assert "rows of other documents are compared by the paired table alone" in text


def test_differences_are_of_the_documents_that_both_have_read(small, table, page, tmp_path):
    """yarn is 1 nat a token worse on a and 3 on b; c, which dynamic-yarn alone has read, counts for nothing."""
    records = [reading(DYNAMIC, name, [nats] * 7) for name, nats in (("a", 1), ("b", 2), ("c", 100))]
    records += [reading(YARN, name, [nats] * 7) for name, nats in (("a", 2), ("b", 5))]
    found = of(small, table, tmp_path, *records)
    inside, far = found["loss"]["yarn"]  # one stretch is all beyond the window, and there once
    assert [cell["less"][0] for cell in (inside, far)] == pytest.approx([-2 * NAT] * 2, abs=1e-4)
    assert (far["pairs"], far["documents"], found["loss"]["dynamic-yarn"][1]["documents"]) == (2, 2, 3)
    assert "less" not in found["loss"]["dynamic-yarn"][0]
    assert cells(page.case_tables(found), "less than dynamic-yarn", "yarn")["beyond 4"].startswith(f"{-2 * NAT:+.3f} (")


def test_one_document_has_no_interval_and_says_so(small, table, page, tmp_path):
    found = of(small, table, tmp_path, reading(YARN, "a", [2] * 7), reading(DYNAMIC, "a", [1] * 7))
    assert found["loss"]["yarn"][1]["less"] == [pytest.approx(-NAT, abs=1e-5), None, None]
    assert cells(page.case_tables(found), "less than dynamic-yarn", "yarn")["beyond 4"] == f"{-NAT:+.3f} (one document)"
    json.dumps(found, allow_nan=False)


def test_a_folder_half_done_gives_what_it_holds(small, table, page, tmp_path):
    """dynamic-yarn has read all, yarn one of three, near-linear nothing; one plan's degradation; no prompt, no clock."""
    records = [*(reading(DYNAMIC, name, [1] * 7) for name in "abc"), reading(YARN, "a", [2] * 7)]
    found = of(small, table, tmp_path, *records, taxed(YARN, "a", [3, 3], [1, 2], [0.5, 0.5]))
    assert [cell["documents"] for cell in found["loss"]["yarn"]] == [1, 1]
    assert found["short"]["yarn"]["loss"][0] == pytest.approx(1.5 * NAT, abs=1e-5)
    assert set(found) >= {"loss", "short"}
    assert not {"ask", "inside", "speed"} & set(found)
    text = page.case_tables(found)
    assert cells(text, "bits per token", "yarn")["documents"] == "1"
    assert cells(text, "what it costs", "yarn")["prefill"] == ""
    assert "| dynamic-yarn |" not in text[text.index("| what it costs |") :]
    assert cells(text, "what it costs", "none")["added inside"] == "is the base"


@pytest.mark.parametrize("made", [(), ("records",), ("records", "plans")])
def test_a_folder_that_has_nothing_yet_is_no_case(small, table, tmp_path, made):
    for name in made:
        (tmp_path / "tiny-x2" / "loss" / name).mkdir(parents=True)
    assert table.of_case(small, tmp_path, "dynamic-yarn") is None


@pytest.mark.parametrize(("more", "p", "star"), [(4, 2 / 2**5, False), (5, 2 / 2**6, True)])
def test_prompts_are_compared_one_by_one(small, table, page, tmp_path, more, p, star):
    """McNemar's mid-p where one side alone is right `more` times and the other never: 2 (1/2) (1/2)^n. Of the 8 prompts of
    near-linear the reference was asked 7, all of them wrong or right together but those."""
    mine = [answer(NEAR, "passkey", 8, 0.5, i, float(i < more)) for i in range(8)]
    its = [answer(DYNAMIC, "passkey", 8, 0.5, i, 0.0) for i in range(7)]
    found = of(small, table, tmp_path, *mine, *its, part="ask")
    cell = found["ask"]["passkey"]["near-linear"][8]
    assert (cell["share"][0], cell["prompts"], cell["pairs"]) == (more / 8, 8, 7)
    assert (cell["alone"], cell["p"]) == ([more, 0], pytest.approx(p))
    said = cells(page.case_tables(found), "% right", "near-linear")["passkey 8"]
    assert said.startswith(f"{100 * more / 8:.0f} (")
    assert ("*" in said) == star
    assert said.endswith("of 8")  # the rows have not as many prompts
    assert "p" not in found["ask"]["passkey"]["dynamic-yarn"][8]


def test_speed_is_compared_turn_by_turn(small, table, page, tmp_path):
    """Ratios 0.9, 0.5 and 0.8: their middle is 0.8, where the ratio of the middles would be 100 / 200."""
    static = [timed(YARN, 8, i, prefill, 10.0, 0) for i, prefill in enumerate((100, 200, 400))]
    near = [timed(NEAR, 8, i, prefill, 9.0, 0) for i, prefill in enumerate((90, 100, 320))]
    found = of(small, table, tmp_path, *static, *near, part="speed")
    assert found["speed"]["near-linear"]["prefill"] == pytest.approx([0.8, 0.5, 0.9])
    text = page.case_tables(found)
    assert cells(text, "what it costs", "near-linear")["prefill"] == "0.80 (0.50 to 0.90)"
    assert cells(text, "what it costs", "yarn")["decoding"] == "reference"


def test_what_is_alike_to_the_bit_is_told_from_what_is_small(page):
    assert page._spelt([0.0, 0.0, 0.0], "+z.3f") == "exactly 0"
    assert page._spelt([-1e-5, -2e-5, 1e-5], "+z.3f") == "+0.000 (+0.000 to +0.000)"


# --- what is measured ---


def test_only_what_the_model_does_inside_its_window_is_asked_beyond(small, table, tmp_path):
    """passkey 3 of 4, needle 1 of 4, vt 2 of 4: half is enough, and RULER's tasks have no depth and a folder of their own."""
    right = {"passkey": 3, "needle": 1}
    records = [answer(NONE, task, 4, 0.5, i, float(i < n)) for task, n in right.items() for i in range(4)]
    synthetic.write(tmp_path / "tiny" / "inside", records, PLANS)
    synthetic.write(
        tmp_path / "tiny" / "inside-ruler", [answer(NONE, "vt", 4, None, i, float(i < 2)) for i in range(4)], PLANS
    )
    able = table.can_do(small, tmp_path)
    assert able == ["passkey", "vt"]
    asked = dict(table.requests(small, "ask", able))
    assert {name: request["tasks"] for name, request in asked.items()} == {"ask": ("passkey",), "ask-ruler": ("vt",)}
    assert (asked["ask"]["samples"] * len(asked["ask"]["depths"]), asked["ask-ruler"]["samples"]) == (20, 20)


def test_passes_by_hand(table):
    """15 plans read 12 documents; 13 pay for one more of each, beside the base. 14 plans are timed 4 times, one to warm up."""
    ((_, loss),), ((_, speed),) = table.requests(table.TINY, "loss", ()), table.requests(table.TINY, "speed", ())
    assert table.passes(loss, table.TINY) == {4096: 15 * 12, 512: (1 + 13) * 12}
    assert table.passes(speed, table.TINY) == {4096: 14 * 4}
    ((_, ask),) = table.requests(table.FAR, "ask", ["passkey", "needle"])
    assert table.passes(ask, table.FAR) == {32_768: 6 * 2 * 20}


@pytest.fixture
def world(table, monkeypatch):
    """An evaluation takes ten seconds; `asked` is what was."""
    now, asked = SimpleNamespace(value=0.0), []

    def evaluate(model, out, *, progress, **request):
        now.value += 10
        asked.append((Path(out).name, request))
        return SimpleNamespace(failures=[f"{Path(out).name} failed"] if "speed" in Path(out).name else [])

    monkeypatch.setattr("ropewalk.evaluate", evaluate)
    monkeypatch.setattr(table, "time", SimpleNamespace(monotonic=lambda: now.value))
    return asked


def test_the_budget_is_for_all_parts_and_what_is_not_begun_is_said(table, world, tmp_path):
    said = []
    clock = table.Clock(25.0, 0.0)
    table.measure(table.TINY, ("loss", "inside", "speed"), tmp_path, clock, said.append, seed=3)
    assert [(name, request["budget"], request["seed"]) for name, request in world] == [
        ("loss", 25.0, 3), ("inside", 15.0, 3), ("inside-ruler", 5.0, 3),
    ]  # fmt: skip
    assert said == ["tiny-x8 speed: not begun, the time is spent. The same command goes on."]


def test_what_failed_is_handed_on_and_a_model_that_does_no_task_is_said(table, world, tmp_path):
    said = []
    failed = table.measure(table.TINY, ("ask", "speed"), tmp_path, table.Clock(None, 0.0), said.append)
    assert failed == ["speed failed"]
    assert [name for name, _ in world] == ["speed"]
    assert "tiny-x8: nothing to ask" in said[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "tiny"], "--only: tiny is none of tiny-x8, smol-x2, smol-x4."),
        (["--part", "tasks"], "--part: tasks is none of loss, inside, ask, speed."),
        (["--tasks", "passkey,keys"], "--tasks: keys is none of passkey, needle, random_copy,"),
        (["--budget", "40"], "'40' is not a time. Write 90s, 5m or 1h30m."),
        (["--print", "-o", "nowhere"], "nowhere holds nothing of tiny-x8, smol-x2, smol-x4 yet."),
    ],
)
def test_bad_input_is_told_without_a_traceback(table, world, monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["table.py", *words])
    with pytest.raises(SystemExit) as stop:
        table.main()
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not world


# --- the page ---


@pytest.fixture
def docs(tmp_path, page):
    marks = "\n".join(f"{page.MARKS[0].format(name)}\n\nold\n{page.MARKS[1]}" for name in ("overview", "tiny-x2"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "table.md").write_text(f"# Title\n\n{marks}\n\nAfter.\n")
    return tmp_path / "docs"


def test_a_case_without_a_folder_keeps_what_the_page_has(small, table, page, tmp_path, docs):
    records = (reading(plan, name, [nats] * 7) for plan, nats in ((YARN, 2), (DYNAMIC, 1)) for name in "ab")
    page.write_page(docs, {"tiny-x2": of(small, table, tmp_path, *records)})
    once = (docs / "table.md").read_text(), (docs / "table.json").read_text()
    assert "old" not in once[0]
    assert once[0].startswith("# Title")
    assert once[0].endswith("After.\n")
    assert cells(once[0], "less than the reference, beyond the window", "yarn")["ropewalk-tiny x2"].startswith("-1.443 (")
    page.write_page(docs, {})
    assert ((docs / "table.md").read_text(), (docs / "table.json").read_text()) == once


def test_a_part_and_a_task_without_a_folder_keep_what_the_page_has(small, table, page, tmp_path, docs):
    """Loss first, then the pass keys of another machine, then needles of a third."""
    records = (reading(plan, name, [nats] * 7) for plan, nats in ((YARN, 2), (DYNAMIC, 1)) for name in "ab")
    page.write_page(docs, {"tiny-x2": of(small, table, tmp_path / "first", *records)})
    for task, right in (("passkey", 1.0), ("needle", 0.0)):
        asked = [answer(plan, task, 8, 0.5, i, right) for plan in (YARN, DYNAMIC) for i in range(4)]
        page.write_page(docs, {"tiny-x2": of(small, table, tmp_path / task, *asked, part="ask")})
    text, found = (docs / "table.md").read_text(), json.loads((docs / "table.json").read_text())["tiny-x2"]
    assert cells(text, "less than dynamic-yarn", "yarn")["beyond 4"].startswith("-1.443 (")
    assert cells(text, "% right", "yarn") == {"passkey 8": "100 (51-100)", "needle 8": "0 (0-49)"}
    assert set(found["made"]) == {"loss", "ask"}


def test_a_page_without_the_place_is_refused(small, table, page, tmp_path, docs):
    found = of(small, table, tmp_path, reading(YARN, "a", [1] * 7))
    with pytest.raises(BadConfig, match="has no place for smol-x4: it begins with <!-- measured: smol-x4 -->"):
        page.write_page(docs, {"smol-x4": found})


FOUND = json.loads((ROOT / "docs" / "table.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "table.md").read_text(encoding="utf-8")


def section(key):
    return PAGE.partition(f"<!-- measured: {key} -->")[2].partition("<!-- end -->")[0]


@pytest.mark.parametrize("key", FOUND)
def test_the_page_has_the_bits_of_its_json_and_nothing_where_it_has_none(key):
    case = FOUND[key]
    for method in case["methods"]:
        if not any(case["loss"].get(method, [])):
            assert not re.search(rf"^\| {re.escape(method)} \| *\d", section(key), re.MULTILINE)
            continue
        shown = [text for head, text in cells(section(key), "bits per token", method).items() if head != "documents"]
        assert shown == [f"{cell['bits'][0]:.3f}" if cell else "" for cell in case["loss"].get(method, [None] * len(shown))]
        if method != case["against"]:
            less = list(cells(section(key), f"less than {case['against']}", method).values())
            for text, cell in zip(less, case["loss"].get(method, []), strict=bool(case["loss"].get(method))):
                numbers = [float(x) for x in re.findall(r"[-+][\d.]+", text)]
                assert numbers == [round(x, 3) + 0 for x in cell["less"]] or (text, cell["less"]) == ("exactly 0", [0, 0, 0])


@pytest.mark.parametrize("key", FOUND)
def test_the_page_has_the_shares_and_the_speed_of_its_json(key):
    case, text = FOUND[key], section(key)
    for task, methods in case.get("ask", {}).items():
        for method, lengths in methods.items():
            for length, cell in lengths.items():
                shown = cells(text, "% right", method)[f"{task} {int(length):,}"]
                assert [int(x) for x in re.findall(r"\d+", shown)][:3] == [math.floor(100 * x + 0.5) for x in cell["share"]]
    for method, speed in case.get("speed", {}).items():
        shown = cells(text, "what it costs", method)["prefill"]
        assert shown == "reference" or [float(x) for x in re.findall(r"[\d.]+", shown)] == [
            round(x, 2) for x in speed["prefill"]
        ]


def test_what_is_said_in_words_stands_in_the_tables():
    said = PAGE.partition("## What it says so far")[2].partition("## What others published")[0]
    measured = "".join(map(section, ["overview", *FOUND]))
    spans = re.findall(r"[-+]?[\d.]+ \([-+]?[\d.]+(?: to |-)[-+]?[\d.]+\)", said)
    assert len(spans) >= 8
    assert [span for span in spans if span not in measured] == []


def test_the_page_is_what_the_command_makes_of_the_json(page):
    for name, block in page.blocks(FOUND).items():
        assert section(name).strip() == block.strip(), "python runs/table.py --docs"


def test_the_json_is_small_and_names_no_place():
    text = (ROOT / "docs" / "table.json").read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert not re.search(r'"[^"]*[/\\][^"]*"', text)
