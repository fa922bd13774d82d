"""Images of any size: no seams, the same result as for cutouts, also in draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from survey_tools.images.sky_wcs import north_up_wcs, tan_terms
from translator import RECIPES
from translator.runs.checkpoint import Run, build_networks
from translator.runs.facts import Domain, RunFacts
from translator.translation import whole_images
from translator.translation.whole_images import RequestedImage, SkyGrid, translate_whole

BANDS = ("g", "r")
SIGMA = {"x": 0.01, "y": 0.001}
UNKNOWN = np.full(len(BANDS), np.nan)
KNOWN = {"psf_fwhm": np.array([1.3, 1.2]), "sky_sigma": np.full(2, SIGMA["x"]), "gain": UNKNOWN}


@pytest.fixture(scope="module")
def run():
    """A run of `psf_matched` with random weights, so that every network changes its input."""
    domains = {
        "x": Domain("sdss", BANDS, 64, 0.396, (0.01,) * 2, "a", (1.3,) * 2),
        "y": Domain("cfht", BANDS, 136, 0.186, (0.001,) * 2, "b", (0.7,) * 2),
    }
    facts = RunFacts("psf_matched", (1, 1, 1), 2, 0, domains, "c", width=8)
    networks = build_networks(facts, RECIPES["psf_matched"]).eval()
    torch.manual_seed(0)
    for name, parameter in networks.named_parameters():
        if name.startswith(("restoration", "draws")) and not float(parameter.detach().abs().max()):
            torch.nn.init.normal_(parameter, 0, 0.1)
    for domain, sigma in SIGMA.items():
        networks[f"survey_{domain}"].sky_sigma.fill_(sigma)
        networks[f"survey_{domain}"].log_sigma.fill_(np.log(sigma))
    return Run(Path("run"), facts, networks, torch.device("cpu"), 3, "0" * 64)


def grid(shape, scale):
    return SkyGrid(*tan_terms(north_up_wcs(30.0, 10.0, scale, 1)), shape)


def field(shape, seed=0):
    """A field of galaxies with noise (band, row, col)."""
    random = np.random.default_rng(seed)
    rows, cols = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(shape[0] * shape[1] // 900):
        row, col = random.uniform(0, shape[0]), random.uniform(0, shape[1])
        part = np.s_[max(0, int(row) - 25) : int(row) + 25, max(0, int(col) - 25) : int(col) + 25]
        distance = np.hypot(rows[part] - row, cols[part] - col)
        image[part] += random.uniform(0.05, 1) * np.exp(-((distance / random.uniform(1, 4)) ** 2))
    return np.stack([image, 1.5 * image]) + SIGMA["x"] * random.normal(size=(2, *shape))


def asked(shape, **changes):
    usual = RequestedImage("y", grid(shape, 0.186), UNKNOWN, UNKNOWN, UNKNOWN, noise=False)
    return replace(usual, **changes)


def test_tiles_leave_no_seams(run, monkeypatch):
    image, wanted = field((200, 170)), asked((408, 352), draws=1)
    whole = translate_whole(run, image, grid((200, 170), 0.396), KNOWN, wanted)
    monkeypatch.setattr(whole_images, "MIDDLE", 160)
    tiled = translate_whole(run, image, grid((200, 170), 0.396), KNOWN, wanted)
    assert whole_images.tile_count((408, 352)) == 9
    assert np.nanmax(np.abs(whole.signal - whole.signal.mean())) > SIGMA["y"]
    for made, right in ((tiled.signal, whole.signal), (tiled.draws[0], whole.draws[0])):
        resolved = 2 * np.spacing(np.abs(right))  # of float32: in bright pixels more than the noise asks for
        assert (np.abs(made - right) <= 1e-4 * SIGMA["y"] + resolved).all()
    assert np.nanstd(whole.draws[0] - whole.signal) > 0.1 * SIGMA["y"]
    np.testing.assert_allclose(tiled.consistency, whole.consistency, rtol=1e-3)


def test_the_middle_of_a_field_is_that_of_a_cutout(run):
    image = field((180, 180))
    whole = translate_whole(run, image, grid((180, 180), 0.396), KNOWN, asked((360, 360)))
    part = np.s_[:, 20:160, 30:170]
    there = grid((180, 180), 0.396).window((20, 30), (140, 140))
    cut = asked((0, 0)).grid.window((56, 72), (256, 256))
    alone = translate_whole(run, image[part], there, KNOWN, asked((0, 0), grid=cut))
    middle = np.s_[:, 100:156, 100:156]
    difference = alone.signal[middle] - whole.signal[:, 56:312, 72:328][middle]
    assert np.abs(difference).max() < 1e-4 * SIGMA["y"]


def test_a_gap_and_a_missing_band_stay_where_they_are(run):
    image = field((80, 80))
    image[0, 30:36, 40:46] = np.nan
    made = translate_whole(run, image, grid((80, 80), 0.396), KNOWN, asked((170, 170), noise=True))
    missing = np.isnan(made.image)
    assert 50 < missing[0].sum() < 400
    assert not missing[1].any()
    image[0] = np.nan
    made = translate_whole(run, image, grid((80, 80), 0.396), KNOWN, asked((170, 170)))
    assert np.isnan(made.signal[0]).all()
    assert np.isfinite(made.signal[1]).all()


def test_the_spread_has_the_noise_and_what_draws_differ_by(run):
    image, here = field((64, 64)), grid((64, 64), 0.396)
    wanted = asked((136, 136), noise=True, spread=True, sigma=np.full(2, 0.002))
    made = translate_whole(run, image, here, KNOWN, wanted)
    assert made.sigma.min() >= 0.002 * 0.999
    assert made.noise_sigma == pytest.approx([0.002, 0.002])
    assert np.median(made.sigma) < 0.1
    same = translate_whole(run, image, here, KNOWN, wanted)
    np.testing.assert_array_equal(made.image, same.image)
    other = translate_whole(run, image, here, KNOWN, replace(wanted, seed=1))
    assert (made.image != other.image).all()
    np.testing.assert_array_equal(made.signal, other.signal)


def test_what_is_asked_for_outside_of_the_image_is_missing(run):
    image = field((64, 64))
    away = SkyGrid(*tan_terms(north_up_wcs(30.2, 10.0, 0.186, 50)), (50, 50))
    made = translate_whole(run, image, grid((64, 64), 0.396), KNOWN, asked((0, 0), grid=away))
    assert np.isnan(made.signal).all()


def test_the_poorer_survey_s_image_has_no_consistency_to_ask_for(run):
    image = 0.1 * field((136, 136))
    known = KNOWN | {"psf_fwhm": np.full(2, 0.7), "sky_sigma": np.full(2, 0.001)}
    wanted = replace(asked((64, 64)), domain="x", grid=grid((64, 64), 0.396), noise=True)
    made = translate_whole(run, image, grid((136, 136), 0.186), known, wanted)
    assert np.isnan(made.consistency).all()
    assert np.isfinite(made.image).all()


def test_progress_is_told_tile_by_tile(run, monkeypatch):
    monkeypatch.setattr(whole_images, "MIDDLE", 64)
    told = []
    translate_whole(
        run, field((90, 90)), grid((90, 90), 0.396), KNOWN, asked((250, 250), draws=1),
        done=lambda at, of: told.append((at, of)),
    )  # fmt: skip
    assert told == [(n + 1, 32) for n in range(32)]
