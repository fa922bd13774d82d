"""Images that people already have, as one sequence of objects: their catalogue, and a reader of the images in its
order.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table

from survey_tools.catalogue import check_catalogue, read_catalogue
from survey_tools.errors import CatalogueError, ImageError
from survey_tools.fits.calibration import Given
from survey_tools.fits.zeros import AUTO, judge_zeros
from survey_tools.images.sky_wcs import north_up_wcs, tan_terms
from survey_tools.ingestion.cubes import Cube, find_cube, is_cube_file, labels, reading
from survey_tools.ingestion.fits_cutouts import FitsObject, find_objects, fits_files, is_fits_file, read_stamp
from survey_tools.photometry import NANOMAGGY_ZERO_POINT, counts_to_nanomaggies
from survey_tools.store.columns import empty_columns
from survey_tools.surveys import OWN, Survey

log = logging.getLogger(__name__)

BRIGHTEST = 1e5  # [nanomaggy] AB magnitude 10: detectors are saturated long before one pixel has so much light


@dataclass(frozen=True)
class Form:
    """How the images are written.

    Attributes
    ----------
    bands : tuple of str
        Bands of cubes, in their order; of FITS files, the bands to take.
    key : str
        Name of the array of images in an .npz or HDF5 file; "" if it is to be found.
    axes : str
        Axes of cubes: "NHWC", "NCHW" or "auto".
    zero_point, unit : float or None, str or None
        AB magnitude of one unit, and the unit, where the user says it. Cubes without either are in nanomaggies; FITS
        files state their own.
    zeros : str
        Meaning of pixels that are exactly 0: "data", "missing", or "auto" (`zeros.judge_zeros`).
    unstretch : callable or None
        Turns stretched intensity into flux, any shape; None if the images are not stretched.
    """

    bands: tuple[str, ...]
    key: str = ""
    axes: str = "auto"
    zero_point: float | None = None
    unstretch: Callable[[np.ndarray], np.ndarray] | None = None
    unit: str | None = None
    zeros: str = AUTO

    @property
    def given(self) -> Given:
        """What the user says of the calibration."""
        return Given(self.unit, self.zero_point)

    def zero_point_of_cubes(self, survey: Survey) -> float:
        """Return the AB magnitude of one unit of cubes, which cannot state it themselves.

        Parameters
        ----------
        survey : Survey
            The survey of the images.

        Returns
        -------
        float
            [AB mag].
        """
        return self.given.of(survey.pixel_scale**2, survey.zero_point) if self.given else NANOMAGGY_ZERO_POINT


@dataclass
class RowsOfFiles:
    """What the files have for some rows.

    Attributes
    ----------
    flux : ndarray
        (object, band, row, col) float64 [nanomaggy/pixel]; NaN, or infinite, where there is no data.
    saturated : ndarray
        Whether each pixel is saturated (bool, same shape).
    columns : dict
        The measured columns of a store that are known beforehand, by name.
    reasons : list of str
        (object,) why an object cannot be used; "" if it may.
    remarks : list of str
        (object,) what the manifest says in addition.
    """

    flux: np.ndarray
    saturated: np.ndarray
    columns: dict[str, np.ndarray]
    reasons: list[str]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Collection:
    """The objects of some files.

    Attributes
    ----------
    catalogue : Table
        The objects, as `catalogue.read_catalogue` returns them; ra and dec are NaN where the position is unknown.
    bands : tuple of str
        Bands of the images, in the order of the survey.
    files : list of str
        (object,) the files that each object is read from, in words.
    inputs : list of Path
        Every file.
    parts : callable
        Takes some slices of rows, in order; yields the images of each.
    synthetic : str
        The words of a file that says that it is not an observation; "" if no file says so.
    """

    catalogue: Table
    bands: tuple[str, ...]
    files: list[str]
    inputs: list[Path]
    parts: Callable[[list[slice]], Iterator[RowsOfFiles]]
    synthetic: str = ""


def collect(
    paths: list[Path],
    survey: Survey,
    form: Form,
    positions: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Collection:
    """Return the objects of cube files, one after the other, or of FITS files and folders of them.

    Parameters
    ----------
    paths : list of Path
        .npz, .npy or HDF5 files; or FITS files and folders.
    survey : Survey
        The survey, whose size and pixel scale the images must have.
    form : Form
        How the images are written.
    positions : Path, optional
        A catalogue whose row i is image i. Without it the files say the positions, or the positions are unknown.
    columns : mapping, optional
        The catalogue's own names of columns, as `read_catalogue` takes them.

    Returns
    -------
    Collection
        The objects, whose images are not read yet.

    Raises
    ------
    ImageError
        A file is none of these, or its images are not those of the survey.
    CatalogueError
        Positions are impossible, are not as many as the images, or are in another order.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path, full in zip(paths, resolved, strict=True) if resolved.count(full) > 1)
        raise ImageError(f"{twice} is given twice; leave one of them")
    for path in paths:
        if not path.is_dir() and not is_fits_file(path) and not is_cube_file(path):
            raise ImageError(f"{path} is no .npz, .npy, HDF5 or FITS file; pickles and other formats are not read")
    fits = [path.is_dir() or is_fits_file(path) for path in paths]
    if any(fits) and not all(fits):
        raise ImageError(f"{paths[fits.index(False)]} is a cube and {paths[fits.index(True)]} FITS; ingest them apart")
    return (_collect_fits if all(fits) else _collect_cubes)(paths, survey, form, positions, columns)


def _collect_cubes(
    paths: list[Path], survey: Survey, form: Form, positions: Path | None, columns: Mapping[str, str] | None
) -> Collection:
    """Return the objects of cube files."""
    size, count = survey.cutout_size, len(form.bands)
    cubes = [find_cube(path, size, count, key=form.key, axes=form.axes) for path in paths]
    for cube in cubes:
        if "rescaled" in cube.key and form.unstretch is None:
            log.warning("%s: %s is stretched by its name; --stretched undoes that", cube.path, cube.key)
    files = [name for name, cube in zip(_names(paths), cubes, strict=True) for _ in range(len(cube))]
    if positions:
        catalogue = read_catalogue(positions, columns)
        if len(catalogue) != len(files):
            raise CatalogueError(
                f"{positions} has {len(catalogue)} rows and the files have {len(files)} images; row i must be image i"
            )
    else:
        catalogue = _catalogue_of(cubes, files)
    bands = tuple(band for band in survey.bands if band in form.bands)
    known = np.column_stack([catalogue["ra"], catalogue["dec"]]).astype(float)
    parts = partial(_cube_parts, cubes, survey, form, [form.bands.index(band) for band in bands], known, files)
    return Collection(catalogue, bands, files, list(paths), parts)


def _names(paths: list[Path]) -> list[str]:
    """Return the names of the files, with their folders if two have the same name."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _catalogue_of(cubes: list[Cube], files: list[str]) -> Table:
    """Return the catalogue that the files themselves state. Identifiers are FILE#ROW if the files have none."""
    tables = [labels(cube) for cube in cubes]
    placed = [{"ra", "dec"} <= set(table.colnames) for table in tables]
    if any(placed) and not all(placed):
        has, lacks = cubes[placed.index(True)].path, cubes[placed.index(False)].path
        raise CatalogueError(f"{has} has positions and {lacks} has none; give those of all images by --positions")
    shared = [name for name in tables[0].colnames if all(name in table.colnames for table in tables)]
    for survey in OWN.values():  # a catalogue has all columns of a survey or none
        if not survey.catalogue_columns.keys() <= set(shared):
            shared = [name for name in shared if name not in survey.catalogue_columns]
    table = Table({name: np.concatenate([np.asarray(table[name]) for table in tables]) for name in shared})
    if "object_id" not in shared or len(set(table["object_id"].tolist())) < len(table):
        rows = [row for cube in cubes for row in range(len(cube))]
        table["object_id"] = [f"{file}#{row}" for file, row in zip(files, rows, strict=True)]
    if not all(placed):
        table["ra"], table["dec"] = 0.0, 0.0
    checked = check_catalogue(table, cubes[0].path)
    if not all(placed):
        checked["ra"], checked["dec"] = np.nan, np.nan
    return checked


def _cube_parts(
    cubes: list[Cube], survey: Survey, form: Form, channels: list[int], known: np.ndarray, files: list[str], slices
) -> Iterator[RowsOfFiles]:
    """Yield the images of the rows of each slice, from one or more files. Each file is opened once."""
    starts, bands = np.cumsum([0, *map(len, cubes)]), [form.bands[at] for at in channels]
    with ExitStack() as stack:
        opened, read = -1, None
        for rows in slices:
            pieces = []
            for index, cube in enumerate(cubes):
                low, high = max(rows.start, starts[index]), min(rows.stop, starts[index + 1])
                if low >= high:
                    continue
                if opened != index:
                    stack.close()
                    opened, read = index, stack.enter_context(reading(cube))
                here = slice(int(low - starts[index]), int(high - starts[index]))
                pieces.append(_calibrated(cube, here.start, read(here)[:, channels], bands, survey, form))
            flux = np.concatenate([piece for piece, _ in pieces])
            remarks = [remark for _, some in pieces for remark in some]
            yield _cube_part(flux, survey, form, known[rows], files[rows], remarks)


def _calibrated(
    cube: Cube, first: int, images: np.ndarray, bands: list[str], survey: Survey, form: Form
) -> tuple[np.ndarray, list[str]]:
    """Return flux [nanomaggy/pixel] of images in the file's unit, and a remark on the zeros of each (object,).

    Raise ImageError if they cannot have been stretched.
    """
    images, remarks = images.copy(), []
    rounding = "the file has whole numbers" if cube.entry.dtype.kind in "iu" else ""
    for image in images:
        said = []
        for band, plane in zip(bands, image, strict=True):
            empty, remark = judge_zeros(plane, marked=survey.no_data == 0, rounding=rounding, how=form.zeros)
            plane[empty] = np.nan
            said += [f"{band}: {remark}"] if remark else []
        remarks.append("; ".join(said))
    if form.unstretch:
        stretched, images = images, form.unstretch(images)
        wild = np.isfinite(images) & (abs(images) > BRIGHTEST)
        if wild.any():
            at = np.argwhere(wild)[0]
            raise ImageError(
                f"{cube.path}: image {first + at[0]} has a pixel of {stretched[tuple(at)]:.6g}, and no stretched flux "
                f"is larger than {BRIGHTEST**0.5:.0f}; these images are not stretched: leave out --stretched"
            )
    return counts_to_nanomaggies(images, form.zero_point_of_cubes(survey)), remarks


def _cube_part(
    flux: np.ndarray, survey: Survey, form: Form, known: np.ndarray, files: list[str], remarks: list[str]
) -> RowsOfFiles:
    """Return images with what is known of them: north up around their positions (object, 2) [deg]."""
    columns = empty_columns(*flux.shape[:2])
    _, columns["crpix"][:], columns["cd"][:] = tan_terms(north_up_wcs(0, 0, survey.pixel_scale, survey.cutout_size))
    columns["crval"][:] = known
    columns["zero_point"][:] = form.zero_point_of_cubes(survey)
    columns["source"][:] = np.array(files, object)[:, None]
    return RowsOfFiles(flux, np.zeros(flux.shape, bool), columns, [""] * len(flux), remarks)


def _collect_fits(
    paths: list[Path], survey: Survey, form: Form, positions: Path | None, columns: Mapping[str, str] | None
) -> Collection:
    """Return the objects of FITS files."""
    if form.unstretch:
        raise ImageError(f"{paths[0]}: FITS files hold flux in the unit that BUNIT states; leave out --stretched")
    bands = tuple(band for band in survey.bands if band in form.bands)
    inputs = [file for path in paths for file in fits_files(path)]
    objects = find_objects(inputs, survey, bands)
    if positions:
        catalogue = read_catalogue(positions, columns)
        _check_order(positions, catalogue, objects, survey)
    else:
        catalogue = Table({name: [getattr(item, name) for item in objects] for name in ("object_id", "ra", "dec")})
        catalogue["redshift"] = Column([item.redshift for item in objects], dtype=float)
    parts = partial(_fits_parts, objects, survey, bands, form)
    synthetic = next((item.synthetic for item in objects if item.synthetic), "")
    return Collection(catalogue, bands, [item.name for item in objects], inputs, parts, synthetic)


def _check_order(positions: Path, catalogue: Table, objects: list[FitsObject], survey: Survey) -> None:
    """Raise CatalogueError unless row i of a catalogue lies in the image of object i."""
    if len(catalogue) != len(objects):
        raise CatalogueError(
            f"{positions} has {len(catalogue)} rows and the files show {len(objects)} objects; row i must be object i, "
            "in the order of the files' names"
        )
    sky = SkyCoord([item.ra for item in objects], [item.dec for item in objects], unit="deg")
    apart = sky.separation(SkyCoord(catalogue["ra"], catalogue["dec"], unit="deg")).to_value(u.arcsec)
    far = np.nan_to_num(apart) > survey.cutout_size * survey.pixel_scale / 2
    if far.any():
        row = int(np.argmax(far))
        raise CatalogueError(
            f"{positions}: row {row + 1} lies {apart[row]:.1f} arcsec from the centre of {objects[row].name}; put the "
            "rows in the order of the files' names, or leave out --positions, for FITS files have their own"
        )


def _fits_parts(objects: list[FitsObject], survey: Survey, bands, form: Form, slices) -> Iterator[RowsOfFiles]:
    """Yield the images of the objects of each slice."""
    size = survey.cutout_size
    for rows in slices:
        count = rows.stop - rows.start
        flux = np.full((count, len(bands), size, size), np.nan)
        part = RowsOfFiles(
            flux, np.zeros(flux.shape, bool), empty_columns(count, len(bands)), [""] * count, [""] * count
        )
        for at, item in enumerate(objects[rows]):
            try:
                stamp = read_stamp(item, survey, bands, form.given, form.zeros)
            except ImageError as error:
                part.reasons[at] = str(error)
                continue
            part.flux[at], part.saturated[at] = stamp.flux, stamp.saturated
            part.remarks[at] = "; ".join(stamp.zeros)
            for name, values in zip(("crval", "crpix", "cd"), tan_terms(stamp.wcs), strict=True):
                part.columns[name][at] = values
            for name, values in stamp.facts.items():
                part.columns[name][at] = values
        yield part
