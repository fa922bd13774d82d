"""The archives that galtrans knows, by the name of their survey: one for every survey of `SURVEYS`.

A survey whose archive has no row of its own in `OWN`, such as one from outside, has its tiles in a folder of the user.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import survey_tools.archives.cfht.archive as cfht
import survey_tools.archives.legacy.viewer as legacy
import survey_tools.archives.ps1.service as ps1
import survey_tools.archives.sdss.archive as sdss
from survey_tools.archives.cfht.stacks import CfhtOptions
from survey_tools.archives.coadds import NoOptions, open_tiles
from survey_tools.archives.plan import Access, Archive
from survey_tools.errors import ArgumentError
from survey_tools.surveys import DES, HSC, KIDS, LEGACY, PS1, SURVEYS, Survey

NO_OPTIONS = NoOptions()


@dataclass(frozen=True)
class KnownArchive:
    """The archive of one survey of `SURVEYS`.

    Attributes
    ----------
    survey : Survey
        Its row.
    mirrored : callable
        Makes the archive from an `Access` with a mirror, and a value of `options`.
    live : callable, optional
        Makes the live archive from an `Access` without a mirror, and a value of `options`; None where there is none.
    options : type
        The dataclass of the options that only this archive has. Each has a default. Its property `seeing` says whether
        the seeing at each object is wanted.
    images_only : object
        Options that read the images alone, and no files about seeing or saturation.
    files : str
        What a mirror has, in words.
    hint : str
        How to get files for a mirror, in one sentence; for archives that are not live.
    without_seeing : str
        Words for a message on objects whose seeing is unknown: the source that did not give it.
    bulk : str
        The archive's request to those who download more than 1 TB: the beginning of a sentence that ends in "faster
        ways than HTTP".
    """

    survey: Survey
    mirrored: Callable[[Access, Any], Archive]
    live: Callable[[Access, Any], Archive] | None = None
    options: type = NoOptions
    images_only: Any = NO_OPTIONS
    files: str = "any folder, or index page, of its tiles, which are found by their headers"
    hint: str = ""
    without_seeing: str = "neither a header nor stars"
    bulk: str = "ask the archive for"

    def open(self, access: Access, options: Any = None) -> Archive:
        """Return the archive: the files of the user's mirror, or else the live archive.

        Parameters
        ----------
        access : Access
            How to reach the files.
        options : object, optional
            A value of `options`; the defaults if None.

        Raises
        ------
        ArgumentError
            If there is no mirror, and galtrans cannot ask the live archive of this survey.
        """
        chosen = self.options() if options is None else options
        if access.mirror is not None:
            return self.mirrored(access, chosen)
        if self.live is None:
            hint = self.how_to_get_files()
            raise ArgumentError("mirror", f"galtrans does not ask the archive of {self.survey.title} itself: {hint}")
        return self.live(access, chosen)

    def how_to_get_files(self) -> str:
        """Return how to get files for a mirror, in one sentence."""
        return self.hint or f"download tiles of {self.survey.title}, and give the folder as `mirror`"


def tiles_of(survey: Survey, calibrate: Callable | None = None, **more: Any) -> KnownArchive:
    """Return the archive of a survey as tiles in a folder of the user; `more` are attributes of `KnownArchive`."""
    return KnownArchive(survey, partial(open_tiles, survey, calibrate), **more)


OWN: dict[str, KnownArchive] = {
    "sdss": KnownArchive(
        sdss.SDSS,
        sdss.open_archive,
        live=sdss.open_archive,
        options=sdss.SdssOptions,
        images_only=sdss.SdssOptions(psf=False),
        files="the layout of the Science Archive Server (ROOT/sas/dr12/boss/photoObj/frames/...)",
        without_seeing="no psField",
        bulk="SDSS asks to be told before (helpdesk@sdss.org), and has",
    ),
    "cfht": KnownArchive(
        cfht.CFHT,
        cfht.open_archive,
        live=cfht.open_archive,
        options=CfhtOptions,
        images_only=CfhtOptions(),
        files="any folder of T0007 stacks",
    ),
    "hsc": tiles_of(
        HSC,
        hint="it needs an account; register at https://hsc-release.mtk.nao.ac.jp, download coadds (calexp) or cutouts "
        "of PDR3 with its tool downloadCutout or DAS Cutout, and give their folder as `mirror`",
    ),
    "des": tiles_of(
        DES,
        hint="download coadded tiles of DR2 (TILE_BAND.fits.fz) from https://des.ncsa.illinois.edu/releases/dr2, and "
        "give their folder as `mirror`",
    ),
    "legacy": tiles_of(LEGACY, live=partial(legacy.open_live, LEGACY)),
    "ps1": tiles_of(PS1, live=partial(ps1.open_live, PS1)),
    "kids": tiles_of(
        KIDS,
        hint="download coadds of DR4 (KiDS_DR4.0_RA_DEC_BAND_sci.fits) from https://kids.strw.leidenuniv.nl/DR4, and "
        "give their folder as `mirror`",
    ),
}


class Archives(Mapping):
    """The table of archives: name of a survey to `KnownArchive`, for each survey of `SURVEYS`."""

    def __getitem__(self, name: str) -> KnownArchive:
        if name in OWN:
            return OWN[name]
        row, outside = SURVEYS[name], SURVEYS.registered(name)
        if outside is not None and outside.archive is not None:
            return outside.archive
        return tiles_of(row, outside.calibrate if outside is not None else None)

    def __iter__(self) -> Iterator[str]:
        return iter(SURVEYS)

    def __len__(self) -> int:
        return len(SURVEYS)


ARCHIVES = Archives()
