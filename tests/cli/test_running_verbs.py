"""generate and serve as a person meets them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest

import ropewalk
from support.command import run

TINY = "ropewalk-tiny"
SHORT = "def area(width, height):"


@pytest.fixture
def go(capsys, monkeypatch):
    return lambda *args: run(capsys, monkeypatch, *args)


def test_text_goes_to_stdout_and_all_else_to_stderr(go):
    code, out, err = go("generate", TINY, "--prompt", SHORT, "--dynamic", "yarn", "--max-new-tokens", 12)
    assert code == 0
    code, told, _ = go("generate", TINY, "--prompt", SHORT, "--dynamic", "yarn", "--max-new-tokens", 12, "--json")
    data = json.loads(told)
    assert out == data["text"] + "\n"
    assert len(data["tokens"]) == 12
    assert data["scales"] == [{"position": 0, "scale": 1.0}]
    assert data["plan"]["target_length"] == 4096  # factor 8 unless one is given
    assert data["decode_tokens_per_s"] > 0
    assert data["peak_bytes"] > 2**20
    assert "from position 0: scale 1]" in err
    assert re.search(r"12 written \(length\); prefill [\d,]+ tokens/s, decode [\d,]+ tokens/s; cache .* peak memory", err)


def test_a_prompt_file_over_the_window(go, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("x = 1\n" * 400)
    code, out, err = go("generate", TINY, "--prompt-file", file, "--dynamic", "yarn", "--max-new-tokens", 3)
    assert code == 0
    assert out
    assert err.index("position 512: scale 1.414") < err.index("position 724: scale 2")
    assert "tokens read, about" in err


def test_no_plan_static_plan_and_saved_plan(go, tmp_path):
    _, plain, _ = go("generate", TINY, "--prompt", SHORT, "--max-new-tokens", 20)
    _, dynamic, _ = go("generate", TINY, "--prompt", SHORT, "--dynamic", "yarn", "--max-new-tokens", 20)
    assert plain == dynamic  # inside the window a causal plan changes nothing
    _, static, err = go("generate", TINY, "--prompt", SHORT, "--method", "linear", "--factor", 8, "--max-new-tokens", 20)
    assert static != plain
    assert "scale 8]" in err
    _, made, _ = go("plan", TINY, "--method", "linear", "--factor", 8, "--json")
    (tmp_path / "plan.json").write_text(json.dumps(json.loads(made)["plan"]))
    assert go("generate", TINY, "--prompt", SHORT, "--plan", tmp_path / "plan.json", "--max-new-tokens", 20)[1] == static


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate", TINY], "give --prompt TEXT or --prompt-file FILE"),
        (["generate", TINY, "--prompt", "a", "--prompt-file", "b"], "give --prompt TEXT or --prompt-file FILE"),
        (["generate", TINY, "--prompt-file", "no/such/file"], "cannot be read as UTF-8 text"),
        (["generate", TINY, "--prompt", ""], "no tokens"),
        (
            ["generate", TINY, "--prompt", "a", "--max-new-tokens", "600"],
            "601 tokens (1 of prompt and 600 new), and the model",
        ),
        (
            ["generate", TINY, "--prompt", "a", "--dynamic", "yarn", "--max-new-tokens", "5000"],
            "the plan (dynamic-yarn) reaches",
        ),
        (["generate", TINY, "--prompt", "a", "--dynamic", "yarn", "--method", "ntk"], "and not both"),
        (["generate", TINY, "--prompt", "a", "--method", "yarn"], "give either a factor or a target length"),
        (["generate", TINY, "--prompt", "a", "--dynamic", "yarm"], "no scaling method is called 'dynamic-yarm'"),
        (["generate", TINY, "--prompt", "a", "--plan", "p", "--factor", "2"], "leave out the other options"),
        (["generate", TINY, "--prompt", "a", "--temperature", "-1"], "temperature is -1"),
        (["generate", TINY, "--prompt", "a", "--dtype", "int8"], "no dtype is called 'int8'"),
        (["generate", TINY, "--prompt", "a", "--device", "gpu0"], "device is 'gpu0', which cannot be used here"),
        (["generate", TINY, "--prompt", "a", "--dynamic", "yarn-recompute"], "Plan for causal"),
        (["serve", TINY, "--dynamic", "longrope"], "longrope"),
        (["serve", TINY, "--host", "256.1.1.1"], "cannot listen on 256.1.1.1"),
    ],
)
def test_bad_input_is_one_clear_message(go, args, message):
    code, out, err = go(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def start(*args):
    env = {**os.environ, "PYTHONPATH": str(Path(ropewalk.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ropewalk", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)


def line_with(process, words):
    """The next line of standard error that has them; lines of progress come before."""
    for line in process.stderr:
        if words in line.decode():
            return line.decode()
    raise AssertionError(words)


def test_ctrl_c_while_writing_ends_cleanly():
    how = ("--dynamic", "yarn", "--max-new-tokens", "4000", "--json")  # greedy: it repeats itself and does not end
    process = start("generate", TINY, "--prompt", SHORT, *how)
    line_with(process, "from position 0")  # writing begins
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    data = json.loads(out)
    assert data["finish"] == "interrupted"
    assert 0 < len(data["tokens"]) < 4000


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_serve_answers_until_it_is_told_to_end(ending, code):
    process = start("serve", TINY, "--dynamic", "yarn", "--port", "0")
    ready = line_with(process, "http://")
    url = re.search(r"http://127\.0\.0\.1:\d+/v1", ready)[0]
    assert "dynamic-yarn, 4,096 tokens" in ready
    client = openai.OpenAI(base_url=url, api_key="none")
    assert client.completions.create(model=TINY, prompt=SHORT, max_tokens=3).choices[0].text
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in err


def test_without_the_extra_it_says_what_to_install(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "ropewalk.jobs.serve.server", raising=False)
    code, _, err = go("serve", TINY)
    assert code == 2
    assert "pip install 'ropewalk[serve]'" in err


def test_a_verb_whose_parts_are_missing_is_listed_and_does_not_run(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    for loaded in ("ropewalk.jobs.train.recipe", "ropewalk.cli.train"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    assert go("train", TINY)[::2] == (2, "ropewalk train: needs yaml, which is not installed: pip install 'ropewalk[train]'\n")
    code, out, _ = go("--help")
    assert code == 0
    assert "Not here: needs yaml" in out


# --- chat


@pytest.fixture
def chatty(tmp_path):
    """The bundled model with a chat template of its own."""
    from transformers import AutoTokenizer

    from ropewalk.engines.transformers.checkpoint import bundled_model

    folder = tmp_path / "chatty"
    shutil.copytree(bundled_model(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}# {{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}# me:{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_chat_puts_the_prompt_into_the_template(go, chatty):
    how = ("--max-new-tokens", 8)
    code, spelt, _ = go("generate", TINY, "--prompt", "# user: hello\n# me:", *how)
    code, out, err = go("generate", chatty, "--prompt", "hello", "--chat", *how)
    assert (code, out) == (0, spelt)
    assert "put into the model's chat template; --no-chat" in err
    plain = go("generate", TINY, "--prompt", "hello", *how)[1]
    assert plain != spelt
    assert go("generate", chatty, "--prompt", "hello", "--no-chat", *how)[1] == plain


def test_chat_is_the_default_where_somebody_sits_at_a_terminal(go, chatty, monkeypatch):
    how = ("--prompt", "hello", "--max-new-tokens", 8)
    _, chat, _ = go("generate", chatty, *how, "--chat")
    code, out, err = go("generate", chatty, *how)  # neither standard input nor output is a terminal here
    assert (code, out == chat) == (0, False)
    assert "gone on from as it is; --chat" in err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    _, out, err = go("generate", chatty, *how)
    assert out == chat
    assert "--no-chat" in err
    assert "chat" not in go("generate", TINY, *how)[2]  # no template, no choice


def test_chat_without_a_template_is_refused(go):
    code, _, err = go("generate", TINY, "--prompt", "hello", "--chat")
    assert code == 2
    assert "no chat template" in err


def test_serve_says_what_it_was_asked_and_goes_by_another_name():
    process = start("serve", TINY, "--port", "0", "--served-model-name", "mine")
    url = re.search(r"http://127\.0\.0\.1:\d+/v1", line_with(process, "mine ("))[0]
    client = openai.OpenAI(base_url=url, api_key="none")
    assert client.models.list().data[0].id == "mine"
    client.completions.create(model="mine", prompt=SHORT, max_tokens=3)
    assert "11 tokens read, 3 written" in line_with(process, "POST /v1/completions 200")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
