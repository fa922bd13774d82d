"""Questions to the live archives that their documentation leaves open: one row, and one small request, for each.

Each row names the setting that it concerns (`survey_tools.archives.settings`), and says to change it if the answer is
not what galtrans needs. Every question is asked once, without patience; all archives are asked at the same time.
"""

import io
import math
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from astropy.io import fits

from survey_tools.archives import tap
from survey_tools.archives.cfht import vizier
from survey_tools.archives.cfht.stack_list import SCIENCE, WEIGHT
from survey_tools.archives.cutouts import grid_in, images_in
from survey_tools.archives.download import http
from survey_tools.archives.download.ways import Ways
from survey_tools.archives.legacy import viewer
from survey_tools.archives.ps1 import service as ps1
from survey_tools.archives.ps1.stack_images import stacks_at
from survey_tools.archives.sdss import skyserver
from survey_tools.archives.settings import ArchiveSettings, variable
from survey_tools.errors import ArchiveError, AwayError, GaltransError
from survey_tools.fits.reading import BLOCK, UNREADABLE, read_header
from survey_tools.surveys import LEGACY, PS1

FRAME = "sas/dr12/boss/photoObj/frames/301/7264/3/frame-r-007264-3-0111.fits.bz2"
HEADER = 3 * 2880  # [byte] of a stack's header
NUMBER_OF_STACKS = 855  # of CFHTLS Wide T0007: 171 in u, g, r and z, 139 in i.MP9701 and 32 in i.MP9702
ONE_OBSERVATION = "CFHTLS_W_022539-041200"
PLANES = (
    "caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID=p.obsID JOIN caom2.Artifact AS a ON a.planeID=p.planeID"
)
LIMIT = 55.0  # [s] for all questions; a question without an answer by then has failed
SIZE = 136  # [pixel] of a cutout
SLOW = 2.0  # [s] per window, beyond which whole tiles are much faster


@dataclass(frozen=True)
class Finding:
    """An archive's answer in words, whether galtrans can work with it, and what to do if it cannot."""

    answer: str
    good: bool
    advice: str = ""
    failed: bool = False  # there is no answer

    @property
    def verdict(self) -> str:
        """OK, or what to do."""
        return "OK" if self.good else f"{'FAILED' if self.failed else 'NOT OK'}: {self.advice}"


@dataclass(frozen=True)
class Check:
    """A question to one of `SERVICES`, and the setting that the answer concerns."""

    archive: str
    question: str
    setting: str
    ask: Callable[[ArchiveSettings], Finding]


def run_checks(settings: ArchiveSettings, archives: tuple[str, ...]) -> Iterator[tuple[Check, Finding]]:
    """Yield the questions to some archives with their answers, in the order in which these arrive.

    The questions to one archive are asked one after the other, those to different archives at the same time. All end
    after LIMIT. A question without an answer does not end the others.
    """
    settings, end = replace(settings, patience=0.0), time.monotonic() + LIMIT
    left = [check for check in CHECKS if check.archive in archives]
    told: queue.Queue[tuple[Check, Finding]] = queue.Queue()
    for archive in dict.fromkeys(check.archive for check in left):
        mine = [check for check in left if check.archive == archive]
        threading.Thread(target=_ask_all, args=(mine, settings, end, told), daemon=True).start()
    while left:
        try:
            check, finding = told.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            for check in left:
                yield check, Finding(f"no answer in {LIMIT:g} s", False, "try again later", failed=True)
            return
        left.remove(check)
        yield check, finding


def verdict(findings: list[tuple[Check, Finding]], seconds: float) -> str:
    """Return what all answers mean together, in one line."""
    asked = f"{len(findings)} questions, {seconds:.0f} s"
    bad = [(check, finding) for check, finding in findings if not finding.good]
    if not bad:
        return f"Verdict: galtrans can work with these archives as they are set ({asked})"
    said = [
        f"{what} {', '.join(names)}"
        for what, failed in (("see", False), ("no answer about", True))
        if (names := dict.fromkeys(variable(each.setting) for each, finding in bad if finding.failed == failed))
    ]
    return f"Verdict: {len(bad)} of {len(findings)} answers are not what galtrans needs: {'; '.join(said)} ({asked})"


def _ask_all(checks: list[Check], settings: ArchiveSettings, end: float, told: queue.Queue) -> None:
    """Ask some questions, one after the other, as long as there is time."""
    for check in checks:
        if time.monotonic() > end:
            return
        try:
            finding = check.ask(settings)
        except (GaltransError, OSError) as error:
            finding = Finding(f"no answer: {error}", False, "try again later, or set another address", failed=True)
        except Exception as error:  # an odd answer to one question must not end the others
            finding = Finding(
                f"an answer that cannot be understood ({type(error).__name__}: {error})", False, "report it"
            )
        told.put((check, finding))


def _frame(settings: ArchiveSettings) -> Finding:
    facts = http.head(http.join(settings.sas, FRAME), settings.manner)
    good = facts.size is not None and 10**6 < facts.size < 2 * 10**7
    return Finding(
        f"HTTP {facts.status}, {_bytes(facts.size)}, {'' if facts.accepts_ranges else 'no '}parts by Range",
        good,
        "a frame has about 3.6 MB: is this the Science Archive Server?",
    )


def _field_list(settings: ArchiveSettings) -> Finding:
    """Ask for the list at both addresses; one that is right is enough."""
    said, good = [], False
    for name in settings.field_list.split():
        try:
            facts = http.head(http.join(settings.sas, name), settings.manner)
            said.append(f"{name}: HTTP {facts.status}, {_bytes(facts.size)}")
            good |= facts.size == settings.field_list_bytes
        except (ArchiveError, OSError) as error:
            said.append(f"{name}: {_in_short(error)}")
    advice = f"{settings.field_list_bytes:,} bytes were expected; look below /sas/dr12/"
    return Finding("; ".join(said), good, advice)


def _query(settings: ArchiveSettings) -> Finding:
    """Ask every address of SkyServer."""
    said, good = [], False
    for url in settings.ways("skyserver").roots:
        try:
            rows = skyserver.ask(
                replace(settings, skyserver=url),
                ["s.specObjID", "p.objID", "p.run", "p.rowc_r", "s.z AS redshift"],
                "FROM SpecObjAll s JOIN PhotoObjAll p ON p.objID=s.bestObjID WHERE p.run=7264 AND p.camcol=3",
                top=2,
            )
            said.append(f"{_place(url)}: {len(rows)} rows, the first {','.join(rows[0]) if rows else 'none'}")
            good |= len(rows) == 2
        except (ArchiveError, OSError) as error:
            said.append(f"{_place(url)}: {_in_short(error)}")
    return Finding("; ".join(said), good, "two rows were expected of one of them")


def _words(settings: ArchiveSettings) -> Finding:
    try:
        skyserver.ask(settings, ["s.noSuchColumn"], "FROM SpecObjAll s", top=1)
    except ArchiveError as error:
        said = str(error).partition(" says: ")[2]
        return Finding(said or _in_short(error), bool(said), "it does not say what is wrong with a query")
    return Finding("it answers a query for a column that does not exist", False, "is this SkyServer?")


def _skyserver_rows(settings: ArchiveSettings) -> Finding:
    wanted = settings.skyserver_rows
    rows = skyserver.ask(settings, ["s.specObjID"], "FROM SpecObjAll s ORDER BY s.specObjID", top=wanted)
    return _capped(wanted, len(rows))


def _kinds(settings: ArchiveSettings) -> Finding:
    found: dict[str, list[str]] = {}
    query = (
        f"SELECT DISTINCT a.productType, a.uri FROM {PLANES} WHERE o.collection='CFHTTERAPIX' "
        f"AND o.observationID='{ONE_OBSERVATION}'"
    )
    for kind, uri in _rows(settings, query, ["productType", "uri"]):
        found.setdefault(kind, []).append(uri)
    science = [uri for kind in SCIENCE for uri in found.get(kind, [])]
    listing = ", ".join(f"{len(uris)} {kind}" for kind, uris in sorted(found.items())) or "nothing"
    return Finding(listing, bool(science), "no files of type science or this: is this the CADC's TAP service?")


def _weights(settings: ArchiveSettings) -> Finding:
    """Find out whether weight maps have the type `weight`, and whether other files look like weight maps."""
    query = (
        f"SELECT DISTINCT a.productType, a.uri FROM {PLANES} WHERE o.collection='CFHTTERAPIX' "
        f"AND o.observationID='{ONE_OBSERVATION}'"
    )
    rows = _rows(settings, query, ["productType", "uri"])
    typed = sorted(uri for kind, uri in rows if kind == WEIGHT)
    alike = sorted(uri for kind, uri in rows if kind != WEIGHT and "weight" in uri.lower())
    other = sorted({kind for kind, uri in rows if uri in alike})
    if alike:
        return Finding(
            f"{len(alike)} files look like weight maps and are of the type {', '.join(other)}, such as {alike[0]}",
            False,
            "galtrans uses only files of the type weight, so the noise will be measured; set it to 0 to do so at once",
        )
    if typed:
        return Finding(f"{len(typed)} weight maps, such as {typed[0]}", True)
    return Finding("none are listed, so the noise is measured", True)


def _new_i(settings: ArchiveSettings) -> Finding:
    uris = [uri for uri, _ in _stacks(settings, "i.MP9702", 50)]
    letters = sorted({uri.split("CFHTLS_W_")[-1][:1] for uri in uris})
    advice = "32 stacks in the new i filter were expected"
    return Finding(f"{len(uris)} stacks, called {' and '.join(letters)}, such as {min(uris)}", len(uris) == 32, advice)


def _observations(settings: ArchiveSettings) -> Finding:
    query = f"SELECT COUNT(*) AS n FROM {PLANES} WHERE {_wide(settings)}"
    number = tap.count(settings.ways("cadc_tap"), query, settings.manner)
    advice = f"{NUMBER_OF_STACKS} were there in October 2026"
    return Finding(f"{number} science stacks", number == NUMBER_OF_STACKS, advice)


def _places(settings: ArchiveSettings) -> Finding:
    """Ask every address of the CADC's files."""
    uri, size = _stacks(settings, "r.MP9601", 1)[0]
    said, good = [], False
    for url in _a_file(settings, uri).in_turn():
        try:
            facts = http.head(url, settings.manner)
            right = facts.size in (None, size)
            good |= right
            said.append(f"{_place(url)} {'has it' if right else f'has {_bytes(facts.size)} of {_bytes(size)}'}")
        except (ArchiveError, OSError) as error:
            said.append(f"{_place(url)}: {_in_short(error)}")
    return Finding("; ".join(said), good, "no address has the file that the CADC lists; try again later")


def _windows(settings: ArchiveSettings) -> Finding:
    answer = _cut(settings, [(first, first + 7, 1, 8) for first in (1, 101, 201)])
    with _opened(answer) as hdus:
        shapes, origins = [hdu.shape for hdu in hdus if hdu.shape], []
        first = hdus[0].header.get("NAXIS", 0)
        origins = [hdu.header.get("CRPIX1") for hdu in hdus if hdu.shape]
    order = all(isinstance(each, int | float) for each in origins) and origins == sorted(origins, reverse=True)
    said = f"{len(shapes)} images of {' and '.join(sorted({'x'.join(map(str, shape)) for shape in shapes}))}"
    said += f", the first {'in the primary HDU' if first else 'in an extension'}{'' if order else ', in another order'}"
    return Finding(
        said, shapes == [(8, 8)] * 3, "set it to 1: one window per request, or pass --how tiles to galtrans fetch"
    )


def _batch(settings: ArchiveSettings) -> Finding:
    """Ask for as many windows as are set, of one row each, to test the length of the URL and not the server's disks."""
    wanted = settings.cadc_windows
    header, _ = _header_of(settings, _a_stack(settings))
    step, row = max(1, (header["NAXIS1"] - 8) // wanted), header["NAXIS2"] // 2
    try:
        with _opened(_cut(settings, [(1 + step * n, 8 + step * n, row, row) for n in range(wanted)])) as hdus:
            came = sum(bool(hdu.shape) for hdu in hdus)
    except ArchiveError as error:
        if error.status not in (400, 414, 431):
            raise
        advice = f"set it to {max(1, wanted // 2)}; galtrans also finds this out by itself"
        return Finding(f"HTTP {error.status} for {wanted} at once", False, advice)
    return Finding(f"{came} of {wanted} come at once", came == wanted, f"set it to {max(1, came)}")


def _true_windows(settings: ArchiveSettings) -> Finding:
    """Compare a window with the bytes of the file."""
    ways = _a_stack(settings)
    header, start = _header_of(settings, ways)
    row, col, size = header["NAXIS2"] // 2, header["NAXIS1"] // 2, 64
    there = http.part(ways, start + 4 * (row * header["NAXIS1"] + col), 4 * size, settings.manner)
    with _opened(_cut(settings, [(col + 1, col + size, row + 1, row + 1)])) as hdus:
        found = next((hdu.data for hdu in hdus if hdu.shape), np.zeros(0))
    same = np.array_equal(np.ravel(found), np.frombuffer(there, ">f4"), equal_nan=True)
    said = "they are" if same else "they differ"
    return Finding(f"{said}, in {size} pixels of row {row + 1}", same, "pass --how tiles to galtrans fetch")


def _pace(settings: ArchiveSettings) -> Finding:
    """Measure the time for one window of the size of a cutout, in the middle of a file."""
    header, _ = _header_of(settings, _a_stack(settings))
    row, col, size = header["NAXIS2"] // 2, header["NAXIS1"] // 2, min(SIZE, header["NAXIS1"] // 2)
    start = time.perf_counter()
    _cut(settings, [(col - size // 2 + 1, col + size // 2, row - size // 2 + 1, row + size // 2)])
    took = time.perf_counter() - start
    return Finding(
        f"{took:.1f} s with the request", took < SLOW, "windows are slow: pass --how tiles or auto to galtrans fetch"
    )


def _header(settings: ArchiveSettings) -> Finding:
    cards = dict(_header_of(settings, _a_stack(settings))[0])
    said = [
        f"{key}={cards[key]}" for key in ("MZP_AB", "GAIN", "SATURATE", "EXPTIME", "CD1_1", "CD2_2") if key in cards
    ]
    others = [f"{key}={cards[key]}" for key in cards if key.startswith(("PHOT", "MAGZ", "ZP", "MZP", "ZERO"))]
    value = cards.get(settings.zero_point_keyword)
    good = isinstance(value, int | float) and math.isclose(value, 30.0, abs_tol=0.01)
    advice = f"stacks of T0007 have 30.0; keywords that may be it: {', '.join(others) or 'none'}"
    return Finding(f"{settings.zero_point_keyword} is {value}; {', '.join(said) or 'none of the others'}", good, advice)


def _megapipe(settings: ArchiveSettings) -> Finding:
    query = (
        "SELECT TOP 5 o.observationID FROM caom2.Observation AS o WHERE o.collection='CFHTMEGAPIPE' "
        "AND o.observationID LIKE 'W%' ORDER BY o.observationID"
    )
    found = [name for (name,) in _rows(settings, query, ["observationID"])]
    names = f"such as {', '.join(found)}" if found else "none is called W…"
    return Finding(f"{names} (galtrans uses T0007, another set of stacks)", True)


def _cadc_rows(settings: ArchiveSettings) -> Finding:
    wanted = 3000  # more than the roster has, and than the 2000 of which astroquery's documentation speaks
    query = f"SELECT TOP {wanted} a.uri FROM caom2.Artifact AS a WHERE a.uri LIKE 'cadc:CFHTTERAPIX/%'"
    came = len(_rows(settings, query, ["uri"]))
    return Finding(f"{came} of {wanted} rows", came == wanted, "it leaves out rows; is it the CADC's own TAP service?")


def _columns(settings: ArchiveSettings) -> Finding:
    """Ask every address of VizieR for the columns."""
    query = f"SELECT column_name, description FROM TAP_SCHEMA.columns WHERE table_name='{vizier.TABLE.strip(chr(34))}'"
    said, good, missing = [], False, []
    for url in settings.ways("vizier_tap").roots:
        try:
            table = tap.query(url, query, columns=["column_name", "description"], manner=settings.manner).table
        except (ArchiveError, OSError) as error:
            said.append(f"{_place(url)}: {_in_short(error)}")
            continue
        known = {str(name).strip('"'): str(words) for name, words in table.iterrows()}
        lacks = [name for name in (own.strip('"') for own in vizier.COLUMNS.values()) if name not in known]
        described = "; ".join(f"{name}: {known[name]}" for name in ("rcl", "Tfl") if name in known)
        said.append(f"{_place(url)}: {len(known)} columns; {described}")
        good |= not lacks
        missing = missing or lacks
    return Finding("; ".join(said), good, f"without {', '.join(missing)}" if missing else "no address answers")


def _vizier_rows(settings: ArchiveSettings) -> Finding:
    wanted = settings.vizier_rows
    query = f"SELECT TOP {wanted} CFHTLS FROM {vizier.TABLE}"
    asked = tap.query(settings.ways("vizier_tap"), query, maxrec=wanted, columns=["CFHTLS"], manner=settings.manner)
    return _capped(wanted, len(asked.table))


def _own_pixels(settings: ArchiveSettings) -> Finding:
    """Ask the viewer for a few pixels of a brick."""
    url = viewer.address(settings, *viewer.KNOWN_POSITION, "r", viewer.SMALL, "subimage")
    bricks = viewer.bricks_in(LEGACY, http.read(url, kind="fits", manner=settings.manner), str(url), ("r",))
    said = [f"{'x'.join(map(str, pixels.shape))} pixels" for brick in bricks for _, pixels in brick.images.values()]
    advice = "another layer may have the COSMOS field: is the name of the layer right?"
    return Finding(f"{' and '.join(said) or 'no image'} of layer {settings.legacy_layer}", bool(said), advice)


def _outside(settings: ArchiveSettings) -> Finding:
    """Ask the viewer for a position that no survey of the north or south has: the galactic centre."""
    url = viewer.address(settings, 266.4, -29.0, "r", viewer.SMALL, "subimage")
    advice = "positions outside may be reported as failed"
    try:
        content = http.read(url, kind="fits", attempts=1, manner=settings.manner)
    except (ArchiveError, AwayError) as error:
        known = error.status == 500 or viewer.NO_OVERLAP in str(error).lower()
        return Finding(_in_short(error), known, advice)
    bricks = viewer.bricks_in(LEGACY, content, str(url), ("r",))
    return Finding(f"a file with {len(bricks)} images", not bricks, advice)


def _stack_list(settings: ArchiveSettings) -> Finding:
    """Send two positions in one file."""
    places = np.array([viewer.KNOWN_POSITION, (180.0, 30.0)])
    with tempfile.TemporaryDirectory() as folder:
        found = stacks_at(settings, Path(folder), *places.T, PS1.bands)
    said = " and ".join(f"{len(each)} stacks" for each in found)
    return Finding(f"{said} for two positions", all(found), "set GALTRANS_PS1_POSITIONS=1")


def _stack_window(settings: ArchiveSettings) -> Finding:
    """Ask for a small window of a stack, and look at the keywords on which its calibration depends."""
    with tempfile.TemporaryDirectory() as folder:
        ra, dec = viewer.KNOWN_POSITION
        (found,) = stacks_at(settings, Path(folder), np.array([ra]), np.array([dec]), ("r",))
    if not found:
        return Finding("the list has no stack in r", False, "is it the list of Pan-STARRS1 DR2?")
    url = ps1.address(settings, found["r"], ra, dec, viewer.SMALL)
    ((header, pixels),) = images_in(http.read(url, kind="fits", manner=settings.manner), str(url))
    grid_in(PS1, header, pixels.shape, "r", str(url))
    keys = ("EXPTIME", "FPA.ZP", "BSOFTEN", "BOFFSET", "RADESYS", "CELL.SATURATION")
    said = ", ".join(f"{key}={header[key]}" for key in keys if key in header)
    zero_point = ps1.calibration_of(str(url), header).zero_point
    return Finding(
        f"{'x'.join(map(str, pixels.shape))} pixels, {said}: zero point {zero_point:.3f}",
        pixels.shape == (viewer.SMALL, viewer.SMALL) and "BSOFTEN" not in header,
        "pixels with BSOFTEN in their header are taken to be on the asinh scale: compare a flux with the catalogue",
    )


CHECKS = (
    Check("sdss", "Is a frame of DR12 there?", "sas", _frame),
    Check("sdss", "Is the list of fields there?", "field_list", _field_list),
    Check("sdss", "Does SkyServer answer SQL in CSV?", "skyserver", _query),
    Check("sdss", "Does SkyServer say what is wrong with a query?", "skyserver", _words),
    Check("sdss", "Does SkyServer send as many rows as are asked at once?", "skyserver_rows", _skyserver_rows),
    Check("cadc", "Which files has a T0007 observation?", "cadc_tap", _kinds),
    Check("cadc", "Are weight maps called weights?", "cadc_weights", _weights),
    Check("cadc", "How many T0007 Wide stacks are there?", "cadc_observations", _observations),
    Check("cadc", "What are stacks in the new i filter called?", "cadc_observations", _new_i),
    Check("cadc", "Does the TAP service send more than 2000 rows?", "cadc_tap", _cadc_rows),
    Check("cadc", "Which addresses have a stack?", "cadc_files", _places),
    Check("cadc", "What does the header of a stack say?", "zero_point_keyword", _header),
    Check("cadc", "How many images come for three windows of one stack?", "cadc_windows", _windows),
    Check("cadc", "Are windows the bytes of the file?", "cadc_windows", _true_windows),
    Check("cadc", "How long does a window take?", "cadc_windows", _pace),
    Check("cadc", "Do as many windows come as are asked at once?", "cadc_windows", _batch),
    Check("cadc", "What are MegaPipe's Wide stacks called?", "cadc_observations", _megapipe),
    Check("vizier", "Has the catalogue the columns that are used?", "vizier_tap", _columns),
    Check("vizier", "Does VizieR send as many rows as are asked at once?", "vizier_rows", _vizier_rows),
    Check("legacy", "Does the viewer send pixels of bricks and their variance?", "legacy_layer", _own_pixels),
    Check("legacy", "What does the viewer send for a position outside?", "legacy", _outside),
    Check("ps1", "Does the list take a file of positions?", "ps1_list", _stack_list),
    Check("ps1", "What is a cutout of a stack like?", "ps1_cutouts", _stack_window),
)


def _wide(settings: ArchiveSettings) -> str:
    """Return ADQL for the science stacks of CFHTLS Wide."""
    pattern = settings.cadc_observations.replace("'", "''")
    kinds = ",".join(f"'{kind}'" for kind in SCIENCE)
    return (
        f"o.collection='CFHTTERAPIX' AND o.observationID LIKE '{pattern}' AND p.provenance_version='T0007' "
        f"AND a.productType IN ({kinds}) AND a.uri LIKE '%_T0007_MEDIAN.fits' AND p.energy_bandpassName LIKE '_.MP%'"
    )


def _rows(settings: ArchiveSettings, query: str, columns: list[str]) -> list[tuple[str, ...]]:
    """Return the rows that the CADC's TAP service sends, as text."""
    table = tap.query(settings.ways("cadc_tap"), query, columns=columns, manner=settings.manner).table
    return [tuple(map(str, row)) for row in table.iterrows()]


def _stacks(settings: ArchiveSettings, band: str, most: int) -> list[tuple[str, int]]:
    """Return URI and size [byte] of stacks in one filter; ArchiveError if there is none."""
    query = (
        f"SELECT TOP {most} a.uri, a.contentLength FROM {PLANES} WHERE {_wide(settings)} "
        f"AND p.energy_bandpassName='{band}'"
    )
    rows = _rows(settings, query, ["uri", "contentLength"])
    if not rows:
        service = settings.ways("cadc_tap")
        raise ArchiveError(f"{service} has no stack in {band} of {settings.cadc_observations}")
    return [(uri, int(size)) for uri, size in rows]


def _a_file(settings: ArchiveSettings, uri: str) -> Ways:
    """Return the URLs of a file of the CADC; addresses that end in /pub know it without `cadc:`."""
    roots = settings.ways("cadc_files").roots
    return Ways(
        tuple(f"{root}/{'' if root.endswith('/pub') else 'cadc:'}" for root in roots),
        http.join("", uri.removeprefix("cadc:"))[1:],
    )


def _a_stack(settings: ArchiveSettings) -> Ways:
    """Return the URLs of a stack in r."""
    return _a_file(settings, _stacks(settings, "r.MP9601", 1)[0][0])


def _header_of(settings: ArchiveSettings, ways: Ways) -> tuple[fits.Header, int]:
    """Return the header of a stack, and the byte at which its pixels begin; ArchiveError if it cannot be read."""
    try:
        header, length = read_header(io.BytesIO(http.beginning(ways, HEADER, settings.manner)), str(ways), first=True)
        return header, -(-length // BLOCK) * BLOCK
    except (*UNREADABLE, fits.VerifyError) as error:
        if isinstance(error, ConnectionError):
            raise
        raise ArchiveError(f"a header that cannot be read ({error})") from error


def _cut(settings: ArchiveSettings, boxes: list[tuple[int, int, int, int]]) -> bytes:
    """Return windows of a stack: first and last column, first and last row, counted from 1."""
    subs = "&".join(f"SUB=%5B0%5D%5B{a}:{b},{c}:{d}%5D" for a, b, c, d in boxes)
    return http.read(_a_stack(settings).plus(f"?{subs}"), kind="fits", manner=settings.manner)


def _opened(content: bytes) -> fits.HDUList:
    """Return the HDUs of a FITS file; ArchiveError if it is not one."""
    try:
        return fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False)
    except UNREADABLE as error:
        raise ArchiveError(f"the answer is not a complete FITS file ({error})") from error


def _capped(wanted: int, came: int) -> Finding:
    return Finding(f"{came} of {wanted} rows", came == wanted, f"set it to {came}" if came else "no rows arrived")


def _place(url: str) -> str:
    """Return host and first folder of an address."""
    place = urlsplit(url)
    return f"{place.hostname}/{place.path.strip('/').partition('/')[0]}"


def _in_short(error: Exception) -> str:
    """Return an error without the URL at its beginning."""
    status = getattr(error, "status", 0)
    return f"HTTP {status}" if status else str(error).partition(": ")[2] or str(error)


def _bytes(size: int | None) -> str:
    return "size unknown" if size is None else f"{size:,} bytes"
