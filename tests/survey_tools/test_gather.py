import numpy as np
import pytest

from survey_tools import spool
from survey_tools.archives.plan import Piece, Plan, Source
from survey_tools.cutout import Cutout
from survey_tools.gather import Gathering, gather
from survey_tools.surveys import CFHT
from survey_tools.tan import tan_wcs

CD = np.diag([-0.186, 0.186]) / 3600


def gathered(folder, crpix=(500.0, 600.0), crval=(0.0, 2.0), cd=CD):
    """One object in g and r, whose grids have these terms in r."""
    sources, image = [], np.ones((136, 136), np.float32)
    for band, terms in (("g", ((0.0, 2.0), (500.0, 600.0), CD)), ("r", (crval, crpix, cd))):
        sources.append(Source(f"{band}.fits", band, np.array([0])))
        cutout = Cutout(image, np.zeros(image.shape, bool), tan_wcs(*terms))
        spool.save(spool.path_of(folder, sources[-1]), [Piece(cutout, 30.0)], 1, 136)
    return gather(Gathering(CFHT, ("g", "r"), Plan(sources, []), folder, {}).work(0, 1))


@pytest.mark.parametrize("same", [{}, {"crval": (360.0, 2.0)}, {"crpix": (500.001, 600.0)}])
def test_bands_on_one_grid_make_an_object(tmp_path, same):
    chunk = gathered(tmp_path, **same)
    assert chunk.manifest["status"].tolist() == ["done"]
    assert (chunk.images == 1).all()


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
