"""The explorer as a page in headless Chromium: quiet, labelled, steady under bad input, and small."""

import json
import re
from pathlib import Path

import pytest

from ropewalk.engines.transformers.checkpoint import BUNDLED, bundled_model, read_config
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadConfig, OutputExists
from ropewalk.jobs.explore.models import describe, preset_files
from ropewalk.jobs.explore.page import explorer, for_script, opened, write_explorer
from support.browser import Watched
from support.command import run

CHAPTERS = ["rotate", "spectrum", "interpolate", "ntk", "by-parts", "dynamic", "yarn", "why-ntk", "near"]
WIDTHS = (400, 768, 1180, 1600)


def scroll_through(watched):
    for chapter in CHAPTERS:
        watched.page.evaluate("id => document.getElementById(id).scrollIntoView()", chapter)
        watched.until("id => document.querySelector(`#${id} svg`).childElementCount > 3", chapter)


# ---- without a browser


def test_the_file_is_small_and_names_no_address():
    page = explorer()

    assert len(page.encode()) < 300_000
    # the only addresses are names of XML namespaces, which nothing fetches
    assert set(re.findall(r"https?://[^\s\"')]+", page)) == {"http://www.w3.org/2000/svg"}


def test_a_config_cannot_end_the_script_it_is_kept_in():
    config = preset_files()[0]["config"]
    nasty = "</script><script>alert(1)</script><!--"

    page = explorer(opened(nasty, config, read(config)))

    assert nasty not in page
    assert json.loads(for_script({"name": nasty})) == {"name": nasty}


def test_an_older_explorer_is_replaced_and_anything_else_is_not(tmp_path):
    out, other = tmp_path / "explorer.html", tmp_path / "thesis.html"
    other.write_text("years of work")
    write_explorer(out)
    write_explorer(out)

    with pytest.raises(OutputExists, match="not an explorer page"):
        write_explorer(other)
    with pytest.raises(BadConfig, match="is a folder"):
        write_explorer(tmp_path)
    assert other.read_text() == "years of work"
    write_explorer(other, force=True)


# ---- in Chromium


def test_it_asks_the_network_for_nothing_and_complains_of_nothing(browser, file):
    with Watched(browser, file) as watched:
        scroll_through(watched)
        watched.page.click("#theme")

        assert [url for url in watched.requests if not url.startswith(("data:", "file:"))] == []
        assert len([url for url in watched.requests if url.startswith("file:")]) == 1
        assert watched.complaints == []
        assert watched.page.evaluate("document.getElementById('old-browser').hidden")


def test_the_page_forbids_itself_the_network(browser, file):
    with Watched(browser, file) as watched:
        assert watched.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'fetched', () => 'refused')") == "refused"
        assert any("Content Security Policy" in text for text in watched.complaints)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("model", ["qwen3-8b", "gemma-3-12b"])
def test_nothing_is_wider_than_the_window(browser, file, width, model):
    with Watched(browser, file, hash=f"#model={model}", viewport={"width": width, "height": 800}) as watched:
        scroll_through(watched)

        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        outside = """() => [...document.querySelectorAll('figure *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"""
        assert watched.page.evaluate(outside) == 0


def test_every_control_has_a_label_that_can_be_seen(browser, file):
    unlabelled = """() => [...document.querySelectorAll('input, select, textarea')].filter(e => {
        const label = e.labels && e.labels[0];
        return !label || !label.textContent.trim();
    }).map(e => e.id || e.outerHTML)"""
    unnamed = """() => [...document.querySelectorAll('button, a, svg[role=img]')].filter(
        e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length"""
    with Watched(browser, file) as watched:
        scroll_through(watched)

        assert watched.page.evaluate("document.querySelectorAll('input').length") > 30
        assert watched.page.evaluate(unlabelled) == []
        assert watched.page.evaluate(unnamed) == 0
        ids = watched.page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))


def test_the_keyboard_goes_through_the_page_in_reading_order(browser, file):
    focused = "document.activeElement.closest('section, header, aside')?.id || document.activeElement.className"
    with Watched(browser, file, viewport={"width": 1400, "height": 900}) as watched:
        seen = []
        for _ in range(140):
            watched.page.keyboard.press("Tab")
            where = watched.page.evaluate(focused)
            if where and (not seen or seen[-1] != where):
                seen.append(where)
            if where == "panel":
                break

        assert [place for place in seen if place in CHAPTERS] == CHAPTERS
        assert seen[0] == "skip"
        assert seen[-1] == "panel"


def test_arrow_keys_move_a_slider_and_the_configuration_follows(browser, file):
    with Watched(browser, file) as watched:
        watched.page.focus("#by-parts input[id$=factor]")
        before = watched.page.text_content("#configuration")
        watched.page.keyboard.press("ArrowRight")

        assert watched.page.evaluate("window.ropewalk.state.factor") == 4.5
        assert '"factor": 4.5' in watched.page.text_content("#configuration") != before


def test_it_answers_which_pairs_yarn_leaves_alone_for_qwen3_8b_at_factor_4(browser, file):
    with Watched(browser, file) as watched:
        scroll_through(watched)
        said = watched.page.text_content("#by-parts .reading")

    assert "24 kept (pairs 0–23), 16 ramped (pairs 24–39), 24 stretched (pairs 40–63)" in said


def test_dragging_beta_moves_it_and_chooses_a_method_that_has_it(browser, file):
    with Watched(browser, file, hash="#method=linear", viewport={"width": 1400, "height": 900}) as watched:
        page = watched.page
        page.evaluate("document.querySelector('#by-parts svg').scrollIntoView({block: 'center'})")
        watched.until("document.querySelectorAll('#by-parts .handle').length == 2")
        box = page.locator("#by-parts .handle").first.bounding_box()
        page.mouse.move(box["x"] + 9, box["y"] + 9)
        page.mouse.down()
        page.mouse.move(box["x"] + 109, box["y"] + 40, steps=4)
        page.mouse.up()

        assert page.evaluate("window.ropewalk.state.method") == "ntk_by_parts"
        assert page.evaluate("window.ropewalk.state.options.beta_fast") < 16


LINKS = [
    "#model=gpt-oss-20b&factor=8&method=ntk_by_parts&pair=11&o.beta_fast=16&o.truncate=false",
    "#model=llama-3.1-8b&prefix=5&axis=turns&cache=rotate&at=0.3&band=12&hide=linear",
    "#model=own&dim=64&theta=50000&length=2048&method=rope_theta&o.rope_theta=1000000",
    "#model=deepseek-v3&method=dynamic-yarn&factor=6&dialect=ropewalk",
    "#model=qwen3-8b&near=25&far=self_extend&law=static&query=2.5&nearpair=7",
]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_brings_back_what_was_shown(browser, file, link):
    shown = "() => JSON.stringify([window.ropewalk.state, document.querySelector('#configuration').textContent])"
    with Watched(browser, file, hash=link) as watched:
        first, again = watched.page.evaluate(shown), watched.page.evaluate("window.ropewalk.toHash()")
        for key, value in (part.split("=") for part in link[1:].split("&")):
            if not key.startswith("o."):
                assert str(json.loads(first)[0][key]) == value
    with Watched(browser, file, hash=again) as watched:
        assert watched.page.evaluate(shown) == first


@pytest.mark.parametrize(
    "link", ["#factor=NaN&pair=-3&method=yarm", "#config=%7Bnot", "#%%%", "#model=&o.beta_fast=-1", "#o.ramp=x"]
)
def test_a_broken_link_opens_the_page_all_the_same(browser, file, link):
    with Watched(browser, file, hash=link) as watched:
        assert watched.page.evaluate("window.ropewalk.ready")
        assert '"factor": 4.0' in watched.page.text_content("#configuration")
        assert watched.complaints == []


BAD = {
    "not JSON": ("rope_theta = 10000", "not valid JSON"),
    "nothing": ("  ", "Nothing was pasted"),
    "a list": ("[1, 2]", "object with keys"),
    "no RoPE": ('{"model_type": "gpt2", "n_positions": 1024}', "gpt2 has no rotary embedding: it uses learned"),
    "NaN": ('{"model_type": "llama", "rope_theta": NaN}', "rope_theta is NaN"),
    "odd dimension": ('{"model_type": "llama", "head_dim": 63, "max_position_embeddings": 64}', "rotary_dim is 63"),
    "script": ('{"model_type": "<img src=x onerror=alert(1)>", "head_dim": 64}', "No rotary embedding found"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_gets_a_sentence_and_the_last_good_one_stays(browser, file, case):
    text, sentence = BAD[case]
    good = json.dumps({"model_type": "llama", "head_dim": 64, "max_position_embeddings": 2048, "rope_theta": 12345})
    with Watched(browser, file, viewport={"width": 1400, "height": 900}) as watched:
        page = watched.page
        page.click(".paste summary")
        page.fill("#paste", good)
        page.click("text=Read it")
        before = page.text_content("#configuration")
        assert "12345.0" in before
        page.fill("#paste", text)
        page.click("text=Read it")

        assert sentence in page.text_content("#paste-message")
        assert page.get_attribute("#paste", "aria-invalid") == "true"
        assert page.text_content("#configuration") == before
        assert page.evaluate("window.ropewalk.model().id") == "pasted"
        assert watched.complaints == []


def test_a_pasted_config_survives_in_the_link(browser, file):
    config = {p["id"]: p for p in preset_files()}["gemma-3-12b"]["config"]
    with Watched(browser, file, viewport={"width": 1400, "height": 900}) as watched:
        watched.page.evaluate("text => window.ropewalk.pasteConfig(text)", json.dumps(config))
        link, before = watched.page.evaluate(
            "[window.ropewalk.toHash(), document.querySelector('#configuration').textContent]"
        )
    with Watched(browser, file, hash=link) as watched:
        assert watched.page.text_content("#configuration") == before
        assert watched.page.evaluate("window.ropewalk.model().ropes") == json.loads(json.dumps(describe(config)))["ropes"]


def test_the_users_own_model_is_shown_first(browser, tmp_path):
    config = {"model_type": "llama", "head_dim": 32, "max_position_embeddings": 1024, "rope_theta": 5000.0}
    write_explorer(tmp_path / "own.html", opened("my <model>", config, read(config)))
    with Watched(browser, Path(tmp_path / "own.html"), viewport={"width": 1400, "height": 900}) as watched:
        assert watched.page.input_value("#panel select") == "opened"
        assert '"rope_theta": 5000.0' in watched.page.text_content("#configuration")
        assert watched.complaints == []


def test_where_the_users_model_lies_is_in_the_commands_alone():
    """A page is given to others; its commands are for who made it."""
    config = {"model_type": "llama", "head_dim": 32, "max_position_embeddings": 1024, "rope_theta": 5000.0}
    model = opened("/home/me/models/tiny.gguf", config, read(config))
    assert (model["name"], model["source"]) == ("tiny.gguf", "the config of tiny.gguf")
    assert model["command"] == "/home/me/models/tiny.gguf"


def test_a_config_that_says_dynamic_opens_as_it_is_written(browser, tmp_path):
    """transformers' rope_type dynamic is one scale a request, without an end: drawn to 4 windows, and written as it came."""
    scaling = {"rope_type": "dynamic", "factor": 1.0}
    config = {"model_type": "llama", "head_dim": 32, "max_position_embeddings": 1024, "rope_theta": 5000.0}
    given = config | {"rope_scaling": scaling}
    write_explorer(tmp_path / "own.html", opened("my model", given, read(given)))
    with Watched(browser, Path(tmp_path / "own.html"), viewport={"width": 1400, "height": 900}) as watched:
        written = json.loads(watched.page.text_content("#configuration"))
        assert written == {"rope_parameters": scaling | {"rope_theta": 5000.0}, "max_position_embeddings": 1024}
        assert watched.page.evaluate("[ropewalk.state.method, ropewalk.state.factor]") == ["dynamic-request", 4]
        assert watched.complaints == []


def test_copy_puts_the_configuration_on_the_clipboard(browser, file):
    wide = {"width": 1400, "height": 900}
    with Watched(browser, file, viewport=wide, permissions=["clipboard-read", "clipboard-write"]) as watched:
        watched.page.click("#panel button:text-is('Copy')")

        watched.page.wait_for_selector("text=Copied.")
        copied = watched.page.evaluate("navigator.clipboard.readText()")
        assert json.loads(copied)["rope_parameters"]["rope_type"] == "yarn"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, file, scheme):
    """WCAG AA: 4.5 to 1 for the colours that text is set in, on each ground."""
    with Watched(browser, file, color_scheme=scheme) as watched:
        colours = watched.page.evaluate(
            "() => { const s = getComputedStyle(document.documentElement); return Object.fromEntries("
            "'paper card faint ink soft one two accent accent-ink'.split(' ').map(n => [n, s.getPropertyValue('--' + n)])); }"
        )
    pairs = [(text, ground) for text in ("ink", "soft") for ground in ("paper", "card", "faint")]
    for text, ground in [*pairs, ("one", "card"), ("two", "card"), ("accent", "card"), ("accent-ink", "accent")]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_less_motion_means_none(browser, file):
    with Watched(browser, file, reduced_motion="reduce") as watched:
        page = watched.page
        page.evaluate("document.getElementById('spectrum').scrollIntoView()")
        watched.until("document.querySelectorAll('#spectrum .stem').length > 3")
        page.evaluate("window.ropewalk.set({factor: 16})")
        at_once = page.inner_html("#spectrum svg")
        page.wait_for_timeout(350)
        assert page.inner_html("#spectrum svg") == at_once


def test_every_model_and_method_draws_without_a_nan(browser, file):
    drawn = """() => {
        const R = window.ropewalk, bad = [];
        for (const model of [...R.data.models.map(m => m.id), 'own'])
            for (const method of R.methodNames())
                for (const factor of [1, 8]) {
                    R.set({model, method, factor, options: method === 'proportional' ? {proportion: 0.5} : {}});
                    const svg = [...document.querySelectorAll('svg')].map(s => s.outerHTML).join();
                    const said = [...document.querySelectorAll('.reading, output, dl')].map(e => e.textContent).join();
                    if (/NaN|undefined|null|Infinity/.test(svg + said)) bad.push([model, method, factor]);
                }
        return bad;
    }"""
    with Watched(browser, file, viewport={"width": 800, "height": 12000}, reduced_motion="reduce") as watched:
        scroll_through(watched)

        assert watched.page.evaluate(drawn) == []
        assert watched.complaints == []


# ---- small windows, paper, the drawer


OVERLAPS = """() => {
  window.dispatchEvent(new Event("beforeprint"));
  const found = [];
  for (const svg of document.querySelectorAll("figure svg[role=img]")) {
    const boxes = [...svg.querySelectorAll("text:not(.token)")].map((t) => [t.textContent, t.getBoundingClientRect()]);
    boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && tall > 4) found.push(`${svg.closest(".chapter").id}: ${one} | ${other}`);
    }));
  }
  return found;
}"""


@pytest.mark.parametrize("model", [preset["id"] for preset in preset_files()])
def test_no_label_lies_on_another_in_a_narrow_window(browser, file, model):
    found = {}
    for factor in (2, 4, 32):
        with Watched(
            browser,
            file,
            viewport={"width": 400, "height": 900},
            hash=f"#model={model}&factor={factor}",
            reduced_motion="reduce",
        ) as watched:
            if overlaps := watched.page.evaluate(OVERLAPS):
                found[factor] = overlaps
    assert not found


def test_paper_shows_every_chart(browser, file):
    """Nothing was scrolled to: what was never seen is drawn when it is printed, and not before."""
    empty = "() => [...document.querySelectorAll('figure svg[role=img]')].filter((svg) => !svg.childElementCount).length"
    with Watched(browser, file, viewport={"width": 1280, "height": 900}) as watched:
        watched.until("() => document.querySelector('#rotate svg').childElementCount > 3")
        assert watched.page.evaluate(empty) > 0
        watched.page.pdf()
        assert watched.page.evaluate(empty) == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_the_configuration_is_shown_whole(browser, file, width):
    with Watched(browser, file, viewport={"width": width, "height": 900}) as watched:
        if width == 400:
            watched.page.click(".sheet-toggle")
        hidden = "() => { const p = document.getElementById('configuration'); return p.scrollWidth - p.clientWidth; }"
        assert watched.page.evaluate(hidden) <= 0


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp"])
def test_the_drawer_writes_for_engines_what_export_takes(browser, tmp_path, capsys, monkeypatch, engine):
    """The command itself is run; what the engine reads is the library's own affair."""
    path, config = tmp_path / "explorer.html", read_config(bundled_model())
    write_explorer(path, opened(BUNDLED, config, read(config)))
    with Watched(browser, path, hash=f"#dialect={engine}&factor=4") as watched:
        command = watched.page.evaluate("() => document.getElementById('configuration').textContent")
    assert command.startswith(f"ropewalk export ropewalk-tiny --for {engine.replace('_', '.')} --factor 4 --method ")
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, monkeypatch, *command.split()[1:])
    assert code == 0, err
    assert (tmp_path / "served" / "COMMANDS.md").is_file()


def test_causal_is_one_of_the_ways_of_dynamic(browser, file):
    with Watched(browser, file, hash="#cache=causal", reduced_motion="reduce") as watched:
        watched.page.evaluate("() => document.getElementById('dynamic').scrollIntoView()")
        watched.until("() => document.querySelector('#dynamic svg').childElementCount > 3")
        text = watched.page.evaluate("() => document.getElementById('dynamic').textContent")
        assert "every token reads at the scale of its own position" in text
        assert "stands right" in text
        assert watched.page.evaluate("() => window.ropewalk.state.cache") == "causal"
