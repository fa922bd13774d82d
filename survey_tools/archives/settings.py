"""Addresses and limits of the live archives: facts that may change without a new version of galtrans.

An environment variable replaces each of them: `GALTRANS_` and the name of the setting in capitals, as in
`GALTRANS_SAS=http://…`. docs/fetch.md states what was known of each when it was written, and `galtrans archives check`
asks the archives themselves.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from survey_tools.archives.download.ways import AT_ONCE, OF_A_LIVE_ARCHIVE, Manner, Ways
from survey_tools.errors import ArchiveError

CADC = "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca"
SEVERAL = "; several addresses, with blanks between them, are tried in this order"
SERVICES = {  # name of a service that can be asked alone: the settings that hold its addresses
    "sdss": ("sas", "skyserver"),
    "cadc": ("cadc_tap", "cadc_files"),
    "vizier": ("vizier_tap",),
    "legacy": ("legacy",),
    "ps1": ("ps1_list", "ps1_cutouts"),
}
ANY = "any"  # in place of a checksum that is not to be checked


def _not_negative(number: float) -> bool:
    return 0 <= number < math.inf


def _setting(default, what: str, allowed: Callable = lambda number: 0 < number < math.inf):
    return field(default=default, metadata={"what": what, "allowed": allowed})


@dataclass(frozen=True)
class ArchiveSettings:
    """Addresses and limits of the live archives.

    The metadata `what` of a field describes it; `galtrans archives settings` prints them all.
    """

    sas: str = _setting("https://data.sdss.org", "root of the SDSS Science Archive Server, above sas/")
    field_list: str = _setting(
        "sas/dr12/boss/resolve/2010-05-23/window_flist.fits sas/dr9/env/PHOTO_RESOLVE/window_flist.fits",
        f"list of all SDSS fields, relative to the root{SEVERAL}",
    )
    field_list_bytes: int = _setting(352_843_200, "size of that list in bytes")
    field_list_sha256: str = _setting(
        "e7d2bae3f1cbb6c04b191073253e9f236f651db7d72dcab0ede0f5ba80e79ecb",
        f"SHA-256 of that list, checked if it comes from the live archive; {ANY} checks nothing",
    )
    skyserver: str = _setting(
        "https://skyserver.sdss.org/dr12/en/tools/search/x_results.aspx "
        "https://skyserver.sdss.org/dr12/SkyServerWS/SearchTools/SqlSearch",
        f"SQL search of SkyServer, release 12{SEVERAL}",
    )
    skyserver_rows: int = _setting(50_000, "rows requested from SkyServer at once; its own limit is 500,000")
    skyserver_pause: float = _setting(
        60.0, "seconds to wait when SkyServer says that the queries allowed per minute are used up", _not_negative
    )
    cadc_tap: str = _setting(f"{CADC}/argus/sync", f"synchronous TAP service of the CADC{SEVERAL}")
    cadc_files: str = _setting(
        f"https://cadc-west-01.canfar.net/raven/files {CADC}/raven/files {CADC}/data/pub "
        "https://ws-uv.canfar.net/minoc/files https://ws-cadc.canfar.net/minoc/files",
        f"address of the files of the CADC, before their URI{SEVERAL}",
    )
    cadc_observations: str = _setting("CFHTLS_W_%", "observations at the CADC that are CFHTLS Wide stacks (SQL LIKE)")
    cadc_windows: int = _setting(100, "windows requested from one file at the CADC at once")
    cadc_weights: int = _setting(
        1,
        "1 takes the noise of a cutout from the weight maps of the CADC; 0 measures it, with half the traffic",
        lambda value: value in (0, 1),
    )
    zero_point_keyword: str = _setting("MZP_AB", "FITS keyword with the AB zero point of a stack")
    vizier_tap: str = _setting(
        "https://tapvizier.cds.unistra.fr/TAPVizieR/tap/sync https://vizier.cfa.harvard.edu/TAPVizieR/tap/sync",
        f"synchronous TAP service of VizieR, and of its mirror at the CfA{SEVERAL}",
    )
    vizier_rows: int = _setting(200_000, "rows requested from VizieR at once")
    legacy: str = _setting(
        "https://www.legacysurvey.org/viewer/fits-cutout", f"FITS cutouts of the Legacy Surveys viewer{SEVERAL}"
    )
    legacy_layer: str = _setting(
        "ls-dr10-south", "layer of that viewer; ls-dr9-north, in bands grz, has the sky north of declination 32 deg"
    )
    ps1_list: str = _setting(
        "https://ps1images.stsci.edu/cgi-bin/ps1filenames.py", f"list of Pan-STARRS1 images at a position{SEVERAL}"
    )
    ps1_cutouts: str = _setting(
        "https://ps1images.stsci.edu/cgi-bin/fitscut.cgi", f"cutouts of Pan-STARRS1 images{SEVERAL}"
    )
    ps1_positions: int = _setting(500, "positions in one request for the list of Pan-STARRS1 images")
    patience: float = _setting(
        1800.0,
        "seconds to wait in all, with pauses that grow to two minutes, for an archive that answers but cannot serve; 0 "
        "asks once",
        _not_negative,
    )
    slowest: float = _setting(
        0.3, "megabytes per second below which a download is stopped and resumed; 0 is never", _not_negative
    )
    bandwidth: float = _setting(10.0, "expected speed of a download in megabytes per second, for estimates")
    cache: str = _setting("~/.cache/galtrans", "folder for lists that are downloaded once: stacks, fields")

    @property
    def cache_folder(self) -> Path:
        """The folder `cache`, with ~ replaced by the user's home."""
        return Path(self.cache).expanduser()

    @property
    def manner(self) -> Manner:
        """How patiently to ask the live archives."""
        if not self.patience:
            return AT_ONCE
        return Manner(self.patience, OF_A_LIVE_ARCHIVE, 1e6 * self.slowest)

    def ways(self, name: str) -> Ways:
        """Return the addresses that the setting `name` holds, in their order."""
        return Ways(tuple(each.rstrip("/") for each in getattr(self, name).split()))

    def addresses(self, services: Iterable[str]) -> list[str]:
        """Return every web address of some of `SERVICES`."""
        return [url for service in services for name in SERVICES[service] for url in self.ways(name).roots]


def variable(name: str) -> str:
    """Return the name of the environment variable of a setting."""
    return f"GALTRANS_{name.upper()}"


def _are_addresses(text: str) -> bool:
    """Return whether a text is one or several web addresses with blanks between them."""
    return bool(text.split()) and all(map(is_address, text.split()))


def is_address(text: str) -> bool:
    """Return whether a text is a web address."""
    try:
        place = urlsplit(text)
    except ValueError:
        return False
    return place.scheme in ("http", "https") and bool(place.hostname)


def read_settings(environ: Mapping[str, str] = os.environ) -> ArchiveSettings:
    """Read the settings that the environment changes, and take the defaults for the others.

    Parameters
    ----------
    environ : mapping
        Environment variables and their values.

    Returns
    -------
    ArchiveSettings

    Raises
    ------
    ArchiveError
        If a value is not of the kind that its setting needs.
    """
    values = {}
    for each in fields(ArchiveSettings):
        text = environ.get(variable(each.name))
        if text is None:
            continue
        number = isinstance(each.default, int | float)
        try:
            values[each.name] = type(each.default)(text)
            if number and not each.metadata["allowed"](values[each.name]):
                raise ValueError
            if not text.strip() or (_are_addresses(str(each.default)) and not _are_addresses(text)):
                raise ValueError
        except ValueError as error:
            address = "an address that begins with https://:" if _are_addresses(str(each.default)) else "this:"
            wanted = "give a number that is allowed for this:" if number else f"give {address}".strip()
            raise ArchiveError(f"{variable(each.name)} is {text!r}; {wanted} {each.metadata['what']}") from error
    return ArchiveSettings(**values)
