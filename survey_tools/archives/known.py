"""The archives that galtrans knows, by the name of their survey."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import survey_tools.archives.cfht.archive as cfht
import survey_tools.archives.sdss.archive as sdss
from survey_tools.archives.cfht.stacks import CfhtOptions
from survey_tools.archives.plan import Archive


@dataclass(frozen=True)
class KnownArchive:
    """The archive of one survey of `SURVEYS`.

    Attributes
    ----------
    open : callable
        Makes the archive from an `Access` and, as the second argument, a value of `options`; without the second
        argument the defaults hold.
    options : type
        The dataclass of the options that only this archive has. Each has a default. Its property `seeing` says whether
        the seeing at each object is wanted.
    images_only : object
        Options that read the images alone, and no files about seeing or saturation.
    without_seeing : str
        Words for a message on objects whose seeing is unknown: the source that did not give it.
    bulk : str
        The archive's request to those who download more than 1 TB: the beginning of a sentence that ends in "faster
        ways than HTTP".
    """

    open: Callable[..., Archive]
    options: type
    images_only: Any
    without_seeing: str = "neither a header nor stars"
    bulk: str = "ask the archive for"


ARCHIVES: dict[str, KnownArchive] = {
    "sdss": KnownArchive(
        sdss.open_archive,
        sdss.SdssOptions,
        sdss.SdssOptions(psf=False),
        "no psField",
        "SDSS asks to be told before (helpdesk@sdss.org), and has",
    ),
    "cfht": KnownArchive(cfht.open_archive, CfhtOptions, CfhtOptions()),
}
