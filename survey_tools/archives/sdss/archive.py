"""SDSS DR12 corrected frames, on the Science Archive Server or in a mirror of it: which of them hold which objects."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from survey_tools.archives.download.http import NotThereError
from survey_tools.archives.download.mirror import Mirror
from survey_tools.archives.fits_files import ImageFile, scan, without_copies
from survey_tools.archives.plan import Access, FetchPlan, Piece, SkyPositions, SourceFile, option, require_bands
from survey_tools.archives.sdss import field_list, psfield, saturation
from survey_tools.archives.sdss.frames import (
    AFTER,
    BEFORE,
    EMPTY,
    LISTED,
    NAMED,
    NEXT,
    RERUN,
    Frame,
    cut_frame,
    field_of,
    nothing,
)
from survey_tools.errors import ArchiveError
from survey_tools.surveys import SDSS, Survey
from survey_tools.tasks import Run

FRAME_BYTES = 3_600_000  # mean over all frames
FRAME_COLUMNS = tuple(SDSS.catalogue_columns)
HALF_DIAGONAL = SDSS.cutout_size / 2 * SDSS.pixel_scale * np.sqrt(2)  # [arcsec] of a cutout
PSF_CACHE = 2_000_000_000  # [byte] of psField files that are kept until the other bands of their field need them

PSF_NOTE = (
    "the psField file of each field is fetched as well, for the seeing; without it psf_fwhm is NaN; "
    "--no-psf leaves these files out"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SdssOptions:
    """The options that only the archive of SDSS has.

    Attributes
    ----------
    psf : bool
        Whether to read the point-spread function of each field (psField files).
    masks : bool, optional
        Whether to read the masks of saturated pixels (fpM files); None reads those that lie in a local mirror and
        downloads none.
    frames : str
        How to find the frames of an object: "named" by the catalogue's columns, by position in the "list" of all
        fields, or "auto", which is "named" if the catalogue has the columns.
    """

    psf: bool = option(
        True,
        "also read the psField file of each field (0.8 MB), which gives the seeing at each object. Without it the "
        "seeing is unknown.",
        shown="psf",
    )
    masks: bool | None = option(
        None,
        "also download the fpM file of each frame (0.05 MB), which says which pixels are saturated. By default these "
        "files are read if a local folder has them; otherwise the frame itself tells.",
        is_flag=True,
    )
    frames: str = option(
        "auto",
        "use the frames that the catalogue names, or find them at each position in the list of all fields. The list "
        "(0.35 GB, fetched once) also completes cutouts at the edges of a frame. auto means named if the catalogue has "
        "the columns.",
        choices=("auto", "named", "list"),
        shown="auto",
    )

    @property
    def seeing(self) -> bool:
        """Whether the seeing at each object is wanted."""
        return self.psf


def open_archive(access: Access, options: SdssOptions = SdssOptions()) -> "Frames":
    """Return the frames of SDSS in a folder, on a web server, or on the live archive.

    Parameters
    ----------
    access : Access
        How to reach the files.
    options : SdssOptions
        The options of this archive alone.

    Returns
    -------
    Frames
    """
    return Frames(access, options)


@dataclass(frozen=True)
class Frames:
    """SDSS as `plan.Archive`.

    The frames of an object are named by the catalogue, found in the list of all fields, or found by their headers.
    """

    access: Access
    options: SdssOptions = SdssOptions()
    survey: Survey = SDSS

    @property
    def mirror(self) -> Mirror:
        """The place of the files."""
        return self.access.files(self.access.mirror or self.access.settings.sas)

    def facts(self) -> dict[str, str]:
        """Return which files are used: their place, how they are found, and whether files of the PSF are among them."""
        used = "no" if not self.options.psf else "yes" if self.mirror.remote else "where it is there"
        place = self.mirror.place if self.access.mirror else "the live archive"
        facts = {"mirror": place, "frames": self.options.frames, "psf": used}
        facts |= {"calibration": str(self.access.given)} if self.access.given else {}
        by_list = self.options.frames == "list" or (self.options.frames == "auto" and self.mirror.remote)
        if self.options.masks is not None:
            facts["masks"] = "yes" if self.options.masks else "no"
        return facts | ({"field_list": self.access.settings.field_list} if by_list else {})

    def plan(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return which frames to open for which objects.

        If a catalogue has the columns run, rerun, camcol and field, and the mirror is laid out as the SAS, the
        catalogue names its frames, and no frame has to be searched for. Otherwise the list of all fields gives the
        fewest frames for each position; but in a local folder all files are searched, and every frame that a cutout
        touches is used.

        Parameters
        ----------
        catalogue : Table
            As `read_catalogue` returns it.
        bands : tuple of str
            The bands to fetch.
        run : Run
            Runs tasks.

        Returns
        -------
        FetchPlan

        Raises
        ------
        ArchiveError
            If no frame can be found at all, or none of a band.
        ConnectionError
            If the archive cannot be reached.
        """
        way = self._way(catalogue)
        log.info("frames are %s", way)
        if way == "scanned":
            return self._scanned(catalogue, bands, run)
        plan = FetchPlan(self._sources(_rows_by_frame(catalogue), bands, NAMED), []) if way == "named" else None
        plan = plan or self._listed(catalogue, bands)
        if plan.sources and self.mirror.remote and self.options.psf:
            plan.notes.append(PSF_NOTE)
        return plan

    def neighbours(self, plan: FetchPlan, lacks: dict[int, np.ndarray], run: Run) -> list[SourceFile]:
        """Return the frames that complete the cutouts of a plan.

        For frames that the catalogue names, these are the fields before and after, for the rows whose cutouts reach
        beyond the first or last row of their frame. A field that does not exist is no loss, because the scan began or
        ended there: `cut` gives empty cutouts for it. For listed frames, they are the next best ones, for the rows
        whose position has no data on any of their frames.
        """
        if plan.positions is not None:
            return self._next(plan, lacks)
        wanted: dict[Frame, list[np.ndarray]] = {}
        for index, values in lacks.items():
            frame, rows = plan.sources[index].key, plan.sources[index].rows
            for step in (BEFORE, AFTER):
                found = rows[np.asarray(values) == step]
                if frame is not None and frame.why == NAMED and len(found) and frame.field + step > 0:
                    wanted.setdefault(frame._replace(field=frame.field + step, why=NEXT), []).append(found)
        for known in {source.key for source in plan.sources}:  # of an earlier round
            wanted.pop(known, None)
        named = {frame._replace(why=NAMED) for frame in wanted}
        there = {source.key: source.rows for source in plan.sources if source.key in named}
        found = []
        for frame in sorted(wanted):
            rows = np.unique(np.concatenate(wanted[frame]))
            rows = np.setdiff1d(rows, there.get(frame._replace(why=NAMED), rows[:0]), assume_unique=True)
            found += [SourceFile(frame.name, frame.band, rows, frame, *self._cost)] if len(rows) else []
        return found

    def cut(self, source: SourceFile, ra: np.ndarray, dec: np.ndarray) -> Iterator[Piece]:
        """Yield north-up cutouts of one frame, centred on (ra, dec) (n,) [deg], one after the other.

        Raises
        ------
        ArchiveError
            If the file is missing or damaged, does not state its unit, or is another frame than its name says.
        ConnectionError
            If the archive cannot be reached.
        """
        try:
            yield from cut_frame(self.mirror, source, ra, dec, self._psf_fwhm, self._mask, self.access.given)
        except NotThereError as error:
            if source.key is None or source.key.why != NEXT:
                raise
            log.info("the scan began or ended here: %s", error)
            yield from nothing(ra, dec)

    def _way(self, catalogue: Table) -> str:
        """Return how to find frames: "named", "listed" or "scanned"; ArchiveError if the user's way is impossible."""
        names = all(name in catalogue.colnames for name in FRAME_COLUMNS)
        as_sas = self.mirror.remote or (Path(self.mirror.root) / "sas").is_dir()
        if self.options.frames == "list":
            return "listed"
        if self.options.frames == "named" and not (names and as_sas):
            why = f"the folder {self.mirror.root} contains no sas/" if names else "it does not have them"
            raise ArchiveError(
                f"frames cannot be found by the catalogue's columns {', '.join(FRAME_COLUMNS)}: {why}; leave out "
                "--frames named"
            )
        if names and as_sas:
            return "named"
        return "listed" if self.mirror.remote else "scanned"

    def _scanned(self, catalogue: Table, bands: tuple[str, ...], run: Run) -> FetchPlan:
        """Return a plan with every frame of a local folder that a cutout touches."""
        images, unreadable = scan(self.mirror, SDSS, run, _frame_and_rerun)
        require_bands(self.mirror.root, SDSS, bands, images, unreadable)
        images = without_copies(images, _frame_shown, lambda image: image.note[1] == str(RERUN))
        sky = SkyPositions(catalogue["ra"], catalogue["dec"])
        sources = [SourceFile(image.name, image.band, sky.on(image, HALF_DIAGONAL)[0]) for image in images]
        return FetchPlan([source for source in sources if source.band in bands and len(source.rows)], unreadable)

    def _listed(self, catalogue: Table, bands: tuple[str, ...]) -> FetchPlan:
        """Return a plan with the fewest frames that hold the cutouts, by the list of all fields."""
        settings, fields = self.access.settings, self._fields()
        own = _own(fields, catalogue)
        ra, dec = (np.asarray(catalogue[name], float) for name in ("ra", "dec"))
        uses = field_list.choose(fields, ra, dec, own, SDSS.cutout_size)
        rows, sure = _by_field(fields, uses)
        missing = len(ra) - len(np.unique(uses.row))
        notes = [f"frames of {len(rows)} fields were found by {settings.field_list.split()[0]}"]
        notes += [f"{missing} of {len(ra)} objects lie on no field of SDSS"] if missing else []
        odd = len(np.unique(fields.number[uses.index][~fields.good[uses.index]]))
        notes += [f"{odd} of the fields were not processed by the photometric pipeline (PHOTO_STATUS)"] if odd else []
        return FetchPlan(self._sources(rows, bands, LISTED, sure), [], notes, (ra, dec))

    def _next(self, plan: FetchPlan, lacks: dict[int, np.ndarray]) -> list[SourceFile]:
        """Return the frames to try if a listed one has no data at an object's position, in all bands of the plan.

        The list may have a field at another place than its frame.
        """
        bands = tuple(dict.fromkeys(source.band for source in plan.sources))
        ra, dec = plan.positions
        has = {band: np.zeros(len(ra), bool) for band in bands}
        for at, source in enumerate(plan.sources):
            empty = np.asarray(lacks.get(at, np.zeros(len(source.rows), int))) == EMPTY
            has[source.band][source.rows[~empty]] = True
        listed = np.unique(np.concatenate([source.rows for source in plan.sources]))
        needy = listed[~np.all([has[band][listed] for band in bands], axis=0)]
        if not len(needy):
            return []
        fields, frames = self._fields(), [source.key for source in plan.sources]
        number = [np.full(len(each.rows), field_list.number_of(frame.run, frame.camcol, frame.field)) for each, frame in
                  zip(plan.sources, frames, strict=True)]  # fmt: skip
        row = np.concatenate([source.rows for source in plan.sources])
        mine = np.isin(row, needy)
        without = np.searchsorted(needy, row[mine]), np.concatenate(number)[mine]
        uses = field_list.choose(fields, ra[needy], dec[needy], np.full(len(needy), -1), SDSS.cutout_size, without)
        rows, sure = _by_field(fields, uses._replace(row=needy[uses.row]))
        return self._sources(rows, bands, LISTED, sure)

    def _fields(self) -> field_list.Fields:
        """Return the list of all fields, from the mirror or from the cache, by the first of its names that works.

        After its download from the live archive, its SHA-256 is checked once.
        """
        settings, mirror = self.access.settings, self.mirror
        if mirror.remote:
            mirror = replace(self.access, keep=settings.cache_folder, limit=None).files(mirror.root)
        names = settings.field_list.split()
        names.sort(key=lambda name: not mirror.has(name))  # a list that is here already is used
        problem = None
        for name in names:
            try:
                return self._list(mirror, name)
            except ArchiveError as error:
                problem = problem or error
                log.info("%s", error)
        raise ArchiveError(
            f"{problem}; without this list of all fields, SDSS frames are found by the catalogue's columns "
            f"{', '.join(FRAME_COLUMNS)}, or by their headers in a local folder",
            url=problem.url,
            status=problem.status,
        ) from problem

    def _list(self, mirror: Mirror, name: str) -> field_list.Fields:
        """Return the list of all fields by one of its names."""
        settings, there = self.access.settings, mirror.has(name)
        if not there and mirror.remote:  # this takes minutes, and shows no progress bar
            log.warning("the list of all SDSS fields (0.35 GB) is downloaded once, into %s", settings.cache_folder)
        with mirror.file(name) as path:
            if not there and self.access.mirror is None:
                field_list.require_known(path, name, settings.field_list_sha256)
            return field_list.read_fields(path, name)

    def _sources(
        self,
        uses: dict[tuple, np.ndarray],
        bands: tuple[str, ...],
        why: str,
        sure: dict[tuple, np.ndarray] | None = None,
    ) -> list[SourceFile]:
        """Return the files of some fields in all bands, ordered by field.

        `uses` and `sure` have run, rerun, camcol and field as keys. `sure` says of each row whether a list states that
        its centre has data. The cost of the psField file is added to the first band of a field.
        """
        frame, more = self._cost, (psfield.BYTES, 1) if self.mirror.remote and self.options.psf else (0, 0)
        costs = {band: tuple(np.add(frame, more).tolist()) if band == bands[0] else frame for band in bands}
        found = []
        for key in sorted(uses):
            frames = [Frame(*key, band, why) for band in bands]
            known = None if sure is None else sure[key]
            found += [
                SourceFile(each.name, each.band, uses[key], each, *costs[each.band], sure=known) for each in frames
            ]
        return found

    @property
    def _cost(self) -> tuple[int, int]:
        """Bytes and requests of one frame, with its mask if that is wanted."""
        if not self.mirror.remote:
            return 0, 0
        return (FRAME_BYTES + saturation.BYTES, 2) if self.options.masks else (FRAME_BYTES, 1)

    def _psf_fwhm(self, frame: Frame, row: float, col: float) -> float:
        """Return the FWHM of a star's profile [arcsec] at a pixel of a frame; NaN if it is not wanted or not known."""
        mirror = self.mirror
        if not self.options.psf:
            return np.nan
        if mirror.remote and self.access.keep is None:
            mirror = replace(self.access, keep=self.access.work / "psf", limit=PSF_CACHE).files(mirror.root)
        name = psfield.PSFIELD.format(**frame._asdict())
        psf = psfield.find_psf(mirror, name, frame.band, due=mirror.remote)
        return np.nan if psf is None else psfield.fwhm_at(psf, row, col, SDSS.pixel_scale)

    def _mask(self, frame: Frame, shape: tuple[int, int]) -> np.ndarray | None:
        """Return which pixels (row, col) of a frame its fpM file marks as saturated; None if this is unknown."""
        masks = self.options.masks
        if masks is False or (masks is None and self.mirror.remote):
            return None
        return saturation.find_mask(self.mirror, saturation.FPM.format(**frame._asdict()), shape, due=bool(masks))


def _frame_and_rerun(header: fits.Header) -> tuple[tuple[int, int, int] | None, str]:
    """Return run, camcol and field of a frame, None if they are unknown, and its rerun, "" if that is unknown."""
    return field_of(header), str(header.get("RERUN", "")).strip()


def _frame_shown(image: ImageFile) -> tuple | None:
    """Return run, camcol, field and band, which are the same in all copies of a frame; None if they are unknown."""
    field = image.note[0]
    return field and (*field, image.band)


def _rows_by_frame(catalogue: Table) -> dict[tuple, np.ndarray]:
    """Return the rows, ascending, that name each frame, by its run, rerun, camcol and field."""
    keys, row_key = np.unique(np.array([catalogue[name] for name in FRAME_COLUMNS]).T, axis=0, return_inverse=True)
    by_key = np.split(np.argsort(row_key.ravel(), kind="stable"), np.cumsum(np.bincount(row_key.ravel()))[:-1])
    return dict(zip(map(tuple, keys.tolist()), by_key, strict=True))


def _by_field(fields: field_list.Fields, uses: field_list.Uses) -> tuple[dict[tuple, np.ndarray], dict]:
    """Return the rows, ascending, that use each field, and whether each surely lies on it.

    The keys of both are run, rerun, camcol and field.
    """
    number = fields.number[uses.index]
    order = np.lexsort([uses.row, number])
    firsts = np.flatnonzero(np.diff(number[order], prepend=-1))
    keys = [
        (int(fields.run[at]), RERUN, int(fields.camcol[at]), int(fields.field[at])) for at in uses.index[order[firsts]]
    ]
    rows, sure = (np.split(values[order], firsts[1:]) for values in (uses.row, uses.sure))
    return dict(zip(keys, rows, strict=bool(keys))), dict(zip(keys, sure, strict=bool(keys)))


def _own(fields: field_list.Fields, catalogue: Table) -> np.ndarray:
    """Return the index (object,) of the field that a catalogue names for each object; -1 if the list has none."""
    if not all(name in catalogue.colnames for name in FRAME_COLUMNS):
        return np.full(len(catalogue), -1)
    run, rerun, camcol, field = (np.asarray(catalogue[name], np.int64) for name in FRAME_COLUMNS)
    return np.where(rerun == RERUN, fields.find(run, camcol, field), -1)
