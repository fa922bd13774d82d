"""The content of the page of a synthetic report of ten runs; test_report_browser.py checks look and behaviour."""

import re

import numpy as np
import pytest
from markupsafe import escape

from translator.metrics.table import MEASURES
from translator.report.page import number, shade, short, table_rows
from translator.report.verdict import RULE, middle


@pytest.fixture(scope="module")
def text(report_page):
    return report_page.path.read_text()


def test_every_run_and_reference_is_a_row_of_the_one_table(report_page, text):
    table = text[text.index('<table id="summary">') :]
    table = table[: table.index("</table>")]
    names = re.findall(r'data-row="([^"]+)"', table)
    assert names == [*report_page.runs, "floor", "oracle", "bilinear"] * 2
    assert table.count('<th class="measure') == len(report_page.measures)


def test_a_line_of_the_table_counts_where_it_is_closer_than_bilinear(report_page):
    lines = {line["name"]: line for line in table_rows(report_page.report, "sdss_to_cfht", report_page.measures)}
    assert (lines["run0"]["near"], lines["run0"]["of"]) == (len(report_page.measures), len(report_page.measures))
    assert (lines["bilinear"]["near"], lines["bilinear"]["of"]) == (0, 0)
    assert [line["fixed"] for line in lines.values()] == [False] * 10 + [True] * 3
    shades = {name: line["cells"][1]["shade"] for name, line in lines.items()}
    assert (shades["run9"], shades["run0"], shades["bilinear"]) == ("s0", "s0", "s2")
    cell = lines["run9"]["cells"][0]
    assert (cell["value"], cell["off"], cell["alike"]) == (9.0, 9.0, False)


def test_the_order_is_verdict_gallery_sections_provenance_and_the_map_of_all_measures(text):
    names = ("verdict", "gallery", "photometry", "redshift", "provenance", "overview")
    places = [text.index(f'id="{name}"') for name in names]
    assert places == sorted(places)
    assert "<details" in text[places[-1] : text.index('<table id="summary">')]


def test_the_first_screen_has_sentence_table_galaxy_and_rule(report_page, text):
    first = text[text.index('id="verdict"') : text.index('id="gallery"')]
    assert first.count("closer to the truth than bilinear in 19 of 19 measures, farther in 0") == 2 * len(
        report_page.runs
    )
    assert escape(RULE) in first
    names = re.findall(r'data-row="([^"]+)"', first)
    assert names == [*report_page.runs, "bilinear", "floor", "input itself"] * 2
    captions = re.findall("<figcaption>([^<]+)</figcaption>", first)
    assert captions[: len(captions) // 2] == [
        "SDSS original", *report_page.runs, "bilinear", "CFHTLS target", "noise-free truth"
    ]  # fmt: skip


def test_what_is_beyond_a_cap_is_said_so_in_every_place(report_page, text):
    assert MEASURES["aperture_offset"].cap == 2.5
    section = text[text.index('<h3 id="aperture_offset">') :].split("<h3", 2)[1]
    assert "&gt; 2.5 (&gt; 2.5 to &gt; 2.5)" in section
    assert "&gt; 2.5▸" in section
    assert ">3 (" not in section


def test_each_measure_says_what_it_means_and_how_it_is_computed(report_page, text):
    for name in report_page.measures:
        section = text[text.index(f'<h3 id="{name}">') :].split("<h3", 2)[1]
        assert "<svg" in section
        for words in (MEASURES[name].meaning[1:], MEASURES[name].formula[:-1], MEASURES[name].source):
            assert escape(words) in section


def test_a_number_that_all_bands_share_is_shown_once(text):
    section = text[text.index('<h3 id="photoz_bias">') :].split("</details>")[0]
    assert section.count(">all bands<") == 2 * 2  # in plot and table of both directions
    assert '<th scope="col">r</th>' not in section


def test_the_page_is_small(report_page):
    assert report_page.path.stat().st_size < 2e6


def test_numbers_have_three_digits_and_dashes_where_there_are_none():
    assert [number(each) for each in (0.012345, -2.0, None, np.nan)] == ["0.0123", "−2", "–", "–"]
    assert [number(each, 2.5) for each in (2.5, 2.49, -3.0, None)] == ["> 2.5", "2.49", "−3", "–"]
    assert middle([None, 1.0, 3.0]) == 2
    assert middle([None]) is None


def test_colours_are_errors_in_units_of_bilinear_s_and_not_of_the_interval():
    found = [shade(each, 1.0, "mag") for each in (0.0, 0.5, 0.8, 1.0, 1.5, 3.0, None)]
    assert found == ["s0", "s0", "s1", "s2", "s3", "s4", "none"]
    assert shade(1.0, None, "mag") == shade(1.0, np.inf, "mag") == "none"
    assert shade(0.009, 0.0001, "mag") == "s2"  # both below the tolerance of a magnitude


def test_a_long_title_keeps_its_end():
    assert short("Size: bias") == "Size: bias"
    assert short("Redshift (learnt from real images): scatter").endswith("s): scatter")
    assert len(short("x" * 99)) <= 32
