"""Colours, lines and numbers as the certificate shows them."""

import math

import pytest

from ropewalk.jobs.report.figures import anchor_figure, loss_figure, styles
from ropewalk.jobs.report.marks import number, seal, short
from ropewalk.jobs.report.sections import published
from ropewalk.scaling.method import methods


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#1b1e24"])
def test_every_line_stands_out_on_light_and_on_dark_paper(paper):
    """At least 3 to 1, as WCAG 2.2 asks of graphics."""
    for method, (colour, _) in styles([*methods(), "dynamic", "one", "two", "three"]).items():
        assert contrast(colour, paper) >= 3, method


def test_a_dynamic_method_has_the_colour_of_what_it_is_over_and_a_broken_line():
    found = styles(["none", "ntk", "yarn", "dynamic-request", "dynamic-yarn", "dynamic-yarn-request"])
    assert found["dynamic-request"][0] == found["ntk"][0]
    assert found["dynamic-yarn"][0] == found["dynamic-yarn-request"][0] == found["yarn"][0]
    assert [found[m][1] for m in ("ntk", "yarn")] == ["solid", "solid"]
    assert len({found[m] for m in found}) == len(found)


def test_near_distances_have_the_colour_of_what_is_beyond_them_and_a_broken_line():
    found = styles(["linear", "near-0.25-linear-log_n", "near-linear", "near-yarn", "near-self_extend"])
    assert found["near-linear"][0] == found["near-0.25-linear-log_n"][0] == found["linear"][0]
    assert found["near-yarn"][0] == styles(["yarn"])["yarn"][0]
    assert found["linear"][1] == "solid"
    assert len({found[m] for m in found}) == len(found)


def test_a_curve_that_breaks_leaves_the_picture_and_is_named():
    """The best is 3 at its worst, so the picture ends at 1.7 times that, 5.1."""
    whole, broken = [interval(3), interval(2)], [interval(3), interval(9)]
    layout = loss_figure({"yarn": whole, "none": broken}, [0, 4, 16], 4)["layout"]
    assert list(layout["yaxis"]["range"]) == pytest.approx([0, 5.1])
    assert [a["text"] for a in layout["annotations"]][1:] == [" off the picture: none"]
    kept = loss_figure({"yarn": whole, "none": [interval(3), interval(5)]}, [0, 4, 16], 4)["layout"]
    assert "range" not in kept["yaxis"]
    assert len(kept["annotations"]) == 1


@pytest.mark.parametrize(("edges", "side"), [((0, 256, 512, 1024, 2048, 4096), "left"), ((0, 4096, 8192, 16_384), "right")])
def test_the_label_of_the_trained_length_is_where_there_is_more_room(edges, side):
    """On a phone it left the picture. By the logarithm the middle is 724 from 128 to 4,096, and 5,793 from 2,048 to 16,384."""
    bucket = {"value": 2.0, "low": None, "high": None}
    layout = loss_figure({"none": [bucket] * (len(edges) - 1)}, edges, edges[2])["layout"]
    assert layout["annotations"][0]["xanchor"] == side


def test_two_factors_of_one_method_are_told_apart():
    found = styles(["yarn@4", "yarn@8"])
    assert found["yarn@4"][0] == found["yarn@8"][0]
    assert found["yarn@4"][1] != found["yarn@8"][1]


def interval(value):
    return {"value": value, "low": value - 1, "high": value + 1}


def test_the_loss_figure_draws_each_bucket_at_its_middle_with_its_band():
    """Buckets 0-4, 4-16 and 16-64: halfway, and at the geometric means 8 and 32."""
    data = loss_figure({"none": [interval(3), interval(4), interval(5)]}, [0, 4, 16, 64], 16)["data"]
    band, line = data
    assert list(line["x"]) == [2, 8, 32]
    assert list(line["y"]) == [3, 4, 5]
    assert list(band["x"]) == [2, 8, 32, 32, 8, 2]
    assert list(band["y"]) == [4, 5, 6, 4, 3, 2]


def test_the_axis_is_marked_in_doublings_of_the_trained_length():
    axis = loss_figure({"none": [interval(3)] * 3}, [0, 256, 512, 4096], 512)["layout"]["xaxis"]
    assert list(axis["ticktext"]) == ["128", "256", "512", "1,024", "2,048", "4,096"]


def test_published_curves_are_ratios_of_losses_to_the_original_length():
    """YaRN 7B s = 32 at 131,072: ln 2.372 / ln 3.7524 = 0.8637 / 1.3224 = 0.653, worked out by hand from the published CSV."""
    anchors = {anchor["name"]: anchor for anchor in published()["loss"]}
    yarn = anchors["Yarn-Llama-2-7b-128k"]
    assert yarn["ratios"][yarn["lengths"].index(4096)] == 1.0
    assert yarn["ratios"][-1] == pytest.approx(0.653, abs=5e-4)
    assert anchors["LongLoRA Llama-2-7B 8k"]["ratios"] == []


def test_every_anchor_has_a_source_a_protocol_and_a_warning_and_what_is_drawn_has_one_protocol():
    anchors = published()
    for anchor in anchors["loss"]:
        assert anchor["source"] and anchor["protocol"] and anchor["warning"]  # noqa: PT018
        assert len(anchor["lengths"]) == len(anchor["perplexity"])
        assert not anchor["shown"] or anchor["ratios"]
        assert not anchor["second_hand"] or "transcri" in anchor["source"]
    assert len({anchor["protocol"] for anchor in anchors["loss"] if anchor["shown"]}) == 1
    for anchor in anchors["ruler"]:
        assert anchor["source"] and len(anchor["lengths"]) == len(anchor["percent"])  # noqa: PT018


def test_the_published_table_2_of_yarn_is_what_the_csv_rounds_to():
    """Peng et al. 2023, table 2, at 8k 32k 64k 96k 128k: typed from the paper, and the anchors from the authors' CSV."""
    paper = {
        "Code Llama 7B": [3.71, 2.74, 2.55, 2.54, 2.71],
        "Yarn-Llama-2-7b-128k": [3.56, 2.70, 2.45, 2.36, 2.37],
        "Code Llama 13B": [3.54, 2.63, 2.41, 2.37, 2.54],
        "Yarn-Llama-2-13b-128k": [3.29, 2.53, 2.31, 2.23, 2.24],
    }
    anchors = {
        anchor["name"]: dict(zip(anchor["lengths"], anchor["perplexity"], strict=True)) for anchor in published()["loss"]
    }
    for name, row in paper.items():
        assert [anchors[name][n] for n in (8192, 32768, 65536, 98304, 131072)] == pytest.approx(row, abs=0.0051)


def test_own_curves_and_published_ones_share_the_axis_of_multiples():
    anchor = {"name": "a", "lengths": [4096, 8192], "ratios": [1.0, 0.9], "original_length": 4096}
    published_line, own = anchor_figure({"yarn": {512: 1.0, 2048: 0.8}}, [anchor], 512)["data"]
    assert list(published_line["x"]) == [1, 2]
    assert list(own["x"]) == [1, 4]
    assert list(own["y"]) == [1.0, 0.8]


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (4096, "short", "4,096"),
        (8192, "short", "8k"),
        (10_000, "short", "10,000"),
        (0.0123, "signed", "+0.012"),
        (-0.0123, "signed", "\N{MINUS SIGN}0.012"),
        (-0.0001, "signed", "0.000"),
        (0.0512, "signed_percent", "+5.1 %"),
        (0.125, "percent1", "12.5 %"),
        (1234.5, "times", "1.2e+03"),
        (14.52, "times", "14.5"),
        (0.8404, "times", "0.840"),
        (3 * 2**30, "bytes", "3.0 GiB"),
        (math.inf, ".3f", "unknown"),
        (None, ".3f", "unknown"),
    ],
)
def test_how_numbers_are_written(value, form, words):
    assert number(value, form) == words
    assert short(131_072) == "128k"


def test_the_seal_says_what_it_shows_to_those_who_cannot_see_it():
    assert 'aria-label="8×: &lt;b&gt;, length"' in seal("8×", ("<b>", "length"))
