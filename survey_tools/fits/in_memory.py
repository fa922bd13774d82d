"""A FITS file in memory: what the readers of FITS files need of a path, without a file."""

import io
from dataclasses import dataclass, field
from typing import BinaryIO

from astropy.io import fits

from survey_tools.errors import ImageError, first_line


@dataclass(frozen=True)
class FitsInMemory:
    """The bytes of a FITS file, with the methods of `pathlib.Path` by which a file is read.

    The readers of this package (`band_fits.read_bands`, `band_fits.read_present`, …) accept it in place of a path, so
    that an image in memory passes the same checks as one on disk.

    Attributes
    ----------
    name : str
        The name that messages and headers give the image.
    content : bytes
        The FITS file, compressed or not.
    """

    name: str
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, hdus: fits.HDUList, name: str = "image in memory") -> "FitsInMemory":
        """Return the bytes that `hdus.writeto` would write.

        Parameters
        ----------
        hdus : astropy.io.fits.HDUList
            The HDUs. An empty primary HDU is put before an image HDU that stands first.
        name : str, optional
            The name that messages give them.

        Raises
        ------
        survey_tools.errors.ImageError
            If they cannot be written as FITS.
        """
        written, every = io.BytesIO(), list(hdus)
        if every and not isinstance(every[0], fits.PrimaryHDU):
            every.insert(0, fits.PrimaryHDU())
        try:
            fits.HDUList(every).writeto(written)
        except (OSError, TypeError, ValueError, fits.VerifyError) as error:
            raise ImageError(f"{name} cannot be written as FITS: {first_line(error)}") from error
        return cls(name, written.getvalue())

    def __str__(self) -> str:
        return self.name

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return the bytes as a file that is open for reading."""
        return io.BytesIO(self.content)

    def read_bytes(self) -> bytes:
        """Return the bytes."""
        return self.content
