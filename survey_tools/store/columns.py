"""The columns of a store: what it keeps of every object besides its pixels, as rows."""

from dataclasses import dataclass

import numpy as np

from survey_tools.surveys import OWN


@dataclass(frozen=True)
class Column:
    """One array of a store with a value, or a few, per object.

    Attributes
    ----------
    name : str
        Name of the array.
    dtype : str
        Type; "T" is text.
    dims : tuple of str
        Dimensions besides the object.
    unit : str
        Unit, as astropy reads it.
    description : str
        Meaning, as the store states it.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    unit: str
    description: str

    @property
    def fill(self):
        """The value of an object without a value."""
        return {"T": "", "f": np.nan, "i": 0}[np.dtype(self.dtype).kind]


CATALOGUE = (
    Column("object_id", "T", (), "", "identifier in the catalogue"),
    Column("ra", "f8", (), "deg", "right ascension, ICRS"),
    Column("dec", "f8", (), "deg", "declination, ICRS"),
    Column("redshift", "f8", (), "", "redshift in the catalogue"),
)
OF_SURVEYS = tuple(  # columns that the catalogue of one survey may have besides
    Column(name, "i4", (), "", words) for survey in OWN.values() for name, words in survey.catalogue_columns.items()
)
MEASURED = (
    Column("crval", "f8", ("axis",), "deg", "CRVAL of the cutout's TAN WCS, ICRS"),
    Column("crpix", "f8", ("axis",), "pix", "CRPIX of the cutout's TAN WCS, counted from 1"),
    Column("cd", "f8", ("axis", "pixel_axis"), "deg / pix", "CD matrix of the cutout's TAN WCS"),
    Column("coverage", "f4", ("band",), "", "fraction of the cutout's pixels that have data"),
    Column("saturated", "i4", ("band",), "", "number of saturated pixels"),
    Column("saturation_source", "T", ("band",), "", "what tells of them: fpM, frame, header, mask or simulation"),
    Column("sky_sigma", "f4", ("band",), "nmgy / pix", "robust standard deviation of a pixel of empty sky"),
    Column("psf_fwhm", "f4", ("band",), "arcsec", "full width at half maximum of a star's profile"),
    Column("psf_source", "T", ("band",), "", "what psf_fwhm is from: psField, header, stars or simulation"),
    Column("gain", "f4", ("band",), "electron / nmgy", "electrons that one nanomaggy is in the detector"),
    Column("zero_point", "f8", ("band",), "mag(AB)", "AB magnitude of one unit of the source file, as applied"),
    Column("source", "T", ("band",), "", "file, or files, that the pixels come from"),
)
TRANSLATED = (  # of stores whose images a network made, where it can say so
    Column("consistency", "f4", ("band",), "", "chi2 a pixel of the input under the translation: about 1 is right"),
)
ADDED = ("psf_source", "gain", "saturation_source")  # that stores made before lack


def empty_columns(count: int, bands: int) -> dict[str, np.ndarray]:
    """Return the measured columns of objects without a pixel.

    Parameters
    ----------
    count : int
        Number of objects.
    bands : int
        Number of bands.

    Returns
    -------
    dict of str to ndarray
        Values by the name of the column.
    """
    lengths = {"band": bands, "axis": 2, "pixel_axis": 2, "object": count}
    shapes = {column.name: tuple(lengths[dim] for dim in ("object", *column.dims)) for column in MEASURED}
    dtypes = {column.name: object if column.dtype == "T" else column.dtype for column in MEASURED}
    fills = {column.name: 0 if column.name == "coverage" else column.fill for column in MEASURED}
    return {name: np.full(shape, fills[name], dtypes[name]) for name, shape in shapes.items()}
