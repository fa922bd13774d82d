from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.functional import interpolate

from survey_tools.band_fits import band_hdus
from survey_tools.crossmatch import peak_position
from survey_tools.errors import ImageError
from survey_tools.tan import north_up_wcs, rescaled_wcs, scale_of, tan_wcs
from survey_tools.tasks import Engine
from translator import fakes, loaded
from translator.checkpoint import Run, build_networks
from translator.facts import Domain, Facts
from translator.loaded import RunAt
from translator.networks.absent import NoEncoder
from translator.recipes import RECIPES
from translator.translate import translate_file, translate_files

RA, DEC = 38.57159, -7.09912
BANDS = tuple("ugriz")
ROTATED = tan_wcs((RA, DEC), (32.5, 32.5), 0.396 / 3600 * np.array([[-0.6, 0.8], [0.8, 0.6]]))


class Resizer(nn.Module):
    """A translator whose answer is known: the same sky on another grid, at the same flux a pixel."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, image, latent=None):
        return interpolate(image, size=(self.size, self.size), mode="bilinear", align_corners=False)


class White(nn.Module):
    """Noise of standard deviation 0.1, stretched."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, count, random):
        return 0.1 * torch.randn(count, len(BANDS), self.size, self.size, generator=random)


@pytest.fixture
def run() -> Run:
    domains = {
        "x": Domain("sdss", BANDS, 64, 0.396, (), "a"),
        "y": Domain("cfht", BANDS, 136, 0.186, (), "b"),
    }
    networks = nn.ModuleDict()
    for name, domain in domains.items():
        networks.update({f"generator_{name}": Resizer(domain.size), f"emulator_{name}": White(domain.size)})
        networks[f"encoder_{name}"] = NoEncoder(None, None)
    facts = Facts("two_step", (1, 2), 24, 0, domains, "c")
    return Run(Path("runs/known"), facts, networks, torch.device("cpu"), 3, "0" * 64)


def write(path, wcs, size, *, at=(RA, DEC), header=None, edit=None):
    """A galaxy 1.5 arcsec wide at a position [deg], in every band."""
    col, row = wcs.wcs_world2pix([at], 0)[0]
    rows, cols = np.indices((size, size))
    distance = np.hypot(rows - row, cols - col) * scale_of(wcs)
    images = np.stack([(band + 1) * np.exp(-0.5 * (distance / 1.5) ** 2) for band in range(len(BANDS))])
    if edit:
        edit(images)
    band_hdus(images, BANDS, wcs, header or fits.Header()).writeto(path)
    return path


def centroid(path, band="r"):
    """Where the galaxy lies on the sky [deg], by the file's own WCS."""
    with fits.open(path) as hdus:
        return WCS(hdus[band].header).pixel_to_world_values(*peak_position(hdus[band].data))


def offset(ra, dec):
    """Arcsec from the galaxy drawn."""
    return 3600 * np.hypot((ra - RA - 1 / 3600) * np.cos(np.radians(DEC)), dec - DEC - 2 / 3600)


@pytest.mark.parametrize("wcs", [north_up_wcs(RA, DEC, 0.396, 64), ROTATED], ids=["north up", "rotated"])
def test_the_galaxy_stays_where_it_is_on_the_sky(run, tmp_path, wcs):
    source = write(tmp_path / "a.fits", wcs, 64, at=(RA + 1 / 3600, DEC + 2 / 3600))
    there = translate_file(run, source, "y", tmp_path / "y.fits", noise=False)
    assert offset(*centroid(there)) < 0.05
    back = translate_file(run, there, "x", tmp_path / "x.fits", noise=False)
    assert offset(*centroid(back)) < 0.05


def test_the_result_has_the_target_s_pixels_and_says_what_it_is(run, tmp_path):
    header = fits.Header({"OBJECT": "g4", "RA": RA, "DEC": DEC})
    source = write(tmp_path / "a.fits", ROTATED, 64, header=header)
    path = translate_file(run, source, "y", tmp_path / "out" / "y.fits", seed=7)
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum is a warning, and warnings are errors
        primary = hdus[0].header
        assert primary["SYNTH"] is True
        assert (primary["GTFROM"], primary["GTTO"], primary["GTRECIPE"]) == ("SDSS", "CFHTLS", "two_step")
        assert (primary["GTRUN"], primary["GTSEED"], primary["GTNOISE"], primary["GTITER"]) == (
            "known",
            7,
            "sampled",
            3,
        )
        assert (primary["OBJECT"], primary["GTINPUT"]) == ("g4", "a.fits")
        assert len(primary["GTINSHA"]) == 64
        assert "translated SDSS into CFHTLS" in str(primary["HISTORY"])
        assert [hdu.name for hdu in hdus[1:]] == list(BANDS)
        for hdu in hdus[1:]:
            assert hdu.data.shape == (136, 136)
            assert hdu.data.dtype == np.dtype(">f4")
            assert hdu.header["BUNIT"] == "nanomaggy"
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
            assert_allclose(scale_of(WCS(hdu.header)), 0.186, rtol=1e-6)
            assert_allclose(WCS(hdu.header).pixel_to_world_values(67.5, 67.5), (RA, DEC), atol=1e-9)
    assert [entry.name for entry in path.parent.iterdir()] == ["y.fits"]


def test_noise_is_repeated_by_its_seed_and_differs_between_files(run, tmp_path):
    def pixels(name, seed, noise=True):
        path = translate_file(run, tmp_path / name, "y", tmp_path / "out.fits", noise=noise, seed=seed)
        return fits.getdata(path, "r").astype(float)

    write(tmp_path / "a.fits", ROTATED, 64)
    write(tmp_path / "b.fits", ROTATED, 64, header=fits.Header({"OBJECT": "other"}))
    assert_array_equal(pixels("a.fits", 1), pixels("a.fits", 1))
    assert (pixels("a.fits", 1) != pixels("a.fits", 2)).any()
    assert (pixels("a.fits", 1) != pixels("b.fits", 1)).any()
    corner = np.s_[:30, :30]  # no light there: I0 = I (|I| + 2)
    assert_allclose(pixels("a.fits", 1)[corner].std(), 0.2, rtol=0.1)
    assert_allclose(pixels("a.fits", 1, noise=False)[corner], 0, atol=1e-6)


def test_an_image_of_another_scale_is_resampled_and_says_so(run, tmp_path, caplog):
    fine = tan_wcs((RA, DEC), (80.5, 80.5), 0.2 / 3600 * np.array([[-1, 0], [0, 1]]))
    source = write(tmp_path / "a.fits", fine, 160, at=(RA + 1 / 3600, DEC + 2 / 3600))
    path = translate_file(run, source, "y", tmp_path / "y.fits", noise=False)
    assert offset(*centroid(path)) < 0.1
    assert "a.fits: resampled from 160 x 160 pixels of 0.200 arcsec to the 64 x 64 of 0.396 arcsec" in caplog.text


def test_bands_on_different_grids_are_brought_together(run, tmp_path):
    source = write(
        tmp_path / "a.fits", rescaled_wcs(ROTATED, (64, 64), 0.396, 80), 80, at=(RA + 1 / 3600, DEC + 2 / 3600)
    )
    with fits.open(source) as hdus:
        for shift, hdu in enumerate(hdus[1:]):
            hdu.data = np.roll(hdu.data, shift, axis=1)
            hdu.header["CRPIX1"] += shift
        hdus.writeto(tmp_path / "shifted.fits")
    path = translate_file(run, tmp_path / "shifted.fits", "y", tmp_path / "y.fits", noise=False)
    for band in BANDS:
        assert offset(*centroid(path, band)) < 0.1


def test_many_files_are_what_each_is_alone(run, tmp_path, monkeypatch):
    """In whatever company they pass the networks, and whoever fails."""
    at = RunAt(Path("runs/known"), run.checksum, "cpu")
    monkeypatch.setattr(loaded, "load_run", lambda path, device: run)
    sources = [write(tmp_path / f"{name}.fits", ROTATED, 64, at=(RA + k / 9000, DEC)) for k, name in enumerate("abcde")]
    sources.insert(2, tmp_path / "none.fits")
    for together in (1, 4):
        monkeypatch.setitem(fakes.AT_ONCE, "cpu", together)
        files = {path: tmp_path / str(together) / path.name for path in sources}
        (error,) = translate_files(at, "cfht", files, Engine(2), seed=3)
        assert "none.fits cannot be read" in str(error)
        for path in set(sources) - {sources[2]}:
            alone = translate_file(run, path, "y", tmp_path / "alone.fits", seed=3)
            with fits.open(alone) as one, fits.open(files[path]) as other:
                for band in BANDS:
                    assert_array_equal(one[band].data, other[band].data)
    assert (tmp_path / "1" / "a.fits").read_bytes() == (tmp_path / "4" / "a.fits").read_bytes()


def test_too_small_an_image_is_refused(run, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 50), 50)
    with pytest.raises(ImageError, match=r"a\.fits: band u has no data in .* give an image with 25\.3 x 25\.3 arcsec"):
        translate_file(run, source, "y", tmp_path / "y.fits")
    assert not (tmp_path / "y.fits").exists()


def test_missing_pixels_are_refused(run, tmp_path):
    def hole(images):
        images[2, 10, 10:13] = np.nan

    source = write(tmp_path / "a.fits", ROTATED, 64, edit=hole)
    with pytest.raises(ImageError, match=r"band r has no data in 3 of the 64\^2 pixels"):
        translate_file(run, source, "y", tmp_path / "y.fits")


@pytest.fixture
def matched():
    """A run of `psf_matched` with the weights that it began with, whose seeing is matched and noise measured."""
    facts = Facts(
        "psf_matched",
        (1, 1, 1),
        2,
        0,
        {
            "x": Domain("sdss", BANDS, 64, 0.396, (0.01,) * 5, "a", (1.3,) * 5),
            "y": Domain("cfht", BANDS, 136, 0.186, (0.001,) * 5, "b", (0.7,) * 5),
        },
        "c",
        width=4,
    )
    networks = build_networks(facts, RECIPES["psf_matched"]).eval()
    for domain, sigma in (("x", 0.01), ("y", 0.001)):
        networks[f"survey_{domain}"].sky_sigma.fill_(sigma)
    return Run(Path("runs/matched"), facts, networks, torch.device("cpu"), 3, "0" * 64)


def two_of_them(path):
    """A file with bands g and i alone."""
    write(path, north_up_wcs(RA, DEC, 0.396, 64), 64)
    with fits.open(path) as hdus:
        hdus["g"].header["PSFFWHM"], hdus["g"].header["SKYSIGMA"] = 1.2, 0.01
        fits.HDUList([hdus[0], hdus["g"], hdus["i"]]).writeto(path.with_name("gi.fits"))
    return path.with_name("gi.fits")


def test_some_of_the_bands_are_enough_for_a_recipe_that_reads_any(matched, tmp_path):
    out = translate_file(matched, two_of_them(tmp_path / "in.fits"), "y", tmp_path / "out.fits", noise=False)
    with fits.open(out) as hdus:
        assert [hdu.name.lower() for hdu in hdus[1:]] == ["g", "i"]
        assert_allclose(hdus[1].data.sum(), 2 * 2 * np.pi * 1.5**2 / 0.396**2, rtol=0.02)
        assert "GTGAPS" not in hdus[0].header


def test_a_gap_is_a_gap_in_the_translation_and_nowhere_else(matched, tmp_path):
    def hole(images):
        images[2, 10:14, 20:24] = np.nan

    path = write(tmp_path / "in.fits", north_up_wcs(RA, DEC, 0.396, 64), 64, edit=hole)
    with fits.open(translate_file(matched, path, "y", tmp_path / "out.fits")) as hdus:
        images = np.stack([hdu.data for hdu in hdus[1:]])
        missing = np.isnan(images)
        assert hdus[0].header["GTGAPS"] == missing.sum()
    assert missing[2].sum() > 20
    assert not np.delete(missing, 2, axis=0).any()
    rows, cols = np.nonzero(missing[2])
    assert 20 <= rows.min() < rows.max() <= 32  # the hole's, on pixels of half the size
    assert 42 <= cols.min() < cols.max() <= 54


def test_a_file_without_any_pixel_of_a_band_is_refused(matched, tmp_path):
    def none(images):
        images[1] = np.nan

    path = write(tmp_path / "in.fits", north_up_wcs(RA, DEC, 0.396, 64), 64, edit=none)
    with pytest.raises(ImageError, match=r"band g has no data in 4096 of the 64\^2 pixels"):
        translate_file(matched, path, "y", tmp_path / "out.fits")


def test_the_mask_of_a_file_holds_though_the_image_is_resampled(matched, tmp_path):
    path = write(tmp_path / "in.fits", north_up_wcs(RA, DEC, 0.3, 120), 120)
    mask = np.zeros((120, 120), np.uint8)
    mask[40:46, 70:76] = 1
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(mask, name="MASK_r"))
        hdus[-1].header["EXTNAME"] = "MASK_r"
    with fits.open(translate_file(matched, path, "y", tmp_path / "out.fits")) as made:
        missing = {hdu.name.lower(): int(np.isnan(hdu.data).sum()) for hdu in made[1:]}
    assert missing["r"] > 20
    assert sum(missing.values()) == missing["r"]
