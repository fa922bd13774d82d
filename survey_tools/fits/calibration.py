"""The value of one unit of an image: its AB zero point, as a FITS header or a user states it.

All statements of a header are read: the unit BUNIT, and the keywords of `KEYWORDS`. A header whose statements
contradict each other, or that has none, is refused, unless the user decides by --unit or --zero-point. A file of
`PRODUCTS`, which is clearly one of a survey's own, has the zero point of that survey if it states none.
"""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from astropy.io import fits

from survey_tools.errors import ArchiveError
from survey_tools.images.sky_wcs import read_wcs, scale_of
from survey_tools.photometry import NANOMAGGY_ZERO_POINT, ZERO_POINTS

log = logging.getLogger(__name__)

SAME = 0.01  # [mag] largest difference between two statements of one zero point
LOWEST, HIGHEST = 5.0, 45.0  # [mag] between which zero points of real images lie; 0, 99 or -999 stand for "unknown"
ARCSEC2_OF_SR = (180 * 3600 / math.pi) ** 2
COUNTS = "counts"


@dataclass(frozen=True)
class Keyword:
    """A FITS keyword that states a calibration.

    Attributes
    ----------
    name : str
        The keyword.
    kind : str
        Meaning of its value. "magnitude": the AB magnitude of one image unit; "counts": image units of AB magnitude 0;
        "Jy" and "MJy/sr": the value of one unit; "flam": the value of one unit in erg/s/cm²/Å, at the wavelength
        PHOTPLAM [Å].
    per_second : bool
        Whether its unit is that of an exposure of one second, so that counts of a longer one are divided by EXPTIME.
    source : str
        Which programs write it.
    """

    name: str
    kind: str
    per_second: bool
    source: str


MANY = "written by many pipelines"
KEYWORDS = (
    Keyword("MZP_AB", "magnitude", False, "CFHTLS T0007 stacks by Terapix"),
    Keyword("PHOTZP", "magnitude", False, "MegaPipe and UNIONS stacks at the CADC"),
    Keyword("MAGZERO", "magnitude", False, "DES and Legacy Survey coadds; translations by galtrans"),
    Keyword("MAGZPT", "magnitude", False, MANY),
    Keyword("MAGZP", "magnitude", False, "ZTF science images"),
    Keyword("MAG_ZP", "magnitude", False, MANY),
    Keyword("MAG_ZERO", "magnitude", False, MANY),
    Keyword("MAGZEROP", "magnitude", False, MANY),
    Keyword("MAG0", "magnitude", False, MANY),
    Keyword("ZP", "magnitude", False, MANY),
    Keyword("ZPT", "magnitude", False, MANY),
    Keyword("ZPMAG", "magnitude", False, MANY),
    Keyword("ZEROPT", "magnitude", False, MANY),
    Keyword("ZEROPNT", "magnitude", False, MANY),
    Keyword("ZEROPOIN", "magnitude", False, MANY),
    Keyword("ZPAB", "magnitude", False, MANY),
    Keyword("ZP_AB", "magnitude", False, MANY),
    Keyword("ABZP", "magnitude", False, MANY),
    Keyword("AB_ZP", "magnitude", False, MANY),
    Keyword("ABMAGZP", "magnitude", False, MANY),
    Keyword("PHOT_ZP", "magnitude", False, MANY),
    Keyword("SEXMGZPT", "magnitude", False, "stacks calibrated by SExtractor"),
    Keyword("FPA.ZP", "magnitude", True, "Pan-STARRS images: the zero point of one count per second"),
    Keyword("FLUXMAG0", "counts", False, "images of the LSST and HSC pipelines"),
    Keyword("PHOTFNU", "Jy", True, "HST WFC3/IR: Jy of one electron per second"),
    Keyword("PHOTMJSR", "MJy/sr", True, "JWST: MJy/sr of one DN per second"),
    Keyword("PHOTFLAM", "flam", True, "HST: erg/s/cm2/Angstrom of one electron per second"),
)
STATING = frozenset(row.name for row in KEYWORDS) | {"PHOTPLAM"}
OF_COUNTS = ("Jy", "MJy/sr", "flam")  # kinds that do not concern pixels in a unit of flux


@dataclass(frozen=True)
class Product:
    """Files of a survey that need not state their zero point, because all of its files have the same.

    Attributes
    ----------
    title : str
        Their name.
    marks : mapping
        Patterns that the values of some keywords match in these files and in no others; all must match.
    zero_point : float
        AB magnitude of one image unit.
    source : str
        Where that is published.
    """

    title: str
    marks: Mapping[str, str]
    zero_point: float
    source: str


PRODUCTS = (
    Product("CFHTLS stacks", {"TERAPIX": r"T000\d.*"}, 30.0, "CFHTLS T0007 documentation (Terapix)"),
    Product(
        "CFHTLS stacks",
        {"INSTRUME": "MegaPrime", "SOFTNAME": "SWarp", "COMBINET": "MEDIAN", "OBJECT": r"[wW][1-4]\.?[+-]\d[+-]\d"},
        30.0,
        "CFHTLS T0006 and T0007 documentation: OBJECT is the pointing",
    ),
    Product(
        "KiDS coadds",
        {"FILTER": r"(OCAM_)?[ugri]_SDSS", "OBJECT": r"KIDS_.*"},
        0.0,
        "KiDS-ESO DR4 (Kuijken et al. 2019, A&A 625, A2): the magnitude of a flux is -2.5 log10 of it",
    ),
    Product(
        "Legacy Survey cutouts", {"SURVEY": r"LegacySurvey"}, NANOMAGGY_ZERO_POINT, "legacysurvey.org: nanomaggies"
    ),
)


@dataclass(frozen=True)
class Unit:
    """A unit of an image.

    Attributes
    ----------
    kind : str
        "flux" per pixel, "brightness" (flux per arcsec²), "counts", "rate" (counts per second), "unknown", or "none".
    zero_point : float
        AB magnitude of one unit, per arcsec² if it is a brightness; NaN if it is not a unit of flux.
    """

    kind: str
    zero_point: float = math.nan


@dataclass(frozen=True)
class Given:
    """A user's statement on images whose headers are silent, or contradict themselves.

    Attributes
    ----------
    unit : str, optional
        A unit that `read_unit` reads; "counts" are those of the survey's own zero point.
    zero_point : float, optional
        AB magnitude of one image unit.
    """

    unit: str | None = None
    zero_point: float | None = None

    def __bool__(self) -> bool:
        return self.unit is not None or self.zero_point is not None

    def of(self, area: float, survey_zero_point: float | None) -> float:
        """Return the AB magnitude of one unit of pixels with an `area` [arcsec²].

        Raises
        ------
        ValueError
            If it is that of the survey, and this is unknown.
        """
        if self.zero_point is not None:
            return self.zero_point
        unit = read_unit(self.unit or "")
        if unit.kind == "flux":
            return unit.zero_point
        if unit.kind == "brightness":
            return unit.zero_point - 2.5 * math.log10(area)
        if survey_zero_point is None:
            raise ValueError(f"--unit {self.unit} does not state the zero point; pass --zero-point with it")
        return survey_zero_point

    def __str__(self) -> str:
        return f"--zero-point {self.zero_point:g}" if self.zero_point is not None else f"--unit {self.unit}"


SILENT = Given()

PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}
WORDS = {"nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M"}
MAGGIES = r"(maggy|maggies|maggys|mgy|mgys)"
A_FACTOR = re.compile(
    r"\s*(?:10\s*(?:\^|\*\*)\s*\(?([-+]?\d+)\)?|(\d*\.?\d+(?:[eE][-+]?\d+)?))\s*[*x]?\s*(?=[A-Za-z\u00b5\u03bc])"
)
A_TERM = re.compile(r"([A-Za-z\u00b5\u03bc]+)(?:\s*(?:\^|\*\*)?\s*\(?([-+]?\d+)\)?)?")
PER_PIXEL = {"pix", "pixel", "pixels", "px"}
PER_SECOND = {"s", "sec", "secs", "second", "seconds"}
AREAS = {"sr": 1 / ARCSEC2_OF_SR, "steradian": 1 / ARCSEC2_OF_SR, "sqarcsec": 1.0}  # one arcsec² in the unit
AREAS_OF_SQUARES = {"arcsec": 1.0, "asec": 1.0, "arcmin": 1 / 3600, "deg": 1 / 3600**2}
COUNTED = {"count", "counts", "ct", "cts", "adu", "adus", "dn", "electron", "electrons", "e", "photon", "photons"}
DECIBELS = 2.5  # magnitudes per factor of ten


def read_unit(text: str) -> Unit:
    """Return the unit that a text such as BUNIT names, in any spelling: `nmgy/pix`, `MJy sr-1`, `nanomaggies`."""
    said = text.strip().strip("'\"[]() ").strip()
    if not said:
        return Unit("none")
    match = A_FACTOR.match(said)
    factor = 1.0
    if match:
        factor = 10.0 ** int(match[1]) if match[1] else float(match[2])
        said = said[match.end() :]
    said = re.sub(r"(?i)(?<![a-z])e-(?!\d)", "electron", re.sub(r"(?i)\s+per\s+|\s+a\s+", "/", said))
    above, below = _terms(said)
    if not factor > 0 or len([name for name in above if name.lower() not in PER_PIXEL]) != 1:
        above = ()
    return _unit(above[0] if above else "", below, factor)


def _terms(said: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the names above the line of the fraction, and those below it with their powers."""
    above, below = [], []
    parts = re.split(r"/", said)
    for place, part in enumerate(parts):
        for match in A_TERM.finditer(part):
            name, power = match[1], int(match[2] or 1)
            if place or power < 0:
                below.append((name, abs(power)))
            else:
                above.append(name if power == 1 else f"{name}{power}")
    return above, below


def _unit(name: str, below: list[tuple[str, int]], factor: float) -> Unit:
    """Return the unit of one name above the line and of the terms below it."""
    rest = {(term.lower(), power) for term, power in below if term.lower() not in PER_PIXEL}
    if name.lower() in COUNTED:
        kind = COUNTS if not rest else "rate" if rest <= {(each, 1) for each in PER_SECOND} else "unknown"
        return Unit(kind if factor == 1 else "unknown")
    area = [AREAS[term] for term, power in rest if power == 1 and term in AREAS]
    area += [AREAS_OF_SQUARES[term] for term, power in rest if power == 2 and term in AREAS_OF_SQUARES]
    zero_point = _zero_point(name, rest, upper=bool(area))
    if math.isnan(zero_point) or len(area) > 1:
        return Unit("unknown")
    zero_point -= DECIBELS * math.log10(factor)
    if area:
        return Unit("brightness", zero_point - DECIBELS * math.log10(area[0]))
    return Unit("flux", zero_point)


def _zero_point(name: str, rest: set[tuple[str, int]], upper: bool) -> float:
    """Return the AB magnitude of one unit of flux; NaN if the name is none.

    MJY, in capitals, is a megajansky only per area.
    """
    others = {(t, p) for t, p in rest if t not in AREAS and (t, p) not in {(a, 2) for a in AREAS_OF_SQUARES}}
    lower = name.lower()
    if lower == "erg" and {t for t, _ in others} <= PER_SECOND | {"cm", "hz"} and {("cm", 2), ("hz", 1)} <= others:
        return -48.6
    if lower == "w" and others == {("m", 2), ("hz", 1)}:
        return ZERO_POINTS["Jy"] - 65.0
    if others:
        return math.nan
    for word, letter in WORDS.items():
        if lower.startswith(word):
            name, lower = letter + name[len(word) :], letter.lower() + lower[len(word) :]
    match = re.fullmatch(rf"(n?){MAGGIES}", lower)
    if match:
        return NANOMAGGY_ZERO_POINT if match[1] else ZERO_POINTS["maggy"]
    match = re.fullmatch(r"(.?)(jy|jansky|janskys|janskies)", lower)
    if not match:
        return math.nan
    prefix = name[: len(match[1])]
    if prefix in "mM" and prefix and name[len(prefix) :] in ("JY", "jy"):  # capitals do not tell one from the other
        if not (prefix == "M" and upper):
            return math.nan
    elif prefix in ("N", "U", "K"):
        prefix = prefix.lower()
    return ZERO_POINTS["Jy"] - DECIBELS * math.log10(PREFIXES[prefix]) if prefix in PREFIXES else math.nan


@dataclass(frozen=True)
class Statement:
    """One statement of a header: its words, and the AB magnitude of one image unit that it means."""

    words: str
    zero_point: float


def read_zero_point(
    name: str, header: fits.Header, given: Given = SILENT, *, survey_zero_point: float | None = None
) -> float:
    """Return the AB magnitude of one image unit, as the header states it, or else the user.

    Parameters
    ----------
    name : str
        Name of the file, for messages.
    header : fits.Header
        Header of its image.
    given : Given
        The user's statement; it decides if the header states nothing, or contradicts itself.
    survey_zero_point : float, optional
        Zero point of counts of the survey, for `--unit counts`.

    Returns
    -------
    float

    Raises
    ------
    ArchiveError
        If nothing states it, two statements contradict each other, or a value cannot be used.
    """
    statements, remarks = _statements(name, header)
    if statements:
        low, high = (pick(statements, key=lambda said: said.zero_point) for pick in (min, max))
        agree = high.zero_point - low.zero_point <= SAME
        if agree:
            _remark_on(name, statements[0], given)
            return statements[0].zero_point
        if not given:
            raise ArchiveError(
                f"{name} contradicts itself: {low.words} is a zero point of {low.zero_point:.5g}, {high.words} one of "
                f"{high.zero_point:.5g}; pass --zero-point or --unit for the right one, or correct its header"
            )
    if given:
        try:
            return given.of(_pixel_area(name, header) if _needs_area(given) else 1.0, survey_zero_point)
        except ValueError as error:
            raise ArchiveError(f"{name}: {error}") from error
    for product in PRODUCTS:
        if is_product(product, header):
            return product.zero_point
    unit = str(header.get("BUNIT", "")).strip()
    said = f"BUNIT = {unit!r}" if unit else "no BUNIT"
    more = f" ({'; '.join(remarks)})" if remarks else ""
    raise ArchiveError(
        f"{name} has {said} and states no zero point{more}; pass --unit or --zero-point, or set BUNIT = 'nanomaggy' "
        "once it is calibrated to that"
    )


def is_product(product: Product, header: fits.Header) -> bool:
    """Return whether a header has all marks of a survey's own files."""
    return all(re.fullmatch(mark, str(header.get(key, "")).strip()) for key, mark in product.marks.items())


def is_in_flux(header: fits.Header) -> bool:
    """Return whether BUNIT is a unit of flux; statements of the header about counts then do not concern its pixels."""
    return read_unit(str(header.get("BUNIT", ""))).kind in ("flux", "brightness")


def _remark_on(name: str, stated: Statement, given: Given) -> None:
    """Warn if a header contradicts the user, whose statement is only for headers that are silent."""
    if not given or (given.zero_point is None and _needs_area(given)) or given.unit == COUNTS:
        return
    if abs(given.of(1.0, None) - stated.zero_point) > SAME:
        log.warning("%s: %s is used, and not %s, which is for files that state nothing", name, stated.words, given)


def _needs_area(given: Given) -> bool:
    return given.zero_point is None and read_unit(given.unit or "").kind == "brightness"


def _statements(name: str, header: fits.Header) -> tuple[list[Statement], list[str]]:
    """Return the statements of a header, and remarks on keywords that do not count."""
    found, remarks = [], []
    text = str(header.get("BUNIT", "")).strip()
    unit = read_unit(text)
    if unit.kind == "flux":
        found.append(Statement(f"BUNIT = {text!r}", unit.zero_point))
    elif unit.kind == "brightness":
        found.append(Statement(f"BUNIT = {text!r}", unit.zero_point - DECIBELS * math.log10(_pixel_area(name, header))))
    for row in KEYWORDS:
        if row.name not in header or (found and unit.kind != "none" and row.kind in OF_COUNTS):
            continue
        value, comment = header[row.name], header.comments[row.name]
        if value is None or value == "" or isinstance(value, fits.card.Undefined):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArchiveError(f"{name} has {row.name} = {value!r}, which is not a number; correct its header")
        zero_point = _of_keyword(name, header, row, float(value))
        if zero_point is None:
            continue
        if not LOWEST <= zero_point <= HIGHEST:
            remarks.append(f"{row.name} = {value:g} is not one")
            continue
        if _is_vega(header, comment):
            remarks.append(f"{row.name} = {value:g} is one of the Vega system, but AB is needed")
            continue
        if unit.kind != "rate" and (row.per_second or SAYS_PER_SECOND.search(comment)):
            exposure = _exposure(header)
            if exposure is None:
                remarks.append(f"{row.name} = {value:g} is that of counts per second, and there is no EXPTIME")
                continue
            zero_point += DECIBELS * math.log10(exposure)
        found.append(Statement(f"{row.name} = {value:g}", zero_point))
    return found, remarks


SAYS_PER_SECOND = re.compile(r"(?i)(/|\bper|\ba)\s*(s|sec|second)\b|(adu|dn|count|counts|electron|e-)\s*s-1")


def _of_keyword(name: str, header: fits.Header, row: Keyword, value: float) -> float | None:
    """Return the AB magnitude of the unit that a keyword states; None if its value has no meaning."""
    if row.kind == "magnitude":
        return value
    if not (value > 0 and math.isfinite(value)):
        return None
    if row.kind == "counts":
        return DECIBELS * math.log10(value)
    if row.kind == "Jy":
        return ZERO_POINTS["Jy"] - DECIBELS * math.log10(value)
    if row.kind == "MJy/sr":
        unit = read_unit("MJy/sr").zero_point - DECIBELS * math.log10(_pixel_area(name, header))
        return unit - DECIBELS * math.log10(value)
    pivot = header.get("PHOTPLAM")
    if not isinstance(pivot, int | float) or isinstance(pivot, bool) or not pivot > 0:
        return None
    return -DECIBELS * math.log10(value) - 5 * math.log10(pivot) - 2.408  # HST's own: ACS Data Handbook, zero points


def _is_vega(header: fits.Header, comment: str) -> bool:
    system = " ".join(str(header.get(key, "")) for key in ("MAGSYS", "PHOTSYS", "MAGSYST", "ZPSYS"))
    return "vega" in system.lower() or bool(re.search(r"(?i)\bvega\b", comment) and not re.search(r"\bAB\b", comment))


def _exposure(header: fits.Header) -> float | None:
    """Return EXPTIME [s], which some write as text; None if it is not a number."""
    for key in ("EXPTIME", "EXPOSURE", "TEXPTIME"):
        try:
            value = float(header.get(key, "nan"))
        except (TypeError, ValueError):
            continue
        if value > 0 and math.isfinite(value):
            return value
    return None


def _pixel_area(name: str, header: fits.Header) -> float:
    """Return the area of a pixel [arcsec²], from the WCS."""
    try:
        wcs = read_wcs(header)
    except ValueError as error:
        raise ArchiveError(f"{name} has a WCS that cannot be used: {error}") from error
    if wcs is None:
        raise ArchiveError(
            f"{name} is in a unit of surface brightness and has no celestial WCS that states the area of its pixels"
        )
    return scale_of(wcs) ** 2
