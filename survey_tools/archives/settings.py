"""Where the live archives answer, and how much may be asked of them: facts that may change without a new galtrans.

Each has a name in the environment, `GALTRANS_` and its own in capitals, that takes its place: `GALTRANS_SAS=http://…`.
What was known of each on the day of writing is in docs/fetch.md; `galtrans archives check` asks the archives.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from survey_tools.errors import ArchiveError

CADC = "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca"


def _setting(default, what: str):
    return field(default=default, metadata={"what": what})


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


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings, as the environment changes them; ArchiveError where a number is none."""
    values = {}
    for each in fields(Settings):
        text = environ.get(variable(each.name))
        if text is None:
            continue
        try:
            values[each.name] = type(each.default)(text)
        except ValueError as error:
            raise ArchiveError(f"{variable(each.name)} is {text!r}; give a number: {each.metadata['what']}") from error
    return Settings(**values)
