import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey_tools.archives.plan import FetchPlan, Piece, SourceFile
from survey_tools.build import gather as spool
from survey_tools.build.gather import Gathering, gather
from survey_tools.images.cutout import Cutout
from survey_tools.images.sky_wcs import tan_wcs
from survey_tools.surveys import CFHT

CD = np.diag([-0.186, 0.186]) / 3600


def gathered(folder, crpix=(500.0, 600.0), crval=(0.0, 2.0), cd=CD):
    """One object in g and r, whose grids have these terms in r."""
    sources, image = [], np.ones((136, 136), np.float32)
    for band, terms in (("g", ((0.0, 2.0), (500.0, 600.0), CD)), ("r", (crval, crpix, cd))):
        sources.append(SourceFile(f"{band}.fits", band, np.array([0])))
        cutout = Cutout(image, np.zeros(image.shape, bool), tan_wcs(*terms))
        spool.save(spool.path_of(folder, sources[-1]), [Piece(cutout, 30.0)], 1, 136)
    return gather(Gathering(CFHT, ("g", "r"), FetchPlan(sources, []), folder, {}).work(0, 1))


@pytest.mark.parametrize("same", [{}, {"crval": (360.0, 2.0)}, {"crpix": (500.001, 600.0)}])
def test_bands_on_one_grid_make_an_object(tmp_path, same):
    chunk = gathered(tmp_path, **same)
    assert chunk.manifest["status"].tolist() == ["done"]
    assert (chunk.images == 1).all()


def test_seeing_and_gain_of_several_files_are_means_of_those_that_know_them(tmp_path):
    sources, facts = [], [(0.7, "header", 40e3), (0.9, "stars", np.nan), (np.nan, "", 20e3), (0.8, "header", np.nan)]
    for number, (width, origin, gain) in enumerate(facts):
        sources.append(SourceFile(f"{number}.fits", "r", np.array([0])))
        cutout = Cutout(np.ones((136, 136), np.float32), np.zeros((136, 136), bool), tan_wcs((0, 2), (500, 600), CD))
        piece = Piece(cutout, 30.0, psf_fwhm=width, psf_source=origin, gain=gain)
        spool.save(spool.path_of(tmp_path, sources[-1]), [piece], 1, 136)
    columns = gather(Gathering(CFHT, ("r",), FetchPlan(sources, []), tmp_path, {}).work(0, 1)).columns
    assert_allclose([columns["psf_fwhm"][0, 0], columns["gain"][0, 0]], [0.8, 30e3], rtol=1e-6)
    assert columns["psf_source"][0, 0] == "header;stars"


@pytest.mark.parametrize(
    "other", [{"crpix": (501.0, 600.0)}, {"crval": (0.0, 2.0001)}, {"cd": CD * 1.01}, {"cd": CD[::-1]}]
)
def test_bands_on_different_grids_are_no_object_for_a_store_has_one_wcs(tmp_path, other):
    chunk = gathered(tmp_path, **other)
    assert chunk.manifest["status"].tolist() == ["failed"]
    assert chunk.manifest["reason"].tolist() == ["r: r.fits has other pixels on the sky than g.fits"]
    assert chunk.manifest["file"].tolist() == ["r.fits"]
    assert np.isnan(chunk.images[0, 1]).all()
    assert (chunk.images[0, 0] == 1).all()
