"""SDSS DR12 corrected frames on the Science Archive Server, or in a mirror of it.

Data model: https://data.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html
"""

import logging
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from survey_tools.archives.fits_files import (
    UNREADABLE,
    ImageFile,
    Unreadable,
    describe,
    header_number,
    open_image,
    scan,
)
from survey_tools.archives.http import NotThereError
from survey_tools.archives.mirror import Mirror
from survey_tools.archives.plan import Cuts, Plan, Sky, Source, require_bands
from survey_tools.cutout import Cutout, resample, resample_flags
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS
from survey_tools.tan import north_up_wcs, scale_of
from survey_tools.tasks import run

FRAME_NAME = "sas/dr12/boss/photoObj/frames/{rerun}/{run}/{camcol}/frame-{band}-{run:06d}-{camcol}-{field:04d}.fits.bz2"
PSFIELD = "sas/dr12/boss/photo/redux/{rerun}/{run}/objcs/{camcol}/psField-{run:06d}-{camcol}-{field:04d}.fit"
PSF_BANDS = "ugriz"  # order of the filters in psField
FRAME_COLUMNS = ("run", "rerun", "camcol", "field")
HALF_DIAGONAL = SDSS.cutout_size / 2 * SDSS.pixel_scale * np.sqrt(2)  # [arcsec] of a cutout

log = logging.getLogger(__name__)
_one_psfield = threading.Lock()  # five bands ask for the same file at about the same time


class Frame(NamedTuple):
    """One field of the imaging scans in one band."""

    run: int
    rerun: int
    camcol: int
    field: int
    band: str

    @property
    def name(self) -> str:
        """Of its file on the SAS, relative to the root."""
        return FRAME_NAME.format(**self._asdict())


def plan(mirror: Mirror, catalogue: Table, bands: tuple[str, ...], workers: int) -> Plan:
    """Which frames to open for which objects.

    A catalogue with run, rerun, camcol and field names its frames, if the mirror is laid out as the SAS; a field before
    or after serves the objects that stick out of theirs. Otherwise all frames in a local folder are looked at, and
    every one that a cutout touches is used.

    Raises:
        ArchiveError: Where no frame can be found at all, or none of a band.
    """
    named = all(name in catalogue.colnames for name in FRAME_COLUMNS)
    if named and (mirror.remote or (Path(mirror.root) / "sas").is_dir()):
        return _plan_named(mirror, catalogue, bands, workers)
    if mirror.remote:
        raise ArchiveError(
            f"the web server {mirror.root} cannot be searched for frames: give the catalogue the columns run, rerun, "
            "camcol and field (SkyServer's PhotoObjAll has them), or copy the frames into a local folder"
        )
    images, unreadable = scan(mirror, SDSS, workers)
    require_bands(mirror.root, SDSS, bands, images, unreadable)
    sky = Sky(catalogue["ra"], catalogue["dec"])
    sources = [Source(image.name, image.band, sky.on(image, HALF_DIAGONAL)[0]) for image in images]
    return Plan([source for source in sources if source.band in bands and len(source.rows)], unreadable)


def cut(mirror: Mirror, source: Source, ra: np.ndarray, dec: np.ndarray) -> Cuts:
    """North-up cutouts of one frame, centred on (ra, dec) (n,) [deg].

    Raises:
        ArchiveError: Where the file is missing or damaged, not in nanomaggies, or another frame than its name says.
    """
    with open_image(SDSS, mirror, source.name) as (image, header, pixels):
        _check(source, image, header)
        flux = pixels[:, :]
        saturated = flux >= header_number(source.name, header, "SATURATE", np.inf)
        cutouts = []
        for position in zip(ra, dec, strict=True):
            target = _grid(*position)
            stamp = resample(flux, image.wcs, target, SDSS.cutout_size)
            flags = np.isfinite(stamp)
            flags &= resample_flags(saturated, image.wcs, target, SDSS.cutout_size) if saturated.any() else False
            cutouts.append(Cutout(stamp, flags, target))
        return Cuts(cutouts, SDSS.zero_point, _psf_fwhm(mirror, header, source.band))


def frame_of(header: fits.Header) -> tuple[int, int, int]:
    """Run, camcol and field of a frame.

    FRAME numbers the drift scan as each CCD sees it: the five rows of the camera, r i u z g, pass a field two frames
    apart, so that field 111 is FRAME 111 in r and 119 in g.
    """
    return header["RUN"], header["CAMCOL"], header["FRAME"] - 2 * (header.get("CAMROW", 1) - 1)


def _plan_named(mirror: Mirror, catalogue: Table, bands: tuple[str, ...], workers: int) -> Plan:
    """The frames that the catalogue names, and the fields before and after them where they are needed."""
    look = partial(_look, mirror)
    wanted = _rows_by_frame(catalogue, bands)
    images = dict(zip(wanted, run(look, wanted, workers, desc="look", unit="file"), strict=True))
    beside: dict[Frame, list[np.ndarray]] = {}
    for frame, image in images.items():
        rows = _sticking_out(image, catalogue, wanted[frame]) if isinstance(image, ImageFile) else []
        for step in (-1, 1) if len(rows) else ():
            beside.setdefault(frame._replace(field=frame.field + step), []).append(rows)
    new = [frame for frame in beside if frame not in images]
    images |= zip(new, run(look, new, workers, desc="look beside", unit="file"), strict=True)
    sky = Sky(catalogue["ra"], catalogue["dec"])
    for frame, pieces in beside.items():
        rows = np.concatenate(pieces)
        if isinstance(images[frame], ImageFile):
            rows = np.intersect1d(rows, sky.on(images[frame], HALF_DIAGONAL)[0])
        if images[frame] is not None:  # a field that is not there is no loss: the scan began or ended here
            wanted[frame] = np.union1d(wanted.get(frame, rows), rows)
    sources = [Source(frame.name, frame.band, rows, frame) for frame, rows in wanted.items() if len(rows)]
    return Plan(sorted(sources, key=lambda source: source.name), [])


def _rows_by_frame(catalogue: Table, bands: tuple[str, ...]) -> dict[Frame, np.ndarray]:
    """The rows of a catalogue, ascending, that name each frame."""
    keys, row_key = np.unique(np.array([catalogue[name] for name in FRAME_COLUMNS]).T, axis=0, return_inverse=True)
    by_key = np.split(np.argsort(row_key.ravel(), kind="stable"), np.cumsum(np.bincount(row_key.ravel()))[:-1])
    return {Frame(*key, band): rows for key, rows in zip(keys.tolist(), by_key, strict=True) for band in bands}


def _look(mirror: Mirror, frame: Frame) -> ImageFile | Unreadable | None:
    """What the header of a frame says."""
    return describe(SDSS, mirror, frame.name)


def _sticking_out(image: ImageFile, catalogue: Table, rows: np.ndarray) -> np.ndarray:
    """Those of the rows whose cutout needs pixels beyond the edges of a frame."""
    last = np.array(image.shape[::-1]) - 1
    positions = np.stack([catalogue["ra"][rows], catalogue["dec"][rows]], axis=1).astype(float)
    pixel = image.wcs.wcs_world2pix(positions, 0)
    near = np.min([*pixel.T, *(last - pixel).T], axis=0) < HALF_DIAGONAL / scale_of(image.wcs) + 1
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (SDSS.cutout_size - 1)
    out = []
    for row, position in zip(rows[near], positions[near], strict=True):
        corner = image.wcs.wcs_world2pix(_grid(*position).wcs_pix2world(corners, 0), 0)
        out += [row] if (corner < 0).any() or (corner > last).any() else []
    return np.array(out, dtype=np.intp)


def _grid(ra: float, dec: float) -> WCS:
    """The pixels of a cutout: north up, centred on the object."""
    return north_up_wcs(ra, dec, SDSS.pixel_scale, SDSS.cutout_size)


def _check(source: Source, image: ImageFile, header: fits.Header) -> None:
    """ArchiveError unless the frame is in nanomaggies and the one that its name says."""
    unit = str(header.get("BUNIT", "")).strip()
    if unit.lower() not in ("nanomaggy", "nanomaggies"):
        raise ArchiveError(
            f"{source.name} has BUNIT {unit!r}, not 'nanomaggy': it is no corrected frame of DR9 to DR17"
        )
    if image.band != source.band:
        raise ArchiveError(f"{source.name} is an image of band {image.band}; fetch the file anew")
    frame = source.frame
    if frame is not None and frame_of(header) != (frame.run, frame.camcol, frame.field):
        raise ArchiveError(f"{source.name} holds run, camcol, field {frame_of(header)}; fetch the file anew")


def _psf_fwhm(mirror: Mirror, header: fits.Header, band: str) -> float:
    """FWHM of the PSF [arcsec] at the centre of the field by its psField; NaN where the mirror has none."""
    if "RUN" not in header or "CAMCOL" not in header or "FRAME" not in header:
        return np.nan
    run, camcol, field = frame_of(header)
    name = PSFIELD.format(rerun=str(header.get("RERUN", "301")).strip(), run=run, camcol=camcol, field=field)
    with _one_psfield:
        return _psf_widths(mirror, name)[PSF_BANDS.index(band)]


@lru_cache(maxsize=4096)
def _psf_widths(mirror: Mirror, name: str) -> tuple[float, ...]:
    """PSF_WIDTH [arcsec] of the five bands in HDU 6 of a psField; NaN where it is not there, unreadable or not set."""
    unknown = (np.nan,) * len(PSF_BANDS)
    try:
        with mirror.file(name) as path, fits.open(path, memmap=False) as hdus:
            widths = np.ravel(hdus[6].data["PSF_WIDTH"]).astype(float)
    except NotThereError:
        return unknown
    except ConnectionError:
        raise
    except (ArchiveError, *UNREADABLE) as error:
        log.warning("%s cannot be read, so the PSF of its field is unknown: %s", name, error)
        return unknown
    return tuple(np.where((widths > 0) & np.isfinite(widths), widths, np.nan))
