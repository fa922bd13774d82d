"""The page on surveys of one's own: its file, its commands and its script, word for word."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from numpy.testing import assert_allclose

from cli.main import galtrans
from survey_tools import SURVEYS, open_store
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.store.verify import verify
from survey_tools.surveys import FILES

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "add_a_survey.md"
FILE, SCRIPT = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
SHELL = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("galtrans ")]
CD = 0.3 / 3600 * np.diag([-1.0, 1.0])
FLUX = {"g": 20.0, "r": 40.0, "i": 60.0}  # of the galaxy [nanomaggy]
ZERO_POINTS = {"g": 28.0, "r": 27.5, "i": 29.0}
FIRST, SECOND = (200.0, -1.0), (200.2, -1.0)  # centres of the tiles


@pytest.fixture
def tiles(tmp_path, known_sky, monkeypatch):
    """A folder of two tiles in three bands, one without the zero point of i; image and keywords in different HDUs."""

    def write(band, centre, galaxies, name):
        wcs = tan_wcs(centre, (160.5, 150.5), CD)
        zero_point = ZERO_POINTS[band]
        drawn = [known_sky.Galaxy(g.ra, g.dec, FLUX[band] * 10 ** (0.4 * (zero_point - 22.5)), 0.6) for g in galaxies]
        pixels = known_sky.draw(wcs, (300, 320), drawn, noise=0.005, seed=ord(band))
        pixels[:, :100] = np.nan
        primary = fits.PrimaryHDU()
        primary.header["INSFILTE"] = f"North {band}"
        if (band, centre) != ("i", SECOND):
            primary.header["MAG0CNT"] = 10 ** (0.4 * zero_point)
        image = fits.ImageHDU(pixels, wcs.to_header())
        path = tmp_path / "tiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fits.HDUList([primary, image]).writeto(path)

    galaxy = known_sky.Galaxy(*known_sky.position(tan_wcs(FIRST, (160.5, 150.5), CD), 160.3, 200.7))
    for band in FLUX:
        write(band, FIRST, [galaxy], f"9813/{band}.fits")
        write(band, SECOND, [], f"9814/tile-{band}.fits")
    rows = [("a", galaxy.ra, galaxy.dec), ("b", *SECOND), ("c", 10.0, 10.0)]
    (tmp_path / "galaxies.csv").write_text("\n".join(["object_id,ra,dec", *(f"{n},{r!r},{d!r}" for n, r, d in rows)]))
    (tmp_path / "my_survey.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILES, "")
    yield galaxy
    SURVEYS.pop("north", None)


def test_the_script_of_the_page_ends_in_a_store(tiles, known_sky, capsys):
    exec(compile(SCRIPT, "docs/how-to/add_a_survey.md", "exec"), {"__name__": "example"})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [["a", "done"], ["b", "failed"], ["c", "outside"]]
    assert "i: 9814/tile-i.fits has no MAG0CNT, so its flux is unknown" in said[1]
    store = open_store("north.zarr")
    assert store.bands == ("g", "r", "i")
    assert store.images.shape == (3, 3, 88, 88)
    images = store.images[0]
    assert_allclose(np.nansum(images, axis=(1, 2)), list(FLUX.values()), rtol=0.01)
    for image in images:
        row, col = known_sky.centroid(np.nan_to_num(image))
        assert_allclose(store.wcs(0).wcs_world2pix([[tiles.ra, tiles.dec]], 0)[0], (col, row), atol=0.1)
    assert_allclose(store.column("zero_point")[0], list(ZERO_POINTS.values()))
    assert store.survey["pixel_scale"] == 0.3
    assert store.survey["filter_keywords"] == ["INSFILTE"]
    assert not np.isfinite(store.images[2]).any()
    assert verify("north.zarr") == []


def test_the_commands_of_the_page_make_the_same_store(tiles):
    assert len(COMMANDS) == 2
    listed, fetched = (CliRunner().invoke(galtrans, line.split()[1:]) for line in COMMANDS)
    assert listed.exit_code == fetched.exit_code == 0, fetched.output
    assert listed.output.splitlines()[1].split()[:3] == ["north", "North", "first"]
    assert "3 objects: 1 done" in fetched.output
    assert_allclose(np.nansum(open_store("north.zarr").images[0], axis=(1, 2)), list(FLUX.values()), rtol=0.01)
    again = CliRunner().invoke(galtrans, COMMANDS[1].split()[1:])
    assert "complete already" in again.output
