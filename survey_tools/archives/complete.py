"""Whether a FITS file is all there: astropy no more than warns of one that was cut short."""

from pathlib import Path

from survey_tools.archives.fits_files import BLOCK, UNREADABLE, data_size, read_header
from survey_tools.errors import ArchiveError


def require_complete(path: Path, name: str) -> None:
    """ArchiveError, that speaks of `name`, unless the data of every header of a FITS file are in it."""
    length = path.stat().st_size
    with path.open("rb") as stream:
        first = True
        while True:
            try:
                header, read = read_header(stream, name, first)
                size = data_size(header)
            except UNREADABLE as error:
                raise ArchiveError(f"{name} cannot be read: {error}; fetch it anew") from error
            if read == 0:
                return
            first, end = False, stream.tell() + size
            if end > length:
                raise ArchiveError(f"{name} is truncated: {length} of {end} bytes are there; fetch it anew")
            stream.seek(-(-size // BLOCK) * BLOCK, 1)
