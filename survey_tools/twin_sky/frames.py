"""Write simulated SDSS files as on the Science Archive Server: corrected frames, fpM and psField files of one run.

Structure and keywords: SDSS data model, files `frame`, `fpM` and `psField`, and the real files of runs 7264 and 3900.
"""

import bz2
import gzip
import io
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import find_objects, label

from survey_tools.archives.sdss.frames import Frame
from survey_tools.archives.sdss.psfield import PSFIELD
from survey_tools.archives.sdss.saturation import FPM, FULL_SCALE, PLANES, SATURATED, SPAN
from survey_tools.files import whole_file
from survey_tools.images.sky_wcs import local_cd, tan_wcs
from survey_tools.twin_sky.exposure import CAMCOL, RUN, SKY_TILT, Psf, SdssExposure
from survey_tools.version import VERSION

RERUN, FIELDS = 301, (111, 112)  # of run 9001, which does not exist
ROWS, COLS = 1489, 2048  # of a frame
SHARED_ROWS = 128  # of a field that are also the first of the next
STRIP_SHAPE = ((ROWS - SHARED_ROWS) * (len(FIELDS) - 1) + ROWS, COLS)
REFERENCE_PIXEL = 1025.0, 745.0  # CRPIX of every frame
SCAN_ANGLE = 77.1  # [deg] east of north of the direction of increasing row
PSF_SIZE = 51  # pixels a side of the images in psField
MASKS = (
    "INTERP",
    "SATUR",
    "NOTCHECKED",
    "OBJECT",
    "BRIGHTOBJECT",
    "BINOBJECT",
    "CATOBJECT",
    "SUBTRACTED",
    "GHOST",
    "CR",
)


def strip_wcs(ra: float, dec: float, shift, turn: float, pixel_scale: float) -> WCS:
    """Return the WCS of the continuous strip that a camera column scans.

    Parameters
    ----------
    ra, dec : float
        Its centre [deg].
    shift : array_like
        (2,) offset of the centre [pixel]: the CCD of a band is not exactly where that of the next band is.
    turn : float
        Added to the scan angle [deg].
    pixel_scale : float
        [arcsec/pixel].

    Returns
    -------
    WCS
        TAN, ICRS.
    """
    angle = np.radians(SCAN_ANGLE + turn)
    sin, cos = np.sin(angle), np.cos(angle)
    cd = np.array([[-cos, sin], [sin, cos]]) * pixel_scale / 3600
    return tan_wcs((ra, dec), (np.array(STRIP_SHAPE[::-1]) + 1) / 2 + shift, cd)


def field_rows(index: int) -> slice:
    """Return the rows of the strip that make field `FIELDS[index]`.

    Parameters
    ----------
    index : int
        Index of the field.

    Returns
    -------
    slice
        The rows.
    """
    start = index * (ROWS - SHARED_ROWS)
    return slice(start, start + ROWS)


def field_wcs(strip: WCS, index: int) -> WCS:
    """Return the WCS that a field's header states: tangent at its own middle, as in real frames; the strip's to 0.01
    pixel.

    Parameters
    ----------
    strip : WCS
        WCS of the strip.
    index : int
        Index of the field.

    Returns
    -------
    WCS
        TAN, ICRS.
    """
    shifted = strip.deepcopy()
    shifted.wcs.crpix -= [0, field_rows(index).start]
    centre = shifted.wcs_pix2world([REFERENCE_PIXEL], 1)[0]
    return tan_wcs(centre, REFERENCE_PIXEL, local_cd(shifted, (ROWS, COLS + 1)))


def frame_path(root: Path, band: str, field: int) -> Path:
    """Return where the archive keeps a frame of a band and a field, below `root`."""
    return root / Frame(RUN, RERUN, CAMCOL, field, band).name


def psfield_path(root: Path, field: int) -> Path:
    """Return where the archive keeps the PSFs of a field, below `root`."""
    return root / PSFIELD.format(rerun=RERUN, run=RUN, camcol=CAMCOL, field=field)


def mask_path(root: Path, band: str, field: int) -> Path:
    """Return where the archive keeps the mask of a frame of a band and a field, below `root`."""
    return root / FPM.format(rerun=RERUN, run=RUN, camcol=CAMCOL, band=band, field=field)


def write_masks(root: Path, band: str, strip: np.ndarray, exposure: SdssExposure, seed: int) -> None:
    """Write one fpM file per field, which says which pixels of a strip are saturated.

    Parameters
    ----------
    root : Path
        Root of the archive.
    band : str
        Band of the strip.
    strip : ndarray
        (row, col) [nanomaggy/pixel].
    exposure : SdssExposure
        Its calibration and sky.
    seed : int
        Seed of the simulation, for the header.
    """
    for index, field in enumerate(FIELDS):
        saturated = strip[field_rows(index)] / exposure.nanomaggies + exposure.sky >= FULL_SCALE
        primary = fits.PrimaryHDU()
        primary.header.update(RUN=RUN, CAMCOL=CAMCOL, FIELD=field, MASKROWS=ROWS, MASKCOLS=COLS, NPLANE=len(MASKS))
        _mark(primary.header, seed)
        planes = [mask_table(saturated if f"S_MASK_{name}" == SATURATED else None) for name in MASKS]
        buffer = io.BytesIO()
        fits.HDUList([primary, *planes, plane_list()]).writeto(buffer)
        with whole_file(mask_path(root, band, field)) as temporary:
            temporary.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


def mask_table(inside: np.ndarray | None) -> fits.BinTableHDU:
    """Return one plane of an fpM file: a row for each connected set of pixels.

    Parameters
    ----------
    inside : ndarray or None
        Which pixels (row, col) are in the plane; None for an empty plane.

    Returns
    -------
    BinTableHDU
        The plane.
    """
    found, count = (np.zeros((1, 1), int), 0) if inside is None else label(inside, np.ones((3, 3)))
    rows = []
    for mine, part in zip(find_objects(found), range(1, count + 1), strict=False):
        edges = np.diff(np.pad((found[mine] == part).astype(np.int8), ((0, 0), (1, 1))), axis=1)
        (row, first), last = np.nonzero(edges == 1), np.nonzero(edges == -1)[1] - 1
        top, left = mine[0].start, mine[1].start
        spans = np.array(list(zip(row + top, first + left, last + left, strict=True)), SPAN)
        box = (top, mine[0].stop - 1, left, mine[1].stop - 1)
        rows.append(
            (1, len(spans), 0, 0, *box, int((found[mine] == part).sum()), np.frombuffer(spans.tobytes(), np.uint8))
        )
    names = ("refcntr", "nspan", "row0", "col0", "rmin", "rmax", "cmin", "cmax", "npix")
    columns = [
        fits.Column(name, "J", array=np.array([row[at] for row in rows], np.int32)) for at, name in enumerate(names)
    ]
    spans = np.empty(len(rows), object)
    spans[:] = [row[-1] for row in rows]
    return fits.BinTableHDU.from_columns([*columns, fits.Column("s", "PB()", array=spans)])


def plane_list() -> fits.BinTableHDU:
    """Return the last HDU of an fpM file, which says which plane is in which HDU."""
    names = [*(f"S_MASK_{name}" for name in MASKS), "S_NMASK_TYPES"]
    columns = [
        fits.Column("defName", "31A", array=[PLANES] * len(names)),
        fits.Column("attributeName", "31A", array=names),
        fits.Column("Value", "J", array=np.arange(len(names))),
    ]
    return fits.BinTableHDU.from_columns(columns)


def write_frames(root: Path, band: str, strip: np.ndarray, wcs: WCS, exposure: SdssExposure, seed: int) -> None:
    """Write a strip as one frame per field. Neighbours share 128 rows of the same pixels.

    Parameters
    ----------
    root : Path
        Root of the archive.
    band : str
        Band of the strip.
    strip : ndarray
        (row, col) [nanomaggy/pixel].
    wcs : WCS
        WCS of the strip.
    exposure : SdssExposure
        Its calibration and sky.
    seed : int
        Seed of the simulation, for the header.
    """
    for index, field in enumerate(FIELDS):
        primary = fits.PrimaryHDU(cut_mantissa(strip[field_rows(index)]))
        _describe(primary.header, band, field, field_wcs(wcs, index), exposure, seed)
        calibration = fits.ImageHDU(np.full(COLS, exposure.nanomaggies, np.float32))
        hdus = fits.HDUList([primary, calibration, _sky_table(exposure.sky), _astrometry_table(band, field)])
        buffer = io.BytesIO()
        hdus.writeto(buffer)
        with whole_file(frame_path(root, band, field)) as temporary:
            temporary.write_bytes(bz2.compress(buffer.getvalue()))


def cut_mantissa(flux: np.ndarray) -> np.ndarray:
    """Return flux with 10 significant binary digits, as real frames have it so that they can be compressed.

    Parameters
    ----------
    flux : ndarray
        Any shape.

    Returns
    -------
    ndarray
        float32, same shape.
    """
    spare = 23 - 9  # of the 23 stored bits; the first digit is implied
    bits = np.ascontiguousarray(flux, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << (spare - 1))) & np.uint32(0xFFFFFFFF << spare & 0xFFFFFFFF)).view(np.float32)


def write_psfields(root: Path, exposures: dict[str, SdssExposure], pixel_scale: float, seed: int) -> None:
    """Write one psField file per field: the PSFs of its bands in HDU 1 to 5, their widths and the sky in HDU 6.

    Parameters
    ----------
    root : Path
        Root of the archive.
    exposures : dict
        Exposure of each band.
    pixel_scale : float
        [arcsec/pixel].
    seed : int
        Seed of the simulation, for the header.
    """
    for field in FIELDS:
        primary = fits.PrimaryHDU()
        primary.header.update(RUN=RUN, CAMCOL=CAMCOL, FIELD=field, FILTERS=" ".join(exposures))
        _mark(primary.header, seed)
        images = [_psf_table(exposure.psf, pixel_scale) for exposure in exposures.values()]
        with whole_file(psfield_path(root, field)) as temporary:
            fits.HDUList([primary, *images, _width_table(field, list(exposures.values()))]).writeto(temporary)


def _describe(header: fits.Header, band: str, field: int, wcs: WCS, exposure: SdssExposure, seed: int) -> None:
    """Write the keywords of a frame."""
    header["RUN"] = RUN, "Run number"
    header["FRAME"] = field, "Frame sequence number within the run"
    header["CAMCOL"] = CAMCOL, "column in the imaging camera"
    header["RERUN"] = str(RERUN), "rerun"
    header["FILTER"] = band, "filter used"
    header["FLAVOR"] = "science", "Flavor of this run"
    header["EXPTIME"] = "53.907456", "Exposure time (seconds)"
    header["BUNIT"] = "nanomaggy", "1 nanomaggy = 3.631e-6 Jy"
    header["EQUINOX"] = 2000.0
    header["RADECSYS"] = "ICRS", "International Celestial Ref. System"
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg")
    header.update(CRPIX1=wcs.wcs.crpix[0], CRPIX2=wcs.wcs.crpix[1], CRVAL1=wcs.wcs.crval[0], CRVAL2=wcs.wcs.crval[1])
    for row in (0, 1):
        for col in (0, 1):
            header[f"CD{row + 1}_{col + 1}"] = wcs.wcs.cd[row, col]
    header["NMGY"] = exposure.nanomaggies, "Calibration factor [nMgy per count]"
    header["SEEING"] = round(exposure.psf.fwhm, 4), "simulated FWHM of the PSF [arcsec]"
    header["COMMENT"] = "Floats truncated at 10 binary digits"
    _mark(header, seed)


def _mark(header: fits.Header, seed: int) -> None:
    """Mark a header, so that nobody takes the file for an observation."""
    header["ORIGIN"] = "galtrans twin sky"
    header["SIMULATD"] = True, "simulated, not observed"
    header["SIMSEED"] = seed, "random seed of the simulation"
    header["SIMVERS"] = VERSION, "version of galtrans"


def _sky_table(sky: float) -> fits.BinTableHDU:
    """Return the sky [DN] that was subtracted, on a coarse grid, and where the frame's columns and rows lie in it."""
    grid = np.empty((1, 192, 256), np.float32)
    grid[:] = sky + SKY_TILT * ((8 * np.arange(256) + 3.5) / (COLS - 1) - 0.5)
    across = ((np.arange(COLS) + 0.5) / 8 - 0.5).astype(np.float32)[None]
    along = ((np.arange(ROWS) + 0.5) / 8 + 0.5).astype(np.float32)[None]
    columns = [
        fits.Column("ALLSKY", f"{grid.size}E", dim="(256,192)", array=grid),
        fits.Column("XINTERP", f"{COLS}E", array=across),
        fits.Column("YINTERP", f"{ROWS}E", array=along),
    ]
    return fits.BinTableHDU.from_columns(columns)


def _astrometry_table(band: str, field: int) -> fits.BinTableHDU:
    """Return the columns that name the field in the real asTrans table. Its terms are left out: the header's WCS is
    exact.
    """
    columns = [
        fits.Column("RUN", "J", array=[RUN]),
        fits.Column("RERUN", "3A", array=[str(RERUN)]),
        fits.Column("CAMCOL", "J", array=[CAMCOL]),
        fits.Column("FILTER", "A", array=[band]),
        fits.Column("NAXIS", "2J", array=[[COLS, ROWS]]),
        fits.Column("FIELD", "J", array=[field]),
    ]
    return fits.BinTableHDU.from_columns(columns)


def _psf_table(psf: Psf, pixel_scale: float) -> fits.BinTableHDU:
    """Return a PSF that is the same all over the field, as the one eigen-image of the real table's expansion."""
    row, col = np.mgrid[:PSF_SIZE, :PSF_SIZE] - PSF_SIZE // 2
    radius = psf.fwhm / pixel_scale / (2 * np.sqrt(2 ** (1 / psf.beta) - 1))
    image = (1 + (row**2 + col**2) / radius**2) ** -psf.beta
    coefficients = np.zeros((1, 5, 5), np.float32)
    coefficients[0, 0, 0] = 1
    columns = [
        fits.Column("nrow_b", "J", array=[1]),
        fits.Column("ncol_b", "J", array=[1]),
        fits.Column("c", "25E", dim="(5,5)", array=coefficients),
        fits.Column("lambda", "E", array=[1.0]),
        fits.Column("RNROW", "J", array=[PSF_SIZE]),
        fits.Column("RNCOL", "J", array=[PSF_SIZE]),
        fits.Column("RROWS", f"{image.size}E", array=image.reshape(1, -1).astype(np.float32)),
    ]
    return fits.BinTableHDU.from_columns(columns)


def _width_table(field: int, exposures: list[SdssExposure]) -> fits.BinTableHDU:
    """Return HDU 6: one value per band of PSF width [arcsec], sky [DN], its noise [DN], gain and dark variance."""
    values = {
        "sky": [exposure.sky for exposure in exposures],
        "skysig": [exposure.sigma / exposure.nanomaggies for exposure in exposures],
        "psf_beta": [exposure.psf.beta for exposure in exposures],
        "psf_width": [exposure.psf.effective_width for exposure in exposures],
        "gain": [exposure.gain for exposure in exposures],
        "dark_variance": [exposure.dark_variance for exposure in exposures],
    }
    columns = [fits.Column("field", "J", array=[field]), fits.Column("psp_status", "J", array=[0])]
    columns += [fits.Column("status", f"{len(exposures)}J", array=np.zeros((1, len(exposures)), int))]
    columns += [fits.Column(name, f"{len(row)}E", array=np.array([row])) for name, row in values.items()]
    return fits.BinTableHDU.from_columns(columns)
