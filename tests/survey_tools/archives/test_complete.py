import numpy as np
import pytest
from astropy.io import fits

from survey_tools.archives.complete import require_complete
from survey_tools.errors import ArchiveError


@pytest.fixture
def path(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "PE", array=[np.arange(5.0), np.arange(900.0) + 0.1])])
    fits.HDUList([fits.PrimaryHDU(np.zeros((40, 50), np.float32)), table]).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def test_a_whole_file_is_complete_and_need_not_fill_its_last_block(path):
    require_complete(path, "a")
    path.write_bytes(path.read_bytes().rstrip(b"\0"))
    require_complete(path, "a")


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.7, 0.85])
def test_a_file_that_was_cut_short_is_not(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ArchiveError, match=r"^a is (truncated|empty)"):
        require_complete(path, "a")


def test_what_is_not_fits_is_not(path):
    path.write_bytes(b"<html></html>")
    with pytest.raises(ArchiveError, match="a is not FITS"):
        require_complete(path, "a")
