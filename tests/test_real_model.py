"""The figures of docs/real-model.md and of the README's first table are those that the run wrote."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOUND = json.loads((ROOT / "docs" / "real-model.json").read_text())
PAGE = (ROOT / "docs" / "real-model.md").read_text(encoding="utf-8")
TABLES = (ROOT / "docs" / "real-model-tables.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
WINDOW = "window of 8,192"


def row(text, head, name):
    """The cells of one row of the table whose head begins so, as numbers."""
    table = text[text.index(head) :].partition("\n\n")[0]
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name}")][:1]
    return [float(cell.strip(" *")) for cell in line.split("|")[2:-1]]


def measured(part, name, times):
    label = {"none": "none", WINDOW: "window"}.get(name, name if " x" in name else f"{name} x{times}")
    return [round(bucket["value"], 3) for bucket in FOUND[part][0]["bits"][label]][:4]


@pytest.mark.parametrize(
    "name", ["none", WINDOW, "linear", "ntk", "yarn", "dynamic-yarn-request", "dynamic-yarn", "dynamic-yarn-causal-8"]
)
@pytest.mark.parametrize(("part", "times"), [("short", 2), ("long", 4)])
def test_loss_by_position(part, times, name):
    assert row(PAGE, f"| x{times} |", f"{name} ") == measured(part, name, times)


@pytest.mark.parametrize(("shown", "name"), [("none", "none"), ("yarn,", "yarn"), ("dynamic-yarn,", "dynamic-yarn")])
def test_the_first_table_of_the_readme(shown, name):
    assert row(README, "| | 0-8k |", shown) == measured("long", name, 4)


@pytest.mark.parametrize(
    "said", ["0.138 bits (0.122 to 0.153)", "0.080 (0.067 to 0.093)", "0.073 bits beyond L at x4 (0.057 to 0.089)"]
)
def test_paired_differences_are_those_of_the_long_tables(said):
    value, low, high = re.findall(r"0\.\d{3}", said)
    assert said in PAGE
    assert re.search(rf"[-+]{value} \([-+]({high}|{low}), [-+]({low}|{high})\)", TABLES)


def test_what_short_contexts_pay():
    tax = FOUND["tax"][0]
    for name, said in (("yarn x4", (0.170, 0.160, 0.180)), ("yarn x2", (0.047, 0.040, 0.053))):
        loss = tax[name]["loss"]
        assert tuple(round(loss[part], 3) for part in ("value", "low", "high")) == said
        value, low, high = (f"{number:.3f}" for number in said)
        assert re.search(rf"{value} \({low} to {high}\)", PAGE)


@pytest.mark.parametrize("tokens", [16_352, 32_736])
def test_documents_and_memory(tokens):
    assert (FOUND["short"][0]["documents"], FOUND["long"][0]["documents"]) == (40, 16)
    assert "40 single files" in PAGE
    assert f"| {tokens:,} | causal |" in PAGE
