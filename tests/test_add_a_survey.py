import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose

from survey_tools import open_store
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.store.verify import verify

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "add_a_survey.md"
CD = 0.168 / 3600 * np.diag([-1.0, 1.0])
FLUX = {"g": 20.0, "r": 40.0, "i": 60.0, "z": 80.0, "y": 100.0}  # of the galaxy [nanomaggy]
ZERO_POINTS = {"g": 27.0, "r": 27.0, "i": 27.0, "z": 26.5, "y": 28.0}
FIRST, SECOND = (200.0, -1.0), (200.2, -1.0)  # centres of the tiles


@pytest.fixture
def coadds(tmp_path, known_sky):
    """A folder of two tiles in five bands, one tile without the FLUXMAG0 of z; image and keywords in different HDUs."""

    def write(band, centre, galaxies, name):
        wcs = tan_wcs(centre, (160.5, 150.5), CD)
        zero_point = ZERO_POINTS[band]
        drawn = [known_sky.Galaxy(g.ra, g.dec, FLUX[band] * 10 ** (0.4 * (zero_point - 22.5)), 0.6) for g in galaxies]
        pixels = known_sky.draw(wcs, (300, 320), drawn, noise=0.005, seed=ord(band))
        pixels[:, :100] = np.nan
        primary = fits.PrimaryHDU()
        primary.header["FILTER"] = f"HSC-{band.upper()}"
        if (band, centre) != ("z", SECOND):
            primary.header["FLUXMAG0"] = 10 ** (0.4 * zero_point)
        image = fits.ImageHDU(pixels, wcs.to_header())
        path = tmp_path / "hsc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([primary, image]).writeto(path)

    galaxy = known_sky.Galaxy(*known_sky.position(tan_wcs(FIRST, (160.5, 150.5), CD), 160.3, 200.7))
    for band in FLUX:
        write(band, FIRST, [galaxy], f"9813/{band}.fits")
        write(band, SECOND, [], f"9814/calexp-{band}.fits")
    rows = [("a", galaxy.ra, galaxy.dec), ("b", *SECOND), ("c", 10.0, 10.0)]
    (tmp_path / "galaxies.csv").write_text("\n".join(["object_id,ra,dec", *(f"{n},{r!r},{d!r}" for n, r, d in rows)]))
    return galaxy


def test_the_page_s_example_ends_in_a_store(coadds, known_sky, tmp_path, monkeypatch, capsys):
    """The how-to's script, word for word."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/how-to/add_a_survey.md", "exec"), {"__name__": "example"})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [["a", "done"], ["b", "failed"], ["c", "outside"]]
    assert "z: 9814/calexp-z.fits has no FLUXMAG0, so its flux is unknown" in said[1]
    store = open_store(tmp_path / "hsc.zarr")
    assert store.bands == ("g", "r", "i", "z", "y")
    assert store.images.shape == (3, 5, 152, 152)
    images = store.images[0]
    assert_allclose(np.nansum(images, axis=(1, 2)), list(FLUX.values()), rtol=0.01)
    for image in images:
        row, col = known_sky.centroid(np.nan_to_num(image))
        assert_allclose(store.wcs(0).wcs_world2pix([[coadds.ra, coadds.dec]], 0)[0], (col, row), atol=0.1)
    assert_allclose(store.column("zero_point")[0], list(ZERO_POINTS.values()))
    assert store.survey["pixel_scale"] == 0.168
    assert not np.isfinite(store.images[2]).any()
    assert verify(tmp_path / "hsc.zarr") == []
