"""The page in a browser: Chromium without a screen. The tests are skipped if it or playwright is missing."""

import shutil
from types import SimpleNamespace

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, NARROW = {"width": 1366, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def opened(report_page):
    """The page in a browser without network, and all errors of the page."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the path")
    faults = []
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(viewport=WIDE, offline=True)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith("data:") or faults.append(request.url))
        page.goto(report_page.path.as_uri())
        assert faults.pop(0) == report_page.path.as_uri()  # the one request there is
        unfold(page)
        yield SimpleNamespace(page=page, faults=faults, runs=report_page.runs)
        browser.close()


def unfold(page):
    """Open every folded part of the page."""
    page.evaluate("document.querySelectorAll('details.fold').forEach(each => { each.open = true; })")


def order(page):
    """Return the runs in the map of all measures, top to bottom, in the first direction."""
    return page.eval_on_selector_all(
        "#summary tbody:nth-of-type(1) tr[data-row]", "rows => rows.map(r => r.dataset.row)"
    )


def cards(page):
    """Return galaxy and role of the cards that the first gallery shows, in order."""
    return page.eval_on_selector_all(
        ".gallery:first-of-type .card:not([hidden])",
        "cards => cards.map(c => [c.dataset.galaxy, c.querySelector('.role').textContent.split(' ')[0]])",
    )


def test_runs_are_sorted_by_a_click_and_references_stay_below(opened):
    page, references = opened.page, ["floor", "oracle", "bilinear"]
    assert order(page) == opened.runs + references
    button = page.locator("th.measure button").first
    button.click()
    assert order(page) == sorted(opened.runs) + references
    button.click()
    assert order(page) == sorted(opened.runs, reverse=True) + references
    page.locator("#summary thead tr:nth-child(2) th:first-child button").click()
    assert order(page) == opened.runs + references


def test_a_cell_says_its_value_interval_and_floor(opened):
    cell = opened.page.locator("#summary tr[data-row=run3] td.cell").nth(1)
    assert cell.inner_text() == ""  # colours only, at first
    cell.click()
    words = opened.page.inner_text("#about")
    assert words.startswith("run3, ")
    assert "3 mag (2.9 to 3.1)" in words
    assert "floor 0 mag (−0.1 to 0.1)" in words
    opened.page.check("#with-numbers")
    assert cell.inner_text().split() == ["3", "21.2"]
    assert opened.page.locator("#summary tr[data-row=run3] td.cell").first.inner_text().split("\n")[0] == "> 2.5"
    opened.page.uncheck("#with-numbers")


def test_one_section_at_a_time(opened):
    page = opened.page
    everything = page.locator("th.measure:visible").count()
    page.select_option("#which-section", "redshift")
    assert 0 < page.locator("th.measure:visible").count() < everything
    assert page.is_checked("#with-numbers")
    page.select_option("#which-section", "")
    assert page.locator("th.measure:visible").count() == everything


def test_the_gallery_shows_best_median_and_worst_by_any_measure(opened):
    page = opened.page
    options = page.eval_on_selector_all(".gallery:first-of-type .by option", "all => all.map(o => o.value)")
    assert options == ["aperture_offset", "total_offset", "photoz_bias"]
    page.select_option(".gallery:first-of-type .by", "aperture_offset")
    assert cards(page) == [["0", "Best"], ["4", "Median"], ["7", "Worst"]]
    page.select_option(".gallery:first-of-type .by", "total_offset")  # the other way round
    assert cards(page) == [["7", "Best"], ["3", "Median"], ["0", "Worst"]]
    page.locator(".gallery .worst").first.check()
    assert [galaxy for galaxy, _ in cards(page)] == ["0", "3", "7"]
    page.locator(".gallery .worst").first.uncheck()
    page.locator(".gallery .all").first.check()
    assert len(cards(page)) == page.locator(".gallery:first-of-type .card").count() > 3
    page.locator(".gallery .all").first.uncheck()
    page.locator("a[data-by=aperture_offset]").click()
    assert page.locator(".gallery .by").first.input_value() == "aperture_offset"


def test_pictures_are_there_in_colour_and_in_every_band(opened):
    lines = opened.page.locator(".card:not([hidden]) .pictures").first.locator("tbody th").all_inner_texts()
    assert lines == ["colour", "u", "g", "r", "i", "z"]
    broken = opened.page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)")
    assert broken == []


def test_every_link_leads_somewhere_on_the_page(opened):
    links = "[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
    lost = f"{links}.filter(h => !h.startsWith('#') || !document.getElementById(h.slice(1)))"
    assert opened.page.evaluate(lost) == []
    assert opened.page.evaluate(f"{links}.length") > 10


def test_verdict_table_and_galaxy_come_first_and_the_rest_is_folded(opened):
    page = opened.page
    top = page.eval_on_selector_all(
        ".sentences, .headline, .strip", "all => all.map(e => e.getBoundingClientRect().top + scrollY)"
    )
    gallery = page.evaluate("document.getElementById('gallery').getBoundingClientRect().top + scrollY")
    assert len(top) == 6
    assert max(top[:3]) < WIDE["height"]  # ten runs: those of the first direction
    assert max(top) < gallery
    page.evaluate("document.querySelectorAll('details.fold').forEach(each => { each.open = false; })")
    folded = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("location.hash = '#aperture_offset'")
    page.wait_for_function("document.querySelector('#photometry details.fold').open")
    unfold(page)
    assert folded < page.evaluate("document.documentElement.scrollHeight") / 1.5


def test_it_fits_a_phone(opened):
    opened.page.set_viewport_size(NARROW)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    for whole in (".sentences li", ".strip img", ".headline .stuck"):
        right = opened.page.eval_on_selector_all(
            whole, "all => Math.max(...all.map(e => e.getBoundingClientRect().right))"
        )
        assert 0 < right <= NARROW["width"], whole
    opened.page.check("#with-numbers")
    holder = opened.page.locator("#overview .wide")
    assert holder.evaluate("each => { each.scrollLeft = 1e4; return each.scrollLeft; }") > 0
    name = opened.page.locator("#summary tr[data-row=run3] th").first.bounding_box()
    assert 0 <= name["x"] < 30  # the names stay when the table is moved
    opened.page.uncheck("#with-numbers")
    opened.page.set_viewport_size(WIDE)


def test_it_can_be_looked_at_and_printed(opened, tmp_path):
    picture = opened.page.screenshot(path=tmp_path / "page.png")
    assert len(picture) > 10_000
    assert opened.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert opened.page.evaluate("document.querySelectorAll('#summary td.cell.s0').length") > 0


def test_nothing_went_wrong_and_nothing_was_fetched(opened):
    assert opened.faults == []
