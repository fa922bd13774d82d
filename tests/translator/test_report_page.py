"""What the page says of a synthetic report of ten runs; see test_report_browser.py for how it looks and behaves."""

import re

import numpy as np
import pytest
from markupsafe import escape

from translator.metrics.table import MEASURES
from translator.report_page import middle, number, shade, short, table_rows


@pytest.fixture(scope="module")
def text(report_page):
    return report_page.path.read_text()


def test_every_run_and_reference_is_a_row_of_the_one_table(report_page, text):
    table = text[text.index('<table id="summary">') :]
    table = table[: table.index("</table>")]
    names = re.findall(r'data-row="([^"]+)"', table)
    assert names == [*report_page.runs, "floor", "oracle", "bilinear"] * 2
    assert table.count('<th class="measure') == len(report_page.measures)


def test_a_line_of_the_table_counts_what_is_at_the_floor(report_page):
    lines = {line["name"]: line for line in table_rows(report_page.report, "sdss_to_cfht", report_page.measures)}
    assert (lines["run0"]["near"], lines["run0"]["of"]) == (len(report_page.measures), len(report_page.measures))
    assert lines["run9"]["near"] == 0
    assert lines["floor"]["of"] == 0
    assert [line["fixed"] for line in lines.values()] == [False] * 10 + [True] * 3
    cell = lines["run9"]["cells"][0]
    assert (cell["value"], cell["off"], cell["shade"]) == (9.0, 9.0, "s4")


def test_the_order_is_table_sections_gallery_provenance(text):
    places = [text.index(f'id="{name}"') for name in ("overview", "photometry", "redshift", "gallery", "provenance")]
    assert places == sorted(places)


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
    assert [shade(each) for each in (0.0, 1.0, 2.0, 9.0, 29.0, 99.0, None)] == [
        "s0",
        "s0",
        "s1",
        "s2",
        "s3",
        "s4",
        "none",
    ]
    assert middle([None, 1.0, 3.0]) == 2
    assert middle([None]) is None


def test_a_long_title_keeps_its_end():
    assert short("Size: bias") == "Size: bias"
    assert short("Redshift (learnt from real images): scatter").endswith("s): scatter")
    assert len(short("x" * 99)) <= 32
