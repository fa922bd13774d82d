"""What the live archives answer to the questions that their documentation leaves open: one row, one small request each.

Each row names the setting that it concerns (`survey_tools.archives.settings`), and says to change it where the answer
is not what galtrans relies on.
"""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from astropy.io import fits

from survey_tools.archives import http, skyserver, tap, vizier
from survey_tools.archives.settings import Settings
from survey_tools.errors import ArchiveError, GaltransError
from survey_tools.fits_reading import UNREADABLE

FRAME = "sas/dr12/boss/photoObj/frames/301/7264/3/frame-r-007264-3-0111.fits.bz2"
HEADER = 3 * 2880  # [byte] of a stack's header
NUMBER_OF_STACKS = 855  # of CFHTLS Wide T0007: 171 in u, g, r and z, 139 in i.MP9701 and 32 in i.MP9702
ONE_OBSERVATION = "CFHTLS_W_022539-041200"
PLANES = (
    "caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID=p.obsID JOIN caom2.Artifact AS a ON a.planeID=p.planeID"
)


@dataclass(frozen=True)
class Finding:
    """What an archive answered: in words, and whether galtrans can work with it as it is set; if not, what to do."""

    answer: str
    good: bool
    advice: str = ""
    failed: bool = False  # there is no answer

    @property
    def verdict(self) -> str:
        """OK, or what is to be done."""
        return "OK" if self.good else f"{'FAILED' if self.failed else 'CHANGE SETTING'}: {self.advice}"


@dataclass(frozen=True)
class Check:
    """A question to an archive ("sdss", "cadc" or "vizier"), and the setting that the answer concerns."""

    archive: str
    question: str
    setting: str
    ask: Callable[[Settings], Finding]


def run_checks(settings: Settings, archives: tuple[str, ...]) -> Iterator[tuple[Check, Finding]]:
    """Ask the questions to some archives, one after the other; one without an answer does not end the others."""
    for check in CHECKS:
        if check.archive in archives:
            try:
                yield check, check.ask(settings)
            except (GaltransError, OSError) as error:
                advice = "try again later, or set it to where the archive is"
                yield check, Finding(f"no answer: {error}", False, advice, failed=True)


def _frame(settings: Settings) -> Finding:
    facts = http.head(http.join(settings.sas, FRAME))
    good = facts.size is not None and 10**6 < facts.size < 2 * 10**7
    return Finding(
        f"HTTP {facts.status}, {_bytes(facts.size)}, {'' if facts.accepts_ranges else 'no '}parts by Range",
        good,
        "a frame has about 3.6 MB: is this the Science Archive Server?",
    )


def _field_list(settings: Settings) -> Finding:
    facts = http.head(http.join(settings.sas, settings.field_list))
    good = facts.size is not None and facts.size > 10**7
    return Finding(
        f"HTTP {facts.status}, {_bytes(facts.size)}", good, "about 0.5 GB was expected; look below /sas/dr12/"
    )


def _query(settings: Settings) -> Finding:
    rows = skyserver.ask(
        settings,
        ["s.specObjID", "p.objID", "p.run", "p.rowc_r", "s.z AS redshift"],
        "FROM SpecObjAll s JOIN PhotoObjAll p ON p.objID=s.bestObjID WHERE p.run=7264 AND p.camcol=3",
        top=2,
    )
    return Finding(
        f"{len(rows)} rows, the first {','.join(rows[0]) if rows else 'none'}", len(rows) == 2, "no rows came"
    )


def _skyserver_rows(settings: Settings) -> Finding:
    wanted = settings.skyserver_rows
    rows = skyserver.ask(settings, ["s.specObjID"], "FROM SpecObjAll s ORDER BY s.specObjID", top=wanted)
    return _capped(wanted, len(rows))


def _kinds(settings: Settings) -> Finding:
    result = tap.query(
        settings.cadc_tap,
        f"SELECT DISTINCT a.productType, a.uri FROM {PLANES} WHERE o.collection='CFHTTERAPIX' "
        f"AND o.observationID='{ONE_OBSERVATION}'",
        columns=["productType", "uri"],
    )
    found: dict[str, list[str]] = {}
    for kind, uri in result.table.iterrows():
        found.setdefault(str(kind), []).append(str(uri))
    weights = found.get("weight", [])
    listing = ", ".join(f"{len(uris)} {kind}" for kind, uris in sorted(found.items())) or "nothing"
    example = f"; weights such as {min(weights)}" if weights else "; no weights, so noise is measured"
    return Finding(
        f"{listing}{example}", bool(found.get("science")), "no science files: is this the CADC's TAP service?"
    )


def _new_i(settings: Settings) -> Finding:
    uris = [uri for uri, _ in _stacks(settings, "i.MP9702", 50)]
    letters = sorted({uri.split("CFHTLS_W_")[-1][:1] for uri in uris})
    advice = "32 stacks in the new i filter were expected"
    return Finding(f"{len(uris)} stacks, called {' and '.join(letters)}, such as {min(uris)}", len(uris) == 32, advice)


def _observations(settings: Settings) -> Finding:
    number = tap.count(settings.cadc_tap, f"SELECT COUNT(*) AS n FROM {PLANES} WHERE {_wide(settings)}")
    advice = f"{NUMBER_OF_STACKS} were there in October 2026"
    return Finding(f"{number} science stacks", number == NUMBER_OF_STACKS, advice)


def _windows(settings: Settings) -> Finding:
    windows = "&".join(f"SUB=%5B0%5D%5B{first}:{first + 7},1:8%5D" for first in (1, 101, 201))
    answer = http.read(f"{_a_stack(settings)}?{windows}", kind="fits")
    with _opened(answer) as hdus:
        shapes = [hdu.shape for hdu in hdus if hdu.shape]
    answer = f"{len(shapes)} images of {' and '.join(sorted({'x'.join(map(str, shape)) for shape in shapes}))}"
    return Finding(answer, shapes == [(8, 8)] * 3, "set it to 1: one window a request, or fetch with --how tiles")


def _header(settings: Settings) -> Finding:
    answer = http.beginning(_a_stack(settings), HEADER)
    try:
        cards = dict(fits.Header.fromstring(answer.decode("ascii", "replace")))
    except (*UNREADABLE, fits.VerifyError) as error:
        raise ArchiveError(f"a header that cannot be read ({error})") from error
    said = [
        f"{key}={cards[key]}" for key in ("MZP_AB", "GAIN", "SATURATE", "EXPTIME", "CD1_1", "CD2_2") if key in cards
    ]
    others = [f"{key}={cards[key]}" for key in cards if key.startswith(("PHOT", "MAGZ", "ZP", "MZP", "ZERO"))]
    value = cards.get(settings.zero_point_keyword)
    good = isinstance(value, int | float) and math.isclose(value, 30.0, abs_tol=0.01)
    advice = f"stacks of T0007 have 30.0; keywords that may be it: {', '.join(others) or 'none'}"
    return Finding(f"{settings.zero_point_keyword} is {value}; {', '.join(said) or 'none of the others'}", good, advice)


def _megapipe(settings: Settings) -> Finding:
    query = (
        "SELECT TOP 5 o.observationID FROM caom2.Observation AS o WHERE o.collection='CFHTMEGAPIPE' "
        "AND o.observationID LIKE 'W%' ORDER BY o.observationID"
    )
    found = [
        str(name) for name in tap.query(settings.cadc_tap, query, columns=["observationID"]).table["observationID"]
    ]
    names = f"such as {', '.join(found)}" if found else "none is called W…"
    return Finding(f"{names} (galtrans takes T0007, another set of stacks)", True)


def _cadc_rows(settings: Settings) -> Finding:
    wanted = 3000  # more than the roster has, and than the 2000 of which astroquery's documentation speaks
    query = f"SELECT TOP {wanted} a.uri FROM caom2.Artifact AS a WHERE a.uri LIKE 'cadc:CFHTTERAPIX/%'"
    came = len(tap.query(settings.cadc_tap, query, columns=["uri"]).table)
    return Finding(f"{came} of {wanted} rows", came == wanted, "it keeps rows back; is it the CADC's own TAP service?")


def _columns(settings: Settings) -> Finding:
    query = f"SELECT column_name, description FROM TAP_SCHEMA.columns WHERE table_name='{vizier.TABLE.strip(chr(34))}'"
    table = tap.query(settings.vizier_tap, query, columns=["column_name", "description"]).table
    known = {str(name).strip('"'): str(words) for name, words in table.iterrows()}
    missing = [name for name in (own.strip('"') for own in vizier.COLUMNS.values()) if name not in known]
    said = "; ".join(f"{name}: {known[name]}" for name in ("rcl", "Tfl") if name in known)
    advice = f"without {', '.join(missing)}"
    return Finding(f"{len(known)} columns; {said}", not missing, advice)


def _vizier_rows(settings: Settings) -> Finding:
    wanted = settings.vizier_rows
    query = f"SELECT TOP {wanted} CFHTLS FROM {vizier.TABLE}"
    return _capped(wanted, len(tap.query(settings.vizier_tap, query, maxrec=wanted, columns=["CFHTLS"]).table))


CHECKS = (
    Check("sdss", "Is a frame of DR12 there?", "sas", _frame),
    Check("sdss", "Is the list of fields there?", "field_list", _field_list),
    Check("sdss", "Does SkyServer answer SQL in CSV?", "skyserver", _query),
    Check("sdss", "Does SkyServer send as many rows as are asked at once?", "skyserver_rows", _skyserver_rows),
    Check("cadc", "Which files has a T0007 observation?", "cadc_tap", _kinds),
    Check("cadc", "How many T0007 Wide stacks are there?", "cadc_observations", _observations),
    Check("cadc", "What are stacks in the new i filter called?", "cadc_observations", _new_i),
    Check("cadc", "Does the TAP service send more than 2000 rows?", "cadc_tap", _cadc_rows),
    Check("cadc", "How many images come for three windows of one stack?", "cadc_windows", _windows),
    Check("cadc", "What does the header of a stack say?", "zero_point_keyword", _header),
    Check("cadc", "What are MegaPipe's Wide stacks called?", "cadc_observations", _megapipe),
    Check("vizier", "Has the catalogue the columns that are used?", "vizier_tap", _columns),
    Check("vizier", "Does VizieR send as many rows as are asked at once?", "vizier_rows", _vizier_rows),
)


def _wide(settings: Settings) -> str:
    """ADQL for the science stacks of CFHTLS Wide."""
    pattern = settings.cadc_observations.replace("'", "''")
    return (
        f"o.collection='CFHTTERAPIX' AND o.observationID LIKE '{pattern}' AND p.provenance_version='T0007' "
        "AND a.productType='science' AND a.uri LIKE '%_T0007_MEDIAN.fits' AND p.energy_bandpassName LIKE '_.MP%'"
    )


def _stacks(settings: Settings, band: str, most: int) -> list[tuple[str, int]]:
    """URI and size [byte] of stacks in one filter; ArchiveError where there is none."""
    result = tap.query(
        settings.cadc_tap,
        f"SELECT TOP {most} a.uri, a.contentLength FROM {PLANES} WHERE {_wide(settings)} "
        f"AND p.energy_bandpassName='{band}'",
        columns=["uri", "contentLength"],
    )
    if not len(result.table):
        raise ArchiveError(f"{settings.cadc_tap} has no stack in {band} of {settings.cadc_observations}")
    return [(str(uri), int(size)) for uri, size in result.table.iterrows()]


def _a_stack(settings: Settings) -> str:
    """The URL of a stack in r."""
    return http.join(settings.cadc_files, _stacks(settings, "r.MP9601", 1)[0][0])


def _opened(content: bytes) -> fits.HDUList:
    """The HDUs of a FITS file; ArchiveError where it is none."""
    try:
        return fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False)
    except UNREADABLE as error:
        raise ArchiveError(f"the answer is no whole FITS file ({error})") from error


def _capped(wanted: int, came: int) -> Finding:
    return Finding(f"{came} of {wanted} rows", came == wanted, f"set it to {came}" if came else "no rows came")


def _bytes(size: int | None) -> str:
    return "size unknown" if size is None else f"{size:,} bytes"
