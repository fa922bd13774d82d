"""What an archive is: how it is reached, which of its files hold which objects, and what a file gives for them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.download.ways import USUAL
from survey_tools.archives.fits_files import ImageFile, Unreadable
from survey_tools.archives.settings import ArchiveSettings, read_settings
from survey_tools.errors import ArchiveError
from survey_tools.fits.calibration import SILENT, Given
from survey_tools.images.cutout import Cutout
from survey_tools.images.sky_wcs import centre_of, local_scale, pixels_of
from survey_tools.sphere import chord, unit_vectors
from survey_tools.surveys import Survey
from survey_tools.tasks import Run


@dataclass(frozen=True)
class Access:
    """How to reach the files of an archive, whichever it is. What one archive alone needs is in its own options.

    Attributes:
        work: Folder for files that are in use.
        mirror: Local folder, or http(s) URL, of the archive's files; None is the live archive.
        keep: Folder where downloaded files stay; None drops each after its use.
        limit: Bytes that `keep` may hold; None is no limit.
        given: What the user says of the calibration of files of the mirror that state none.
        settings: Addresses and limits of the live archives.
    """

    work: Path
    mirror: str | None = None
    keep: Path | None = None
    limit: int | None = None
    given: Given = SILENT
    settings: ArchiveSettings = field(default_factory=read_settings)

    def files(self, root: str, *others: str, listed: bool = False) -> Mirror:
        """The files under a root, downloaded and kept as the user wants.

        `others` are further roots of the same files; `listed` says that the archive's own list has the files, so that
        it is a passing state if one is not there. A mirror of the user's is asked less patiently than a live archive.
        """
        manner = self.settings.manner if self.mirror is None else USUAL
        return Mirror(root, self.work, self.keep, self.limit, others, manner.for_listed() if listed else manner)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file and the objects to cut from it.

    Attributes:
        name: Of the file, relative to the archive's root.
        band: Of its image.
        rows: (n,) of the catalogue, ascending.
        key: Notes of the archive on this file, which nobody else reads: the exposure that the file must hold, for
            example, or the way in which to ask for it.
        bytes: To expect of its download; 0 where it lies on this machine.
        requests: To expect likewise.
        wait: Seconds to expect besides the transfer, where the archive has to work for it.
        sure: (n,) whether a list of the archive's says that each object's middle has data there; None is nowhere.
    """

    name: str
    band: str
    rows: np.ndarray = field(compare=False)
    key: tuple | None = None
    bytes: int = 0
    requests: int = 0
    wait: float = 0.0
    sure: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FetchPlan:
    """The files to open, in the order in which they are combined, and those that cannot be used; notes for the user.

    `positions` are ra and dec (object,) [deg] of the catalogue, where more files may have to be found by them.
    """

    sources: list[SourceFile]
    unreadable: list[Unreadable]
    notes: list[str] = field(default_factory=list)
    positions: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Piece:
    """What one file gives for one object.

    Attributes:
        cutout: Pixels, flags and WCS.
        zero_point: AB magnitude of one unit of the file, as applied.
        psf_fwhm: Full width at half maximum of a star's profile [arcsec]; NaN where unknown.
        psf_source: Where `psf_fwhm` is from, in one word such as "header" or "stars"; "" where it is unknown.
        saturation_source: Where the saturated pixels are from, in one word such as "header"; "" where they are unknown.
        gain: Electrons that one nanomaggy is in the detector [electron/nanomaggy]; NaN where unknown.
        sky_sigma: Standard deviation of a blank pixel of this cutout [nanomaggy/pixel], where the file states what it
            follows from; NaN where it has to be measured.
        exposure: Pieces of the same exposure show the same photons, so that their mean is no less noisy; "" is unknown.
        zeros: What is to be said of pixels that are exactly 0 in the file: whether they count as data, and why.
        lacks: 0 if the cutout is complete, or if no other file could complete it. Any other value says which file to
            try next, in a code of the archive's own that `Archive.neighbours` reads.
    """

    cutout: Cutout
    zero_point: float
    psf_fwhm: float = np.nan
    psf_source: str = ""
    saturation_source: str = ""
    gain: float = np.nan
    sky_sigma: float = np.nan
    exposure: str = ""
    zeros: str = ""
    lacks: int = 0


class Archive(Protocol):
    """What `build.fetch` asks of an archive, which is a value that can be sent to other machines.

    `survey` is the row of the survey. `facts` returns the settings that the pixels depend on, by name: a store is
    resumed only if they are the same. `plan` says which files hold which objects. `neighbours` is called when these
    files are cut, with `Piece.lacks` of each row of each source, (n,) by the index of the source, and returns the files
    that are needed in addition; it is called again with its own files in the plan, a few times at most, until it
    returns none. `cut` makes one piece for each row of a source, in order, one after the other. It raises ArchiveError
    if the file cannot be used, and ConnectionError if the archive cannot be reached.
    """

    survey: Survey

    def facts(self) -> dict[str, str]: ...  # noqa: D102

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan: ...  # noqa: D102

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]: ...  # noqa: D102

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]: ...  # noqa: D102


def require_bands(root: str, survey: Survey, bands: tuple[str, ...], found: list, unreadable: list[Unreadable]) -> None:
    """ArchiveError where a mirror has no image of the survey, or none of a band, among those `found` by their headers.

    A band of which a file is there but unreadable passes: the objects concerned will say so.
    """
    there = {image.band for image in found} | {file.band for file in unreadable}
    absent = [band for band in bands if band not in there] if "" not in there else []
    present = "".join(band for band in survey.bands if band in there)
    if not found:
        if unreadable:
            raise ArchiveError(
                f"no {survey.title} image of {root} can be used: {len(unreadable)} file"
                f"{'s' * (len(unreadable) > 1)}, first: {unreadable[0].reason}"
            )
        raise ArchiveError(
            f"no {survey.title} image is in {root}: none of its FITS files has one of the survey's FILTERs"
        )
    if absent:
        raise ArchiveError(f"no {survey.title} image of band {', '.join(absent)} is in {root}; pass --bands {present}")


class SkyPositions:
    """Positions of a catalogue, ready to be looked up by image: ra, dec (object,) [deg]."""

    def __init__(self, ra: np.ndarray, dec: np.ndarray) -> None:
        self._ra, self._dec = np.asarray(ra, float), np.asarray(dec, float)
        self._tree = cKDTree(unit_vectors(self._ra, self._dec))

    def on(self, image: ImageFile, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n,) whose position is on an image or within `margin` [arcsec] of it, ascending, and how far inside.

        The second array (n,) [pixel] is the distance from the nearest edge, negative outside.
        """
        rows, cols = image.shape
        scale, centre = local_scale(image.wcs, image.shape), centre_of(image.wcs, image.shape)
        radius = np.radians((np.hypot(rows, cols) / 2 * scale + margin) * 1.01 / 3600)  # 1.01: projection, rounding
        near = self._tree.query_ball_point(unit_vectors(*centre), chord(radius), return_sorted=True)
        near = np.array(near, dtype=np.intp)
        if len(near) == 0:
            return near, np.zeros(0)
        col, row = pixels_of(image.wcs, np.stack([self._ra[near], self._dec[near]], axis=1)).T + 0.5
        inside = np.min([col, cols - col, row, rows - row], axis=0)
        keep = inside >= -margin / scale
        return near[keep], inside[keep]
