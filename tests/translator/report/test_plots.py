"""Plots and pictures of a report: places of marks, visible noise, and rows that differ in grey."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from translator.metrics.measure import Curve
from translator.report.gallery import chosen, mean_misses, middle_galaxy, rank
from translator.report.measuring import Measured
from translator.report.panels import BRIGHTEST, FAINTEST, KNEE, Panel, colour_panel, grey_panel, map_table, rgb_bands
from translator.report.plots import GREYS, as_shown, draw_curve, draw_measure, log_ticks, style
from translator.report.sample_files import SampleFiles

ROW = {"title": "a < b", "perfect": 0.0}


def values(**rows):
    """Rows of a report whose intervals extend by a tenth to either side."""
    return {
        name: {"value": each, **{k: [v and v + d for v in each] for k, d in (("low", -0.1), ("high", 0.1))}}
        for name, each in rows.items()
    }


def dots(svg):
    """Return the places (x, y) of the dots of each line, by class of colour."""
    return [
        (colour, [tuple(map(float, each)) for each in re.findall(r"M([\d.]+) ([\d.]+)h0", path)])
        for colour, path in re.findall(r'class="d (c\d?)" d="([^"]*)"', svg)
    ]


def test_a_line_a_row_and_a_mark_a_band():
    svg = draw_measure(ROW, values(run=[1.0, 2.0], floor=[0.5, None]), ["g", "r"], ["run"])
    (run, places), (floor, of_floor) = dots(svg)
    assert (run, floor, len(places), len(of_floor)) == ("c0", "c", 2, 1)
    assert places[0][1] == places[1][1] < of_floor[0][1]  # rows below each other
    assert places[0][0] < 290 < places[1][0]  # bands beside each other
    assert svg.count('class="fl"') == 1
    assert "a &lt; b" in svg


def test_marks_are_in_the_order_of_their_values():
    svg = draw_measure(ROW, values(a=[1.0], b=[3.0], c=[-1.0]), ["r"], ["a", "b", "c"])
    a, b, c = (places[0][0] for _, places in dots(svg))
    assert c < a < b
    assert np.isclose(b - a, a - c, atol=0.3)


def test_what_is_far_off_is_an_arrow_with_its_number():
    rows = values(**{f"run{i}": [0.1 * i + 0.1] for i in range(5)}, wild=[-5000.0])
    svg = draw_measure(ROW, rows, ["r"], list(rows))
    assert "◂−5e+03" in svg
    assert len(dots(svg)) == 5


def test_what_is_at_the_cap_is_drawn_as_beyond_it():
    rows = values(good=[0.1], other=[0.2], lost=[2.5])
    svg = draw_measure(ROW | {"cap": 2.5}, rows, ["r"], list(rows))
    assert "&gt; 2.5▸" in svg
    assert len(dots(svg)) == 2
    assert "2.5" not in "".join(re.findall(r'class="t"[^>]*>([^<]*)', svg))  # the axis is that of the others
    assert "&gt; 2.5▸" in draw_measure(ROW | {"cap": 2.5}, values(lost=[2.5]), ["r"], ["lost"])


@pytest.mark.parametrize("value", [0.0, 1.0, None])
def test_one_value_or_none_is_drawn_too(value):
    assert draw_measure(ROW, {"run": {key: [value] for key in ("value", "low", "high")}}, ["r"], ["run"])


def test_bands_with_the_same_number_are_one():
    assert as_shown(values(a=[1.0, 1.0], b=[2.0, 2.0]), ["g", "r"])[1] == ["all bands"]
    assert as_shown(values(a=[1.0, 1.0], b=[2.0, 3.0]), ["g", "r"])[1] == ["g", "r"]


def test_many_runs_stay_apart_in_grey():
    runs = [f"run{i}" for i in range(12)]
    looks = [style(name, runs) for name in runs] + list(GREYS.values())
    assert len({marker for _, marker, _ in looks}) == len(looks)
    assert len({(colour, str(line)) for colour, _, line in looks}) == len(looks)


def test_curves_of_many_rows_have_one_line_for_a_shared_target():
    x, target = np.arange(1.0, 9), np.ones((2, 8))
    curves = {f"run{i}": Curve("t", "x", "y", x, {"target": target + 0.001 * i, "out": target * i}) for i in range(10)}
    picture = Image.open(io.BytesIO(draw_curve("SDSS to CFHT", ["g", "r"], curves)))
    assert picture.width >= 700
    assert picture.height < 600


def test_maps_are_a_line_a_row_with_what_they_share_first():
    random = np.random.default_rng(0)
    target, flat = random.random((2, 40, 40)), np.full((2, 40, 40), 0.5)
    curves = {
        name: Curve("t", "x", "y", np.ones(1), {}, maps={"target": target, "output": flat * k, "ratio": flat - k})
        for k, name in enumerate(["a", "b", "c"])
    }
    table = map_table(["g", "r"], curves)
    assert [kind["title"] for kind in table["kinds"]] == ["output", "ratio"]
    assert [row["name"] for row in table["rows"]] == ["target", "a", "b", "c"]
    assert [bool(uri) for uri in table["rows"][0]["cells"]] == [True, True, False, False]
    assert all(uri.startswith("data:image/webp") for uri in table["rows"][2]["cells"])
    low, high = table["kinds"][0]["scales"][0]
    assert np.allclose([low, high], np.percentile(target[0], [1, 99]))
    low, high = table["kinds"][1]["scales"][0]
    assert low == -high < 0


def test_large_maps_are_averaged():
    maps = {"output": np.ones((1, 136, 136))}
    uri = map_table(["r"], {"a": Curve("t", "x", "y", np.ones(1), {}, maps=maps)})["rows"][0]["cells"][0]
    assert len(uri) < 400


def galaxy(noise=0.04):
    """A galaxy with noise [nanomaggy/arcsec²], brighter at the bottom."""
    images = np.random.default_rng(0).normal(0, noise, (5, 64, 64))
    images[:, :8] += 5
    return Panel("a", images, tuple("ugriz"), 1.0)


def read(picture):
    return np.asarray(Image.open(io.BytesIO(picture)), float)


def test_noise_survives_in_a_grey_panel():
    panel = galaxy()
    found = read(grey_panel(panel, "r"))[:48, :, 0]
    wanted = (np.arcsinh(panel.images[2] / KNEE) - FAINTEST) / (BRIGHTEST - FAINTEST) * 255
    wanted = wanted[::-1][:48]
    assert np.isclose(found.std(), wanted.std(), rtol=0.15)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.75


def test_north_is_up_and_bands_are_told_apart():
    panel = galaxy()
    for picture in (colour_panel(panel), grey_panel(panel, "u")):
        assert read(picture)[-8:].mean() > 2 * read(picture)[:48].mean()
    assert grey_panel(panel, "u") != grey_panel(panel, "z")
    assert rgb_bands(tuple("ugriz")) == ("i", "r", "g")
    assert rgb_bands(("g", "z")) == ("z", "z", "g")


def test_missing_pixels_are_black():
    panel = Panel("a", np.full((1, 16, 16), np.nan), ("r",), 1.0)
    assert read(colour_panel(panel)).max() == 0


def test_ranks_and_choice():
    ranks = {"a": rank(np.array([0.3, 0.1, np.nan, 0.2])), "b": rank(np.array([3.0, 1.0, 2.0, 4.0]))}
    assert ranks["a"].tolist() == [3, 1, 0, 2]
    found = chosen(ranks, {"a": "A", "b": "B"})
    assert found == {
        1: ["best by A", "best by B"],
        3: ["median by A", "worst by B"],
        0: ["worst by A", "median by B"],
    }


def test_the_median_galaxy_is_that_of_the_first_run_by_the_residual_of_its_signal(tmp_path):
    images = np.ones((5, 3, 8, 8))
    files = SampleFiles(tuple("gri"), 0.2, 0.4, {}).add(
        tmp_path, target=images, source=images, sigma=images[:, :, 0, 0]
    )
    rows = dict.fromkeys(("one", "two", "wiener", "bilinear", "floor"), (files, None))
    facts = {"from": "SDSS", "to": "CFHTLS", "references": dict.fromkeys(("floor", "bilinear", "wiener"), "")}
    report = {"runs": [{"name": "one"}, {"name": "two"}], "directions": {"d": facts}}
    misses = {"signal_residual_real": np.array([5.0, 1.0, 4.0, 3.0, np.nan])}
    measured = {"one": Measured({}, {}, misses, {}), "two": Measured({}, {}, {}, {})}
    found = middle_galaxy(report, "d", rows, measured)
    assert (found["galaxy"], found["rank"], found["count"], found["by"]) == (2, 3, 4, "signal_residual_real")
    assert found["titles"] == ["SDSS original", "one", "two", "bilinear", "wiener", "CFHTLS target"]
    assert middle_galaxy(report, "d", rows, measured | {"one": measured["two"]})["by"] is None


def test_galaxies_are_sorted_only_by_what_each_of_them_has():
    def run(**misses):
        return Measured({}, {}, {name: np.array(each) for name, each in misses.items()}, {})

    runs = [
        run(aperture_offset=[1.0, 2.0, np.nan, 5.0], total_offset=[1.0] * 4, noise_amplitude_ks=[1.0, 2, 3, 4]),
        run(aperture_offset=[3.0, np.nan, np.nan, 7.0], coverage_pixels_68=[1.0, 2.0]),
    ]
    found = mean_misses(runs)
    assert list(found) == ["aperture_offset"]  # not what is alike, of the population, or of a few
    assert np.array_equal(found["aperture_offset"], [2.0, 2.0, np.nan, 6.0], equal_nan=True)


def test_a_logarithmic_plot_of_what_is_zero_or_missing_is_empty():
    y = {"a": np.array([[0.0, 0.0], [np.nan, np.nan], [1.0, 10.0]])}
    curves = {"run": Curve("t", "x", "y", np.array([1.0, 2.0]), y, log_x=True, log_y=True)}
    assert draw_curve("SDSS to CFHT", ["g", "r", "i"], curves).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((55, 1500), [100, 200, 500, 1000]),
        ((120, 290), [150, 200, 250]),
        ((0.003, 40), [0.01, 0.1, 1, 10]),
        ((1e-9, 1e3), [1e-9, 1e-6, 1e-3, 1, 1e3]),
    ],
)
def test_logarithmic_axes_have_a_few_round_ticks(ends, ticks):
    np.testing.assert_allclose(log_ticks(*ends), ticks)
