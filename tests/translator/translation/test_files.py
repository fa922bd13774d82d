import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.functional import interpolate

from survey_tools.errors import ImageError, RunError
from survey_tools.fits.band_fits import band_hdus, mask_hdu
from survey_tools.fits.writing import write_hdus
from survey_tools.images.sky_wcs import north_up_wcs, rescaled_wcs, scale_of, tan_terms, tan_wcs
from survey_tools.matching.positions import peak_position
from survey_tools.tasks import Engine
from translator import RECIPES
from translator.networks.noise_emulator import NoEncoder
from translator.runs import apply, checkpoint
from translator.runs.checkpoint import Run, RunAt, build_networks
from translator.runs.facts import Domain, RunFacts
from translator.translation.asking import Depth, How
from translator.translation.files import is_made, translate_file, translate_files, translate_group, translate_hdus
from translator.translation.other_grid import OtherGrid
from translator.translation.translated import row_of_file
from translator.translation.whole_images import SkyGrid

RA, DEC = 38.57159, -7.09912
BANDS = tuple("ugriz")
ROTATED = tan_wcs((RA, DEC), (32.5, 32.5), 0.396 / 3600 * np.array([[-0.6, 0.8], [0.8, 0.6]]))


class Resizer(nn.Module):
    """A translator with a known result: the same sky on another grid, with the same flux per pixel."""

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
    facts = RunFacts("two_step", (1, 2), 24, 0, domains, "c")
    return Run(Path("runs/known"), facts, networks, torch.device("cpu"), 3, "0" * 64)


def write(path, wcs, size, *, at=(RA, DEC), header=None, edit=None):
    """Write a galaxy 1.5 arcsec wide at a position [deg], in every band."""
    col, row = wcs.wcs_world2pix([at], 0)[0]
    rows, cols = np.indices((size, size))
    distance = np.hypot(rows - row, cols - col) * scale_of(wcs)
    images = np.stack([(band + 1) * np.exp(-0.5 * (distance / 1.5) ** 2) for band in range(len(BANDS))])
    if edit:
        edit(images)
    band_hdus(images, BANDS, wcs, header or fits.Header()).writeto(path)
    return path


def centroid(path, band="r"):
    """Return the position of the galaxy on the sky [deg], by the WCS of the file."""
    with fits.open(path) as hdus:
        return WCS(hdus[band].header).pixel_to_world_values(*peak_position(hdus[band].data))


def offset(ra, dec):
    """Return the distance from the galaxy that was drawn [arcsec]."""
    return 3600 * np.hypot((ra - RA - 1 / 3600) * np.cos(np.radians(DEC)), dec - DEC - 2 / 3600)


@pytest.mark.parametrize("wcs", [north_up_wcs(RA, DEC, 0.396, 64), ROTATED], ids=["north up", "rotated"])
def test_the_galaxy_stays_where_it_is_on_the_sky(run, tmp_path, wcs):
    source = write(tmp_path / "a.fits", wcs, 64, at=(RA + 1 / 3600, DEC + 2 / 3600))
    there = translate_file(run, source, "y", tmp_path / "y.fits", noise=False)
    assert offset(*centroid(there)) < 0.05
    back = translate_file(run, there, "x", tmp_path / "x.fits", noise=False, force=True)
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
        assert [hdu.name for hdu in hdus[1:]] == [name for band in BANDS for name in (band, f"MASK_{band}")]
        for hdu in hdus:
            assert (hdu.header["SYNTH"], hdu.header["MAGZERO"], hdu.header["PHOTSYS"]) == (True, 22.5, "AB")
        assert not any(hdus[f"MASK_{band}"].data.any() for band in BANDS)
        for hdu in hdus[1::2]:
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
    """The result does not depend on other files that pass the networks together, or that fail."""
    at = RunAt(Path("runs/known"), run.checksum, "cpu")
    monkeypatch.setattr(checkpoint, "load_run", lambda path, device: run)
    sources = [write(tmp_path / f"{name}.fits", ROTATED, 64, at=(RA + k / 9000, DEC)) for k, name in enumerate("abcde")]
    sources.insert(2, tmp_path / "none.fits")
    for together in (1, 4):
        monkeypatch.setitem(apply.AT_ONCE, "cpu", together)
        files = {path: tmp_path / str(together) / path.name for path in sources}
        outcome = translate_files(at, "cfht", files, Engine(2), How(seed=3))
        (error,) = outcome.errors
        assert {row["output"] for row in outcome.rows} == {f"{name}.fits" for name in "abcde"}
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
    """A run of `psf_matched` with its initial weights, with measured seeing and noise."""
    facts = RunFacts(
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
    """Write a file with bands g and i only."""
    write(path, north_up_wcs(RA, DEC, 0.396, 64), 64)
    with fits.open(path) as hdus:
        hdus["g"].header["PSFFWHM"], hdus["g"].header["SKYSIGMA"] = 1.2, 0.01
        fits.HDUList([hdus[0], hdus["g"], hdus["i"]]).writeto(path.with_name("gi.fits"))
    return path.with_name("gi.fits")


def test_some_of_the_bands_are_enough_for_a_recipe_that_reads_any(matched, tmp_path):
    out = translate_file(matched, two_of_them(tmp_path / "in.fits"), "y", tmp_path / "out.fits", noise=False)
    with fits.open(out) as hdus:
        assert [hdu.name.lower() for hdu in hdus[1:]] == ["g", "mask_g", "i", "mask_i"]
        assert_allclose(hdus[1].data.sum(), 2 * 2 * np.pi * 1.5**2 / 0.396**2, rtol=0.02)
        assert "GTGAPS" not in hdus[0].header


def test_a_gap_is_a_gap_in_the_translation_and_nowhere_else(matched, tmp_path):
    def hole(images):
        images[2, 10:14, 20:24] = np.nan

    path = write(tmp_path / "in.fits", north_up_wcs(RA, DEC, 0.396, 64), 64, edit=hole)
    with fits.open(translate_file(matched, path, "y", tmp_path / "out.fits")) as hdus:
        missing = np.isnan(np.stack([hdus[band].data for band in BANDS]))
        assert_array_equal(np.stack([hdus[f"MASK_{band}"].data for band in BANDS]).astype(bool), missing)
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
    with pytest.raises(ImageError, match=r"band g has no data in any of its 4096 pixels"):
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


def randomised(run):
    """Return the run with random weights, so that every network changes its input."""
    torch.manual_seed(3)
    for parameter in run.networks.parameters():
        if float(parameter.detach().abs().max()) == 0:
            torch.nn.init.normal_(parameter, 0, 0.02)
    return run


def hdus_of(path):
    with fits.open(path, checksum=True) as hdus:
        return {hdu.name.upper(): (np.array(hdu.data), hdu.header.copy()) for hdu in hdus[1:]}, hdus[0].header.copy()


def test_an_image_of_any_shape_is_translated_whole(matched, tmp_path):
    wcs = tan_wcs((RA, DEC), (100.5, 60.5), 0.396 / 3600 * np.array([[-1, 0], [0, 1]]))
    col, row = wcs.wcs_world2pix([(RA, DEC)], 0)[0]
    rows, cols = np.indices((120, 200))
    image = np.exp(-0.5 * np.hypot(rows - row, cols - col) ** 2 / (1.5 / 0.396) ** 2)
    band_hdus(np.stack([image] * 5), BANDS, wcs, fits.Header()).writeto(tmp_path / "wide.fits")
    made, _ = hdus_of(translate_file(matched, tmp_path / "wide.fits", "y", tmp_path / "out.fits", noise=False))
    data, header = made["R"]
    assert data.shape == (round(120 * 0.396 / 0.186), round(200 * 0.396 / 0.186))
    assert offset(*WCS(header).pixel_to_world_values(*peak_position(data))) == pytest.approx(offset(RA, DEC), abs=0.05)
    assert_allclose(data.sum(), image.sum(), rtol=0.01)


def test_a_part_is_translated_around_a_place(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 150), 150, at=(RA + 6 / 3600, DEC - 4 / 3600))
    where = {"at": (RA + 6 / 3600, DEC - 4 / 3600), "noise": False}
    made, _ = hdus_of(translate_file(matched, source, "y", tmp_path / "out.fits", **where))
    data, header = made["R"]
    assert data.shape == (136, 136)
    assert_allclose(WCS(header).pixel_to_world_values(67.5, 67.5), where["at"], atol=1e-9)
    assert np.hypot(*(np.array(peak_position(data)) - 67.5)) < 0.3
    made, _ = hdus_of(translate_file(matched, source, "y", tmp_path / "out.fits", size=9.3, **where))
    assert made["R"][0].shape == (50, 50)
    with pytest.raises(ImageError, match=r"does not show ra 39, dec -7: it covers 1.0 arcmin around ra 38.57"):
        translate_file(matched, source, "y", tmp_path / "out.fits", at=(39.0, -7.0))


def test_a_part_is_not_named_after_the_field_that_it_is_of(matched, tmp_path):
    """Frames of SDSS state the field, and where the telescope pointed."""
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 150), 150)
    for stated, named in (((RA - 0.5, DEC), False), ((RA, DEC + 1 / 3600), True)):
        with fits.open(source, mode="update") as hdus:
            hdus[0].header.update(OBJECT="1356 N", RA=stated[0], DEC=stated[1])
        _, primary = hdus_of(translate_file(matched, source, "y", tmp_path / "out.fits", at=(RA, DEC)))
        assert ("OBJECT" in primary) == named
        assert (primary["RA"], primary["DEC"]) == (stated if named else (RA, DEC))


def test_planes_draws_and_cards_say_what_came_of_it(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 64), 64)
    path = translate_file(
        randomised(matched), source, "y", tmp_path / "out.fits", planes=True, draws=3, seeing=(0.6,), preview=True,
        depth=(Depth(0.004, False),),
    )  # fmt: skip
    made, primary = hdus_of(path)
    kinds = ("", "SIGNAL_", "SIGMA_", "MASK_", "DRAWS_")
    assert list(made) == [f"{kind}{band}".upper() for band in BANDS for kind in kinds]
    assert made["DRAWS_G"][0].shape == (3, 136, 136)
    assert made["MASK_G"][0].dtype == np.uint8
    assert not made["MASK_G"][0].any()
    sigma, signal, image = (made[f"{kind}G"][0] for kind in ("SIGMA_", "SIGNAL_", ""))
    assert (sigma >= 0.004 * 0.99).all()
    noise = (image - signal)[:30, :30]
    assert 0.002 < noise.std() < 0.005
    header = made["G"][1]
    assert (header["SYNTH"], header["MAGZERO"], header["PSFFWHM"]) == (True, 22.5, 0.6)
    assert header["SKYSIGMA"] == pytest.approx(0.004)
    assert (header["PSFINBY"], header["SKYINBY"]) == ("usual", "usual")  # the image has no noise
    assert primary["CONSIST"] == max(made[band.upper()][1]["CONSIST"] for band in BANDS)
    assert "seeing unknown" in primary["GTFLAGS"]
    assert all(each[1]["SYNTH"] for each in made.values())
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_translation_is_like_another_file(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 90), 90)
    turned = tan_wcs((RA, DEC), (30.5, 25.5), 0.186 / 3600 * np.array([[-0.6, 0.8], [0.8, 0.6]]))
    hdus = band_hdus(np.zeros((5, 50, 60)), BANDS, turned, fits.Header())
    for hdu in hdus[1:]:
        hdu.header["PSFFWHM"], hdu.header["SKYSIGMA"] = 0.55, 0.003
    hdus.writeto(tmp_path / "pattern.fits")
    made, _ = hdus_of(translate_file(matched, source, "y", tmp_path / "out.fits", like=tmp_path / "pattern.fits"))
    data, header = made["I"]
    assert data.shape == (50, 60)
    assert_allclose(WCS(header).pixel_scale_matrix, turned.pixel_scale_matrix, atol=1e-12)
    assert (header["PSFFWHM"], header["SKYSIGMA"]) == (0.55, pytest.approx(0.003))
    col, row = WCS(header).world_to_pixel_values(RA, DEC)
    assert np.hypot(*(np.array(peak_position(data)) - [col, row])) < 0.6


def pattern_header(scale: float, kind: str) -> fits.Header:
    """Return the header of an image of 70 × 60 pixels around (RA, DEC) with pixels of `scale` [arcsec]."""
    header = fits.Header({"NAXIS1": 60, "NAXIS2": 70, "CRPIX1": 30.0, "CRPIX2": 36.0, "PSFFWHM": 0.7, "SKYSIGMA": 0.01})
    place, names = (RA, DEC), ("RA---TAN", "DEC--TAN")
    if kind == "galactic":
        found = SkyCoord(RA, DEC, unit="deg").galactic
        place, names = (found.l.deg, found.b.deg), ("GLON-TAN", "GLAT-TAN")
    header.update({"CTYPE1": names[0], "CTYPE2": names[1], "CRVAL1": place[0], "CRVAL2": place[1]})
    header.update({"CD1_1": -scale / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale / 3600})
    if kind == "distorted":
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-3, "B_0_2": -1e-3})
    return header


@pytest.mark.parametrize(("scale", "kind"), [(0.3, "plain"), (0.1, "plain"), (0.25, "galactic"), (0.186, "distorted")])
def test_a_translation_is_like_a_file_of_any_pixels(matched, tmp_path, scale, kind):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 100), 100)
    target = pattern_header(scale, kind)
    fits.PrimaryHDU(np.zeros((70, 60), np.float32), target).writeto(tmp_path / "pattern.fits")
    asked = {"like": tmp_path / "pattern.fits", "planes": True, "draws": 1}
    made, primary = hdus_of(translate_file(matched, source, "y", tmp_path / "out.fits", **asked))
    data, header = made["I"]
    assert data.shape == made["SIGMA_I"][0].shape == made["DRAWS_I"][0].shape[1:] == (70, 60)
    assert "resampled onto these" in " ".join(primary["HISTORY"])
    corners = np.array([[0, 0], [59, 0], [0, 69], [59, 69]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted, found = (WCS(each).pixel_to_world(*corners.T).icrs for each in (target, header))
    assert wanted.separation(found).arcsec.max() < 1e-3
    (row,) = translate_group(matched, "y", [((source,), tmp_path / "again.fits")], How(**asked)).rows
    assert row == row_of_file(source.name, tmp_path / "again.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = WCS(target).pixel_to_world(29.5, 34.5).icrs
    assert_allclose([row["ra"], row["dec"]], [middle.ra.deg, middle.dec.deg], atol=2e-6)
    noise = data - made["SIGNAL_I"][0]
    assert header["SKYSIGMA"] == pytest.approx(0.01)
    assert_allclose(np.nanstd(noise), 0.01, rtol=0.15)
    assert_allclose(np.nanmedian(made["SIGMA_I"][0]), 0.01, rtol=0.3)
    col, row = WCS(header).world_to_pixel(SkyCoord(RA, DEC, unit="deg"))
    peak = np.array(peak_position(made["SIGNAL_I"][0]))
    assert np.hypot(*(peak - [col, row])) < max(0.6, 0.12 / scale)
    wide, _ = hdus_of(translate_file(matched, source, "y", tmp_path / "wide.fits", planes=True, seeing=(0.7,)))

    def flux(image: np.ndarray, at: tuple[float, float], pixel: float) -> float:
        rows, cols = np.indices(image.shape)
        return float(image[np.hypot(rows - at[1], cols - at[0]) < 2.4 / pixel].sum())

    middle = WCS(wide["SIGNAL_I"][1]).world_to_pixel(SkyCoord(RA, DEC, unit="deg"))
    same = flux(wide["SIGNAL_I"][0], middle, 0.186)
    assert flux(made["SIGNAL_I"][0], (col, row), scale) == pytest.approx(same, rel=0.03)


def test_files_of_one_band_each_are_one_object(matched, tmp_path):
    write(tmp_path / "all.fits", north_up_wcs(RA, DEC, 0.396, 64), 64)
    with fits.open(tmp_path / "all.fits") as hdus:
        for band in "gi":
            fits.HDUList([hdus[0], hdus[band]]).writeto(tmp_path / f"{band}.fits")
    paths = tmp_path / "g.fits", tmp_path / "i.fits"
    made, _ = hdus_of(translate_file(matched, paths, "y", tmp_path / "out.fits"))
    assert list(made) == ["G", "MASK_G", "I", "MASK_I"]
    with pytest.raises(ImageError, match="has band g, which"):
        translate_file(matched, (paths[0], paths[0]), "y", tmp_path / "out.fits")


def test_units_are_told_where_a_header_is_silent(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 64), 64)
    with fits.open(source) as hdus:
        for hdu in hdus:
            hdu.header.remove("MAGZERO", ignore_missing=True)
        for hdu in hdus[1:]:
            del hdu.header["BUNIT"]
            hdu.data *= 3.631
        hdus.writeto(tmp_path / "uJy.fits")
    light = []
    for path, how in ((source, {}), (tmp_path / "uJy.fits", {"unit": "uJy"})):
        made, _ = hdus_of(translate_file(matched, path, "y", tmp_path / "out.fits", noise=False, **how))
        light.append(made["R"][0].sum())
    assert light[1] == pytest.approx(light[0], rel=2e-3)
    with pytest.raises(ImageError, match="has no BUNIT"):
        translate_file(matched, tmp_path / "uJy.fits", "y", tmp_path / "out.fits")


def test_what_was_made_from_the_same_is_known(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 64), 64)
    out = translate_file(matched, source, "y", tmp_path / "out.fits", seed=4)
    assert is_made(matched, source, out, How(seed=4))
    assert is_made(matched, source, out, How(seed=4, preview=True))
    assert not is_made(matched, source, out, How(seed=5))
    assert not is_made(matched, source, tmp_path / "none.fits", How(seed=4))
    out.write_bytes(out.read_bytes()[:100])
    assert not is_made(matched, source, out, How(seed=4))


def test_what_an_input_flags_is_flagged_in_its_translation(run, tmp_path):
    path = write(tmp_path / "in.fits", ROTATED, 64)
    with fits.open(path) as hdus:
        flags = np.zeros((64, 64), bool)
        flags[30:32, 40:42] = True
        hdus.append(mask_hdu(flags, hdus["r"].header, "1 where saturated"))
        hdus.writeto(tmp_path / "flagged.fits")
    with fits.open(translate_file(run, tmp_path / "flagged.fits", "y", tmp_path / "out.fits")) as hdus:
        found = {band: hdus[f"MASK_{band}"].data.astype(bool) for band in BANDS}
    assert [bool(found[band].any()) for band in BANDS] == [band == "r" for band in BANDS]
    rows, cols = np.nonzero(found["r"])
    assert 60 <= rows.min() < rows.max() <= 70  # the flagged pixels', on pixels of half the size
    assert 82 <= cols.min() < cols.max() <= 92


@pytest.mark.parametrize("which", ["run", "matched"])
@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"SURVEY": "CFHTLS"}, "SURVEY = 'CFHTLS', which is not SDSS"),
        ({"SYNTH": True, "GTTO": "SDSS"}, "it is a translation into SDSS"),
    ],
)
def test_an_image_of_another_survey_is_not_taken_for_one_of_the_run_s(request, tmp_path, which, header, said):
    model, out = request.getfixturevalue(which), tmp_path / "out.fits"
    path = write(tmp_path / "in.fits", ROTATED, 64, header=fits.Header(header))
    with pytest.raises(ImageError, match=f"in.fits has .*{said}.*--force"):
        translate_file(model, path, "y", out)
    assert not out.exists()
    assert fits.getheader(translate_file(model, path, "y", out, force=True))["GTFORCED"] is True
    assert is_made(model, path, out, How())  # what is forced decides no pixel


def test_a_run_that_is_not_finished_says_how_far_it_is(run):
    half = replace(run, facts=replace(run.facts, iterations=(300, 580)), iteration=1380 - 1000)
    assert "380 of 880 training iterations are done" in half.unfinished
    assert replace(half, iteration=880).unfinished == ""
    assert replace(half, facts=replace(half.facts, imported={"w": "0"})).unfinished == ""


def test_absurd_pixels_are_refused_in_words(matched, tmp_path):
    source = write(tmp_path / "a.fits", north_up_wcs(RA, DEC, 0.396, 64), 64)
    fits.PrimaryHDU(np.zeros((70, 60)), pattern_header(36.0, "plain")).writeto(tmp_path / "coarse.fits")
    with pytest.raises(ImageError, match="its pixels are 194 times as large as those of a translation"):
        translate_file(matched, source, "y", tmp_path / "y.fits", like=tmp_path / "coarse.fits")
    unreadable = pattern_header(0.3, "plain")
    unreadable["PLTRAH"] = "text"
    fits.PrimaryHDU(np.zeros((70, 60)), unreadable).writeto(tmp_path / "text.fits")
    with pytest.raises(ImageError, match=r"text\.fits has a WCS that cannot be used: PLTRAH = 'text' is not a number"):
        translate_file(matched, source, "y", tmp_path / "y.fits", like=tmp_path / "text.fits")
    coarse = write(tmp_path / "b.fits", north_up_wcs(RA, DEC, 5.0, 64), 64)
    with pytest.raises(ImageError, match=r"has pixels of 5 arcsec, and the run reads those of 0\.396"):
        translate_file(matched, coarse, "y", tmp_path / "y.fits")

    def bright(images):
        images[2, 5, 5] = 1e30

    damaged = write(tmp_path / "c.fits", north_up_wcs(RA, DEC, 0.396, 64), 64, edit=bright)
    with pytest.raises(ImageError, match=r"band r has a pixel of 1e\+30 nanomaggies, brighter than any star"):
        translate_file(matched, damaged, "y", tmp_path / "y.fits")
    assert not (tmp_path / "y.fits").exists()


def test_what_lies_beneath_a_wide_grid_reaches_as_far_as_the_image(matched):
    wide = WCS(pattern_header(5.0, "plain"))
    image = SkyGrid(*tan_terms(north_up_wcs(RA, DEC, 0.396, 64)), (64, 64))
    other = OtherGrid.over(wide, (70, 60), (), 0.186, within=image)
    assert max(other.beneath.shape) < 64 * 0.396 / 0.186 + 20
    col, row = other.plain.world_to_pixel_values(RA, DEC)
    assert_allclose([row, col], (np.array(other.beneath.shape) - 1) / 2, atol=2)
    far = SkyGrid(*tan_terms(north_up_wcs(RA + 1, DEC, 0.396, 64)), (64, 64))
    with pytest.raises(ValueError, match="it lies beside the image that is translated"):
        OtherGrid.over(wide, (70, 60), (), 0.186, within=far)


def as_file(hdus, path):
    """Return the bytes of a file with these HDUs and their checksums."""
    write_hdus(hdus, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("which", "asked"),
    [
        ("run", {"seed": 7}),
        ("matched", {"seed": 7}),
        ("matched", {"planes": True, "draws": 1, "at": (RA, DEC), "size": 8.0, "seeing": (0.7,)}),
    ],
)
def test_a_translation_in_memory_is_that_of_the_file(request, tmp_path, which, asked):
    model = request.getfixturevalue(which)
    source = write(tmp_path / "image in memory", ROTATED, 64, header=fits.Header({"OBJECT": "g4"}))
    out = translate_file(model, source, "y", tmp_path / "out.fits", **asked)
    with fits.open(source) as hdus:
        made = translate_hdus(model, hdus, "cfht", How(**asked))
        assert [hdu.name for hdu in hdus[1:]] == list(BANDS)  # the input is left as it was
    assert made["r"].data.dtype.isnative
    assert made[0].header["OBJECT"] == "g4"
    assert as_file(made, tmp_path / "again.fits") == out.read_bytes()


def test_bands_in_memory_are_one_object(matched, tmp_path):
    with fits.open(write(tmp_path / "all.fits", ROTATED, 64)) as hdus:
        made = translate_hdus(matched, [fits.HDUList([hdus["g"]]), fits.HDUList([hdus["i"]])], "cfht")
        assert [hdu.name for hdu in made[1:]] == ["g", "MASK_g", "i", "MASK_i"]
        with pytest.raises(ImageError, match="image in memory has band u, which image in memory"):
            translate_hdus(matched, [hdus, hdus], "cfht")
    with pytest.raises(ImageError, match="image in memory has no image of band"):
        translate_hdus(matched, fits.HDUList([fits.PrimaryHDU()]), "cfht")
    with pytest.raises(RunError, match="translates between sdss and cfht, not hsc"):
        translate_hdus(matched, hdus, "hsc")
