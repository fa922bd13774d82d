"""Where the live archives answer, and how much may be asked of them: facts that may change without a new galtrans.

Each has a name in the environment, `GALTRANS_` and its own in capitals, that takes its place: `GALTRANS_SAS=http://…`.
What was known of each on the day of writing is in docs/fetch.md; `galtrans archives check` asks the archives.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from survey_tools.errors import ArchiveError

CADC = "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca"


def _setting(default, what: str, allowed: Callable = lambda number: 0 < number < math.inf):
    return field(default=default, metadata={"what": what, "allowed": allowed})


@dataclass(frozen=True)
class Settings:
    """Addresses and limits of the live archives; `what` in a field's metadata says what it is."""

    sas: str = _setting("https://data.sdss.org", "root of the SDSS Science Archive Server, above sas/")
    field_list: str = _setting(
        "sas/dr12/boss/resolve/2010-05-23/window_flist.fits", "list of all SDSS fields, below the root"
    )
    skyserver: str = _setting(
        "https://skyserver.sdss.org/dr12/en/tools/search/x_results.aspx", "SQL search of SkyServer, release 12"
    )
    skyserver_rows: int = _setting(50_000, "rows asked of SkyServer at once; its own limit is 500,000")
    cadc_tap: str = _setting(f"{CADC}/argus/sync", "synchronous TAP service of the CADC")
    cadc_files: str = _setting(f"{CADC}/raven/files", "files of the CADC, by their URI")
    cadc_observations: str = _setting("CFHTLS_W_%", "observations at the CADC that are CFHTLS Wide stacks (SQL LIKE)")
    cadc_windows: int = _setting(100, "windows asked of one file at the CADC at once")
    cadc_weights: int = _setting(
        1,
        "1 takes the noise of a cutout from the weight maps of the CADC, 0 measures it: half the traffic",
        lambda value: value in (0, 1),
    )
    zero_point_keyword: str = _setting("MZP_AB", "FITS keyword of a stack's AB zero point")
    vizier_tap: str = _setting(
        "https://tapvizier.cds.unistra.fr/TAPVizieR/tap/sync", "synchronous TAP service of VizieR"
    )
    vizier_rows: int = _setting(200_000, "rows asked of VizieR at once")
    bandwidth: float = _setting(10.0, "megabytes a second to expect of a download, for estimates")
    cache: str = _setting("~/.cache/galtrans", "folder of lists that are fetched once: roster, fields")

    @property
    def cache_folder(self) -> Path:
        """The folder `cache`, with ~ put in full."""
        return Path(self.cache).expanduser()


def variable(name: str) -> str:
    """The name in the environment of a setting."""
    return f"GALTRANS_{name.upper()}"


def is_address(text: str) -> bool:
    """Whether a text is a web address."""
    try:
        place = urlsplit(text)
    except ValueError:
        return False
    return place.scheme in ("http", "https") and bool(place.hostname)


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings, as the environment changes them; ArchiveError where one is not of its kind."""
    values = {}
    for each in fields(Settings):
        text = environ.get(variable(each.name))
        if text is None:
            continue
        number = isinstance(each.default, int | float)
        try:
            values[each.name] = type(each.default)(text)
            if number and not each.metadata["allowed"](values[each.name]):
                raise ValueError
            if not text.strip() or (is_address(str(each.default)) and not is_address(text)):
                raise ValueError
        except ValueError as error:
            address = "an address that begins with https://:" if is_address(str(each.default)) else ""
            wanted = "give a number that can be:" if number else f"give {address}".strip()
            raise ArchiveError(f"{variable(each.name)} is {text!r}; {wanted} {each.metadata['what']}") from error
    return Settings(**values)
