"""The certificate as a page, in headless Chromium: quiet, complete, steady at every width, and the same on paper."""

import html
import json
import random
import re

import pytest

from ropewalk.errors import BadConfig, OutputExists
from ropewalk.jobs.report.headline import certificate
from ropewalk.jobs.report.page import for_script, render, write_page
from ropewalk.jobs.report.run_folder import make_run
from ropewalk.measure.protocols import CORPUS
from support.browser import Watched, launched
from support.synthetic import plans, reading, whole_run

SECTIONS = ["loss", "retrieval", "ruler", "tax", "speed", "anchors", "provenance"]
RECORDS = whole_run()
WIDTHS = (400, 768, 1280)


@pytest.fixture(scope="module")
def made():
    return certificate(make_run(whole_run(), plans()))


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(path, made)
    return path


@pytest.fixture(scope="module")
def browser():
    with launched() as running:
        yield running


def drawn(watched):
    watched.until("document.documentElement.dataset.drawn === 'true'")
    return watched.page


# ---- without a browser


def markup(page):
    return re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)


def test_nothing_in_the_page_asks_for_anything_outside_it(made):
    page = render(made)
    assert not re.search(r"<(script|img|iframe)[^>]*src=|<link|@import|url\((?!#)", markup(page))
    assert "default-src 'none'" in page
    assert len(page.encode()) < 2_500_000


def test_every_number_of_the_page_stands_in_the_json(made):
    """--json is the page: what can be read in the tables can be read there."""
    shown = json.loads(json.dumps(made))
    page = markup(render(made))
    for row in shown["loss"]["rows"].values():
        assert all(f"<b>{cell['value']:.3f}</b>" in page for cell in row)
    assert shown["headline"]["sentence"] in html.unescape(page)


def test_sections_without_data_are_left_out(made):
    run = make_run([reading(plan, d, [2.0] * 4095) for plan in plans().values() for d in "abc"], plans())
    page = markup(render(certificate(run)))
    assert re.findall(r'<section id="(\w+)"', page) == ["loss", "anchors", "provenance"]
    for words in ("Wilson", "KL(base", "Effective length"):
        assert words not in page  # nor is it explained how they were computed


def test_the_page_says_how_a_reading_is_judged_as_the_verdict_does():
    """docs/statistics.md, "The verdict": shown to lose less than the margin, from the shortest length up."""
    run = make_run([reading(plan, d, [2.0] * 1023) for plan in plans().values() for d in "abc"], plans())
    page = " ".join(markup(render(certificate(run, margin=0.25))).split())
    (said,) = re.findall(r"<dt>Reads to</dt><dd>(.*?)</dd>", page)
    assert "is shown to lose less than 0.25 bits per token" in said
    assert "the whole 95 % interval of the paired difference lies below that" in said
    assert "from the shortest up, until one does not hold" in said
    assert "Fewer than five documents decide nothing" in said
    assert "significantly" not in said


def test_documents_are_counted_without_all_of_them_in_a_row():
    """A protocol that reads all as one text files it under a name of its own: "over 3 documents" they are."""
    run = make_run([reading(plan, d, [2.0] * 1023) for plan in plans().values() for d in ("a", "b", "c", CORPUS)], plans())
    assert "Bands are 95 % intervals over 3 documents" in markup(render(certificate(run)))


def test_a_run_without_readings_still_makes_a_page():
    run = make_run([r for r in whole_run() if r.key.protocol != "window"], plans())
    page = markup(render(certificate(run)))
    assert re.findall(r'<section id="(\w+)"', page) == ["retrieval", "ruler", "tax", "speed", "provenance"]
    assert "it has no verdict" in page


@pytest.mark.parametrize("seed", range(12))
def test_any_part_of_a_run_makes_a_page_and_says_what_is_missing(seed):
    """As a run that was killed leaves it: some records, in no order, of some methods."""
    rng = random.Random(seed)
    share = rng.choice([0.002, 0.01, 0.1, 0.5])
    left = [r for r in RECORDS if rng.random() < (share * 20 if r.key.protocol in ("window", "tax", "speed") else share)]
    some = dict(rng.sample(sorted(plans().items()), rng.randint(1, 5)))
    left = [r for r in left if r.key.method in some] or [next(r for r in RECORDS if r.key.method in some)]
    made = certificate(make_run(left, some))
    page = markup(render(made))
    assert json.dumps(made, allow_nan=False)
    assert not re.search(r"\b(None|nan|inf)\b", page)
    assert ("This run is not finished" in page) == bool(made["missing"])


@pytest.mark.parametrize("tokens", [9, 300, 600])
def test_readings_that_end_early_make_a_page_too(tokens):
    """Shorter than half the trained length, than the trained length, and than twice that: some buckets are nobody's."""
    run = make_run([reading(plan, d, [2.0] * tokens) for plan in plans().values() for d in "abc"], plans())
    made = certificate(run)
    assert "not read" in markup(render(made)) or tokens == 600
    assert made["headline"]["times"] == (1 if tokens == 600 else None)


def test_a_name_cannot_become_markup_or_end_a_script():
    nasty = "</script><script>alert(1)</script>"
    run = make_run([reading(plan, nasty, [2.0] * 4095) for plan in plans().values()], plans(), {"model": nasty})
    assert nasty not in render(certificate(run))
    assert json.loads(for_script({"name": nasty})) == {"name": nasty}
    assert "<" not in for_script({"name": nasty})


def test_an_older_report_is_replaced_and_anything_else_is_not(made, tmp_path):
    out, other = tmp_path / "report.html", tmp_path / "thesis.html"
    other.write_text("years of work")
    write_page(out, made)
    write_page(out, made)
    with pytest.raises(OutputExists, match="not a Ropewalk report"):
        write_page(other, made)
    with pytest.raises(BadConfig, match="is a folder"):
        write_page(tmp_path, made)
    assert other.read_text() == "years of work"
    write_page(other, made, force=True)


# ---- in Chromium


def test_it_asks_the_network_for_nothing_and_complains_of_nothing(browser, file):
    with Watched(browser, file) as watched:
        page = drawn(watched)
        page.click("#theme")
        assert [url for url in watched.requests if not url.startswith(("data:", "file:"))] == []
        assert len([url for url in watched.requests if url.startswith("file:")]) == 1
        assert watched.complaints == []


def test_the_sections_and_both_figures_are_there(browser, file):
    with Watched(browser, file) as watched:
        page = drawn(watched)
        assert page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
        for plot in ("loss-plot", "anchors-plot"):
            assert page.evaluate("id => document.querySelectorAll(`#${id} .scatterlayer .trace`).length", plot) >= 5
        assert page.evaluate("document.querySelectorAll('table.heat').length") == 10  # two tasks, five methods


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(browser, file, width):
    with Watched(browser, file, viewport={"width": width, "height": 800}) as watched:
        page = drawn(watched)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for plot in ("loss-plot", "anchors-plot"):
            shown = "id => document.querySelector(`#${id} .main-svg`).getBoundingClientRect().width"
            assert page.evaluate(shown, plot) <= width


def test_a_click_on_the_legend_hides_the_line_and_its_band(browser, file):
    with Watched(browser, file) as watched:
        page = drawn(watched)
        count = "document.querySelectorAll('#loss-plot .scatterlayer .trace').length"
        before = page.evaluate(count)
        button = page.locator('[data-plot="loss-plot"][data-group="linear"]')
        button.click()
        watched.until(f"{count} === {before - 2}")
        assert button.get_attribute("aria-pressed") == "false"
        button.click()
        watched.until(f"{count} === {before}")


def test_the_theme_changes_the_words_of_the_figures_too(browser, file):
    colour = "getComputedStyle(document.querySelector('#loss-plot .xtick text')).fill"
    with Watched(browser, file, color_scheme="light") as watched:
        page = drawn(watched)
        light = page.evaluate(colour)
        page.click("#theme")
        assert page.evaluate(colour) != light
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_on_paper_it_is_light_unfolded_and_no_wider_than_a_sheet(browser, file):
    with Watched(browser, file, color_scheme="dark") as watched:
        page = drawn(watched)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        assert page.evaluate("getComputedStyle(document.querySelector('.sheet')).backgroundColor") == "rgb(255, 255, 255)"
        watched.until("document.querySelector('#loss-plot .main-svg').getBoundingClientRect().width <= 640")


def test_a_browser_that_cannot_unpack_is_told_where_the_numbers_are(browser, file, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(file.read_text().replace('new DecompressionStream("gzip")', "new NoSuchStream()"))
    with Watched(browser, broken) as watched:
        page = drawn(watched)
        assert "Its numbers are in the tables" in page.inner_text("#loss-plot")


def test_every_button_has_a_name_and_every_id_is_used_once(browser, file):
    unnamed = "[...document.querySelectorAll('button')].filter(b => !(b.textContent.trim() || b.ariaLabel)).length"
    with Watched(browser, file) as watched:
        page = drawn(watched)
        assert page.evaluate(unnamed) == 0
        ids = page.evaluate("[...document.querySelectorAll('main [id]')].map(e => e.id).filter(id => !id.startsWith('clip'))")
        ours = [name for name in ids if not re.search(r"xy|legend|clip|axes|top|g", name) or name in SECTIONS]
        assert len(ours) == len(set(ours))
