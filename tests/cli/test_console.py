"""Text of other people's files is shown on the terminal, and never obeyed."""

import io
import json

import pytest

from ropewalk.cli.parts.console import Console, print_table, safe_output, visible
from ropewalk.table import Table
from support.command import run

ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\u202e"
LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2,
         "max_position_embeddings": 128, "rope_theta": 1e4}  # fmt: skip
HOSTILE = {
    "model_type": {**LLAMA, "model_type": f"llama{ESCAPE}"},
    "layer type": {**LLAMA, "rope_parameters": {f"full{ESCAPE}": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}},
    "rope type": {**LLAMA, "rope_scaling": {"rope_type": ESCAPE, "factor": 2.0}},
    "key": {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 2.0, ESCAPE: 1}},
    "wrapper": {"model_type": "llava", "text_config": {**LLAMA, "model_type": ESCAPE}},
    "markup": {**LLAMA, "model_type": "[/bold][link=https://example.com]x"},
}
VERBS = {
    "plan": ["plan", "{}", "--to", "1024"],
    "look": ["plan", "{}"],
    "doctor": ["doctor", "{}"],
    "extend": ["extend", "{}", "--factor", "2", "-o", "{}-out"],
    "export": ["export", "{}", "--factor", "2", "--for", "vllm", "-o", "{}-out"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", HOSTILE)
def test_no_verb_prints_a_control_character_of_a_config(where, verb, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "model\x1b[2J"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(HOSTILE[where]))
    (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")

    code, out, err = run(capsys, monkeypatch, *(word.replace("{}", str(folder)) for word in VERBS[verb]))

    assert code in (0, 1, 2)
    assert visible(out + err) == out + err
    assert "Traceback" not in err


def test_what_is_visible():
    assert visible("a\tb\nc\x1b[1m\x9b\u202eé漢") == "a\tb\nc\\x1b[1m\\x9b\\u202eé漢"


def test_colours_of_our_own_pass_and_those_of_others_do_not(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    with safe_output():
        Console(force_terminal=True, color_system="standard", highlight=False).print("[red]ours[/] \x1b[32mtheirs")
        print("\x1b[32mprinted")
    written = stream.getvalue()

    assert "\x1b[31mours" in written
    assert "\x1b[32m" not in written
    assert written.count("\\x1b[32m") == 2


def drawn(name, width):
    row = (name, "11", "3.058", "+0.014 (-0.079 to +0.107)", "left out to save time")
    stream = io.StringIO()
    print_table(Console(file=stream, width=width, highlight=False), Table(("plan", "rounds", "bits", "behind by", ""), (row,)))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_name_is_never_broken_on_a_narrow_terminal(width):
    """It is typed again; what stands beside it goes on in the next line, and nothing is left out."""
    lines = drawn("near-0.375-self_extend-log_n", width)
    assert any("near-0.375-self_extend-log_n" in line for line in lines)
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    assert "\u2026" not in text
    assert {"11", "3.058", "+0.014", "left", "out", "save", "time"} <= set(text.split())
    assert {"(-0.079", "to", "+0.107)"} <= set(text.split())


def test_columns_whose_words_have_no_room_come_below_and_no_number_is_broken():
    """Of seven columns at 80 characters, `1.723` was `1.72` and, a line below, `3`."""
    heads = (
        "bits per token (perplexity), position",
        "0-4096",
        "4096-8192",
        "8192-12288",
        "12288-16384",
        "16384-24576",
        "24576-32768",
    )
    rows = [(name, *(f"{i}.72{i} (3.3{i})" for i in range(6))) for name in ("dynamic-yarn", "near-linear")]
    stream = io.StringIO()
    print_table(Console(file=stream, width=80, highlight=False), Table(heads, tuple(rows)))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = stream.getvalue().split()
    for i in range(6):
        assert words.count(f"{i}.72{i}") == words.count(f"(3.3{i})") == 2
    assert {*heads[1:]} <= {*words}
    assert words.count("dynamic-yarn") == words.count("near-linear") == 2
    wide = io.StringIO()
    print_table(Console(file=wide, width=150, highlight=False), Table(heads, tuple(rows)))
    assert len(wide.getvalue().splitlines()) == 3


def test_a_name_longer_than_half_the_terminal_is_whole_in_several_lines():
    lines = drawn("x" * 100, 80)
    assert "".join(lines).count("x") == 100
    assert max(map(len, lines)) <= 80
