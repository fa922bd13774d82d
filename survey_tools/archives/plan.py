"""The classes that all archives share: how to reach one, which files hold which objects, and what a file gives."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

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


def option(default: Any, what: str, *, choices: tuple[str, ...] = (), shown: str = "", is_flag: bool = False) -> Any:
    """Return a field of the options that only one archive has, described for the command line.

    Parameters
    ----------
    default : object
        Its default.
    what : str
        What it does, in a sentence or more.
    choices : tuple of str
        The values that it may have; () if it may have any.
    shown : str
        The default in words, if a command should show it.
    is_flag : bool
        Whether it is yes or no although its default is neither.
    """
    return field(default=default, metadata={"what": what, "choices": choices, "shown": shown, "is_flag": is_flag})


@dataclass(frozen=True)
class Access:
    """How to reach the files of an archive, whichever it is.

    Options of one archive alone are in a dataclass of its own, such as `sdss.archive.SdssOptions`; `option` makes its
    fields.

    Attributes
    ----------
    work : Path
        Folder for files while they are in use.
    mirror : str, optional
        Local folder, or http(s) URL, with a copy of the archive's files; None is the live archive.
    keep : Path, optional
        Folder in which downloaded files stay; None deletes each file after its use.
    limit : int, optional
        Largest size of `keep` [byte]; None is no limit.
    given : Given
        The user's statement on the calibration of files whose headers state nothing.
    settings : ArchiveSettings
        Addresses and limits of the live archives.
    """

    work: Path
    mirror: str | None = None
    keep: Path | None = None
    limit: int | None = None
    given: Given = SILENT
    settings: ArchiveSettings = field(default_factory=read_settings)

    def files(self, root: str, *others: str, listed: bool = False) -> Mirror:
        """Return the files below a root, which are downloaded and kept as the user wants.

        Parameters
        ----------
        root : str
            Local folder, or http(s) URL.
        *others : str
            Further roots that have the same files.
        listed : bool
            Whether the archive's own list names these files. If one of them is then not found, this is a passing state.

        Returns
        -------
        Mirror
            A mirror of the user is asked with less patience than a live archive.
        """
        manner = self.settings.manner if self.mirror is None else USUAL
        return Mirror(root, self.work, self.keep, self.limit, others, manner.for_listed() if listed else manner)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file and the objects to cut from it.

    Attributes
    ----------
    name : str
        Name of the file, relative to the root of the archive.
    band : str
        Band of its image.
    rows : (n,) int
        Rows of the catalogue, ascending.
    key : tuple, optional
        Notes of the archive on this file, which nobody else reads: the exposure that the file must hold, for example,
        or the way in which to ask for it.
    bytes : int
        Expected size of the download; 0 if the file lies on this machine.
    requests : int
        Expected number of requests.
    wait : float
        Expected time besides the transfer, while the archive works [s].
    sure : (n,) bool, optional
        Whether a list of the archive says that the centre of each object has data; None is nowhere.
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
    """The files to open, in the order in which they are combined.

    Attributes
    ----------
    sources : list of SourceFile
        The files that hold objects of the catalogue.
    unreadable : list of Unreadable
        Files that cannot be used.
    notes : list of str
        Remarks for the user.
    positions : ((object,), (object,)) float, optional
        ra and dec of the catalogue [deg], if the archive may have to find more files by position.
    """

    sources: list[SourceFile]
    unreadable: list[Unreadable]
    notes: list[str] = field(default_factory=list)
    positions: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Piece:
    """The contribution of one file to one object.

    Attributes
    ----------
    cutout : Cutout
        Pixels, flags and WCS.
    zero_point : float
        AB magnitude of one unit of the file, as applied.
    psf_fwhm : float
        Full width at half maximum of a star's profile [arcsec]; NaN if unknown.
    psf_source : str
        Where `psf_fwhm` is from, in one word such as "header" or "stars"; "" if it is unknown.
    saturation_source : str
        Where the saturated pixels are from, in one word such as "header"; "" if they are unknown.
    gain : float
        Electrons of one nanomaggy in the detector [electron/nanomaggy]; NaN if unknown.
    sky_sigma : float
        Standard deviation of a blank pixel of this cutout [nanomaggy/pixel], if it follows from what the file states;
        NaN if it has to be measured.
    exposure : str
        Name of the exposure. Pieces of one exposure show the same photons, and their mean is as noisy as each of them.
        "" if it is unknown.
    zeros : str
        Remark on pixels that are exactly 0 in the file: whether they count as data, and why.
    lacks : int
        0 if the cutout is complete, or if no other file could complete it. Any other value says which file to try next,
        in a code of the archive's own that `Archive.neighbours` reads.
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
    """The interface of an archive for `build.fetch`; an archive is a value that can be sent to other machines.

    Attributes
    ----------
    survey : Survey
        The row of the survey.

    Notes
    -----
    `facts` returns the settings that the pixels depend on, by name; a store is resumed only if they are the same.
    `plan` says which files hold which objects. `neighbours` is called when these files are cut, with `Piece.lacks` of
    the rows of each source, (n,) by the index of the source. It returns the files that are needed in addition, and is
    called again with its own files in the plan, a few times at most, until it returns none. `cut` makes one piece for
    each row of a source, in order, one after the other; it raises ArchiveError if the file cannot be used, and
    ConnectionError if the archive cannot be reached.
    """

    survey: Survey

    def facts(self) -> dict[str, str]: ...  # noqa: D102

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan: ...  # noqa: D102

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]: ...  # noqa: D102

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]: ...  # noqa: D102


def require_bands(root: str, survey: Survey, bands: tuple[str, ...], found: list, unreadable: list[Unreadable]) -> None:
    """Check that the images of a mirror include the survey and each band.

    A band whose only files are unreadable passes; the objects on them will fail with the reason.

    Parameters
    ----------
    root : str
        The mirror, for the message.
    survey : Survey
        Its row.
    bands : tuple of str
        The bands that are needed.
    found : list
        Images that were found by their headers; each has a `band`.
    unreadable : list of Unreadable
        Files that cannot be used.

    Raises
    ------
    ArchiveError
        If the mirror has no image of the survey, or none of a band.
    """
    there = {image.band for image in found} | {file.band for file in unreadable}
    absent = [band for band in bands if band not in there] if "" not in there else []
    present = "".join(band for band in survey.bands if band in there)
    if not found:
        if unreadable:
            raise ArchiveError(
                f"none of the {survey.title} images in {root} can be used: {len(unreadable)} file"
                f"{'s' * (len(unreadable) > 1)}, first: {unreadable[0].reason}"
            )
        keywords = " or ".join(survey.filter_keywords)
        raise ArchiveError(
            f"{root} has no {survey.title} image: the keyword {keywords} of no FITS file names one of the survey's "
            "filters"
        )
    if absent:
        raise ArchiveError(f"{root} has no {survey.title} image of band {', '.join(absent)}; pass --bands {present}")


class SkyPositions:
    """Positions of a catalogue, prepared for the search of those that lie on an image.

    Parameters
    ----------
    ra, dec : (object,) float
        Positions [deg].
    """

    def __init__(self, ra: np.ndarray, dec: np.ndarray) -> None:
        self._ra, self._dec = np.asarray(ra, float), np.asarray(dec, float)
        self._tree = cKDTree(unit_vectors(self._ra, self._dec))

    def on(self, image: ImageFile, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions on an image.

        Parameters
        ----------
        image : ImageFile
            The image.
        margin : float
            Distance from the edge within which positions outside count too [arcsec].

        Returns
        -------
        rows : (n,) int
            Rows of the catalogue, ascending.
        inside : (n,) float
            Distance of each from the nearest edge [pixel], negative outside.
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
