"""The only reader of WCSs, and plain TAN grids in ICRS.

The grid of a cutout is plain TAN. For any other WCS, places and pixels are computed from all that its header states.
"""

import re
import threading
import warnings
from functools import cache

import numpy as np
from astropy import coordinates
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales
from astropy.wcs.wcsapi import BaseLowLevelWCS

from survey_tools.errors import first_line
from survey_tools.sphere import directions, east_and_north, unit_vectors


def tan_wcs(crval, crpix, cd) -> WCS:
    """Return the ICRS TAN WCS with these FITS terms.

    Parameters
    ----------
    crval : (2,) float
        Reference position [deg].
    crpix : (2,) float
        Reference pixel, counted from 1.
    cd : (2, 2) float
        Matrix [deg/pixel].
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = crval
    wcs.wcs.crpix = crpix
    wcs.wcs.cd = cd
    wcs.wcs.lonpole = 180.0  # also the default, except for a tangent point at the pole itself
    wcs.wcs.set()
    return wcs


def north_up_wcs(ra: float, dec: float, pixel_scale: float, size: int) -> WCS:
    """Return a grid of size × size pixels centred on (ra, dec) [deg], with north up and east to the left.

    `pixel_scale` is in arcsec/pixel.
    """
    degrees = pixel_scale / 3600
    centre = (size + 1) / 2
    return tan_wcs((ra, dec), (centre, centre), [[-degrees, 0.0], [0.0, degrees]])


def tan_terms(wcs: WCS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return crval (2,) [deg], crpix (2,) [pixel, from 1] and cd (2, 2) [deg/pixel] of a TAN WCS."""
    return wcs.wcs.crval.copy(), wcs.wcs.crpix.copy(), wcs.pixel_scale_matrix.copy()


def scale_of(wcs: WCS) -> float:
    """Return the pixel scale [arcsec/pixel]: the geometric mean of both axes at the reference pixel."""
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600


def tan_places(crval, crpix, cd, pixels: np.ndarray) -> np.ndarray:
    """Return directions on the sky of pixels of many TAN grids at once.

    Parameters
    ----------
    crval : (grid, 2) float
        Reference position of each grid [deg].
    crpix : (grid, 2) float
        Reference pixel of each grid, counted from 1.
    cd : (grid, 2, 2) float
        Matrix of each grid [deg/pixel].
    pixels : (pixel, 2) float
        Columns and rows of some pixels, counted from 0, the same in each grid.

    Returns
    -------
    (grid, pixel, 3) float
        Unit vectors; NaN for a grid without a WCS.

    Notes
    -----
    The equations of the gnomonic projection are those of Calabretta & Greisen (2002), A&A 395, 1077.
    """
    offset = pixels[None] + 1.0 - np.asarray(crpix, float)[:, None]
    plane = np.radians(np.einsum("gij,gpj->gpi", np.asarray(cd, float), offset))
    towards, east, north = _tangent(crval)
    made = towards[:, None] + plane[..., :1] * east[:, None] + plane[..., 1:] * north[:, None]
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def tan_pixels(crval, crpix, cd, places: np.ndarray) -> np.ndarray:
    """Return columns and rows, counted from 0, of directions on the sky in many TAN grids.

    Parameters
    ----------
    crval : (grid, 2) float
        Reference position of each grid [deg].
    crpix : (grid, 2) float
        Reference pixel of each grid, counted from 1.
    cd : (grid, 2, 2) float
        Matrix of each grid [deg/pixel].
    places : (grid, place, 3) float
        Unit vectors, as `tan_places` returns them.

    Returns
    -------
    (grid, place, 2) float
    """
    towards, east, north = _tangent(crval)
    depth = np.einsum("gpk,gk->gp", places, towards)
    plane = np.stack([np.einsum("gpk,gk->gp", places, axis) / depth for axis in (east, north)], axis=-1)
    known = np.isfinite(cd).all(axis=(1, 2))
    inverse = np.full(np.shape(cd), np.nan)
    inverse[known] = np.linalg.inv(np.asarray(cd, float)[known])
    return np.einsum("gij,gpj->gpi", inverse, np.degrees(plane)) + np.asarray(crpix, float)[:, None] - 1.0


def _tangent(crval) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors (grid, 3) towards the points of tangency (grid, 2) [deg], and east and north of them."""
    ra, dec = np.asarray(crval, float).T
    return unit_vectors(ra, dec), *east_and_north(ra, dec)


ROUNDING = 1e-6  # [pixel] distance to which rounding may move a pixel's centre on the edge of an image outside it
SAME = 0.01  # [pixel] by which two descriptions of one grid may differ
TAN = ("RA---TAN", "DEC--TAN")
FRAME_OF_LONGITUDE = {"GLON": "galactic", "SLON": "supergalactic", "ELON": "ecliptic"}
FRAME_OF_RADESYS = {"ICRS": "icrs", "FK5": "fk5", "FK4": "fk4", "FK4-NO-E": "fk4noeterms"}
BENT = ("fk4", "fk4noeterms")  # frames that differ from ICRS by more than a rotation of the sphere
# The keywords of a grid in the WCS papers, SIP, SCAMP, IRAF's TNX and ZPX, HST's tables and the DSS. The others of a
# header are many, take long to parse, and may break the standard.
OF_A_GRID = re.compile(
    r"WCSAXES|NAXIS\d?|C(TYPE|UNIT|RVAL|RPIX|DELT|ROTA)\d|(CD|PC)(\d_\d|\d{6})|P[VS]\d_\d+|PROJP\d+|(LON|LAT)POLE"
    r"|RADE(SYS|CSYS)|EQUINOX|EPOCH|[AB]P?_(ORDER|DMAX|\d+_\d+)|WAT\d_\d{3}|(C[PQ]DIS|CPERR|CQERR)\d|D[PQ]\d.*"
    r"|D2IM.*|AXISCORR|CNPIX\d|PPO\d|[XY]PIXELSZ|PLT(RA|DEC)[A-Z]+|AMD[XY]\d+"
)
SMALLEST, LARGEST = 1e-6, 3600 * 90.0  # [arcsec] side of a pixel
MOST = {"WCSAXES": 99} | dict.fromkeys(("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"), 9)  # in practice
OF_A_PLATE = re.compile(r"CNPIX\d|PPO\d|[XY]PIXELSZ|PLTRA[HMS]|PLTDEC[DMS]|AMD[XY]\d+")  # numbers of the DSS
A_CELESTIAL_AXIS = re.compile(r"CTYPE\d")
OF_THE_SKY = re.compile(r"RA-|DEC-|[GES]L(ON|AT)-|[GES]L(ON|AT)$")
_reading = threading.Lock()  # held while Python's warnings are changed, because threads share them
LATTICE = np.stack(np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5)), axis=-1).reshape(-1, 2)


def read_wcs(header: fits.Header, hdus: fits.HDUList | None = None) -> WCS | None:
    """Return the celestial WCS that a FITS header states, with all its distortions; None if it states none.

    Axes that are not celestial are left out, and old keywords are repaired silently. Use `places_of` and `pixels_of`
    with the result, because the methods of a WCS do not know ecliptic coordinates, and some do not apply distortions.

    Parameters
    ----------
    header : fits.Header
        Header of the image.
    hdus : fits.HDUList, optional
        HDUs of its file, which may have distortions as tables.

    Returns
    -------
    WCS or None

    Raises
    ------
    ValueError
        If its terms contradict each other or cannot be read, or its coordinates have no known place on the sky.
    """
    try:
        cards = _spelt_anew([card for card in grid_cards(header) if card.value is not None])
        _require_sound(cards)
        with _reading, warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            warnings.filterwarnings("error", "Polynomial distortion", AstropyUserWarning)  # astropy leaves these out
            wcs = _celestial(fits.Header(cards), hdus)
        if wcs is None:
            return None
        wcs.wcs.set()
        frame_of(wcs)
    except ValueError:
        raise
    except Exception as error:  # the errors of astropy for impossible cards have no common class
        raise ValueError(first_line(error)) from error
    return wcs


def _require_sound(cards: list[fits.Card]) -> None:
    """Raise ValueError if cards contradict each other, or have values that make astropy fail.

    Absurd numbers of terms or axes take all of the memory, and text in terms of plates ends the process.
    """
    said = {}
    for card in cards:
        if said.setdefault(card.keyword, card.value) != card.value:
            raise ValueError(f"{card.keyword} is there twice, as {said[card.keyword]!r} and {card.value!r}")
        if OF_A_PLATE.fullmatch(card.keyword) and not isinstance(card.value, int | float):
            raise ValueError(f"{card.keyword} = {card.value!r} is not a number")
        if card.keyword in MOST and not (isinstance(card.value, int) and 0 <= card.value <= MOST[card.keyword]):
            raise ValueError(f"{card.keyword} = {card.value!r} is not a whole number from 0 to {MOST[card.keyword]}")
    for card in cards:
        if A_CELESTIAL_AXIS.fullmatch(card.keyword) and OF_THE_SKY.match(str(card.value)):
            lacking = [key for key in ("CRVAL", "CRPIX") if f"{key}{card.keyword[5:]}" not in said]
            if lacking:  # the standard sets it to 0, and the image would silently lie elsewhere
                raise ValueError(f"{card.keyword} = {card.value!r} needs a keyword {lacking[0]}{card.keyword[5:]}")


def read_grid(header: fits.Header, shape: tuple[int, int], hdus: fits.HDUList | None = None) -> WCS | None:
    """Return the WCS of an image as `read_wcs` does, after a check that its middle lies on the sky.

    Parameters
    ----------
    header : fits.Header
        Header of the image.
    shape : (int, int)
        Rows and columns.
    hdus : fits.HDUList, optional
        HDUs of its file, which may have distortions as tables.

    Returns
    -------
    WCS or None

    Raises
    ------
    ValueError
        As `read_wcs` does; and if the middle of the image is not on the sky, or its pixels have no size.
    """
    wcs = read_wcs(header, hdus)
    if wcs is None:
        return None
    with np.errstate(all="ignore"):
        if not np.isfinite(_around_middle(wcs, shape)).all():
            raise ValueError(f"according to its terms ({_words(wcs)}), the middle of the image is not on the sky")
        scale = local_scale(wcs, shape)
    if not (SMALLEST < scale < LARGEST):
        raise ValueError(f"according to its terms, a pixel has a side of {scale:.3g} arcsec")
    return wcs


def grid_cards(header: fits.Header) -> list[fits.Card]:
    """Return the cards of a header that describe its grid of pixels on the sky."""
    return [card for card in header.cards if OF_A_GRID.fullmatch(card.keyword)]


def _spelt_anew(cards: list[fits.Card]) -> list[fits.Card]:
    """Return the cards as the standard wants them: with RADESYS, and with the suffix -SIP if there are SIP terms."""
    keywords = {card.keyword for card in cards}
    made = []
    for card in cards:
        if card.keyword == "RADECSYS":
            card = fits.Card("RADESYS", card.value)
            if "RADESYS" in keywords:
                continue
        elif "A_ORDER" in keywords and re.fullmatch(r"CTYPE\d", card.keyword) and str(card.value).endswith("-TAN"):
            card = fits.Card(card.keyword, f"{card.value}-SIP")
        made.append(card)
    return made


def _celestial(header: fits.Header, hdus: fits.HDUList | None) -> WCS | None:
    """Return the celestial axes of a header's WCS, or the first two axes of a cube whose matrix lacks the others."""
    try:
        wcs = WCS(header, fobj=hdus).celestial
    except ValueError:  # astropy also raises it for a singular matrix
        if header.get("NAXIS", 2) < 3 and header.get("WCSAXES", 2) < 3:
            raise
        wcs = WCS(_of_two_axes(header), fobj=hdus).celestial
    return wcs if wcs.naxis == 2 and wcs.has_celestial else None


def _of_two_axes(header: fits.Header) -> fits.Header:
    """Return a header without the keywords of a third axis and beyond."""
    plain = header.copy()
    for axis in range(3, 1 + max(int(header.get("NAXIS", 2)), int(header.get("WCSAXES", 2)))):
        for keyword in [key for key in plain if _is_of_axis(key, axis)]:
            del plain[keyword]
    for keyword in ("NAXIS", "WCSAXES"):
        if keyword in plain:
            plain[keyword] = 2
    return plain


def _is_of_axis(keyword: str, axis: int) -> bool:
    """Return whether a keyword belongs to an axis: CTYPE3, or CD3_1 and CD1_3, for the third."""
    if keyword[:2] in ("CD", "PC") and "_" in keyword:
        return str(axis) in keyword[2:].split("_")
    return keyword in {f"{key}{axis}" for key in ("NAXIS", "CTYPE", "CUNIT", "CRVAL", "CRPIX", "CDELT", "CROTA")}


def frame_of(wcs: WCS) -> tuple[str, float]:
    """Return the celestial frame of a WCS, and its equinox [year], NaN if it needs none.

    Raises
    ------
    ValueError
        If the frame is not known.
    """
    terms = wcs.wcs
    name = FRAME_OF_LONGITUDE.get(terms.lngtyp.strip())
    if name is None and terms.lngtyp.strip() == "RA":
        name = FRAME_OF_RADESYS.get(terms.radesys.strip() or "ICRS")
    if name is None:
        raise ValueError(
            f"coordinates {', '.join(terms.ctype)} with RADESYS = {terms.radesys!r}, which are neither ICRS, FK5, FK4, "
            "Galactic nor ecliptic"
        )
    if name in ("icrs", "galactic", "supergalactic"):
        return name, float("nan")
    return name, float(terms.equinox) if np.isfinite(terms.equinox) else 1950.0 if name in BENT else 2000.0


@cache
def _frame(name: str, equinox: float):
    """Return a celestial frame of astropy."""
    if name == "ecliptic":
        return coordinates.BarycentricMeanEcliptic(equinox=Time(equinox, format="jyear"))
    if name in ("galactic", "supergalactic", "icrs"):
        return {"galactic": coordinates.Galactic, "icrs": coordinates.ICRS}.get(name, coordinates.Supergalactic)()
    kind = {"fk5": coordinates.FK5, "fk4": coordinates.FK4, "fk4noeterms": coordinates.FK4NoETerms}[name]
    return kind(equinox=Time(equinox, format="byear" if name in BENT else "jyear"))


@cache
def _rotation(name: str, equinox: float) -> np.ndarray:
    """Return the matrix (3, 3) from unit vectors of a frame to those of ICRS, kept because astropy is slow."""
    axes = SkyCoord([0, 90, 0] * u.deg, [0, 0, 90] * u.deg, frame=_frame(name, equinox))
    return axes.icrs.cartesian.xyz.value


def to_icrs(frame: tuple[str, float], places: np.ndarray) -> np.ndarray:
    """Return places (n, 2) [deg] of a frame, as `frame_of` names it, in ICRS."""
    if frame[0] == "icrs":
        return places
    if frame[0] in BENT:
        found = SkyCoord(*places.T, unit="deg", frame=_frame(*frame)).icrs
        return np.stack([found.ra.deg, found.dec.deg], axis=-1)
    return directions(unit_vectors(*np.transpose(places)) @ _rotation(*frame).T)


def from_icrs(frame: tuple[str, float], places: np.ndarray) -> np.ndarray:
    """Return places (n, 2) [deg, ICRS] in a frame, as `frame_of` names it."""
    if frame[0] == "icrs":
        return places
    if frame[0] in BENT:
        found = SkyCoord(*places.T, unit="deg").transform_to(_frame(*frame))
        return np.stack([found.spherical.lon.deg, found.spherical.lat.deg], axis=-1)
    return directions(unit_vectors(*np.transpose(places)) @ _rotation(*frame))


def is_icrs(wcs: WCS) -> bool:
    """Return whether the world coordinates of a WCS are ICRS ra and dec, in this order, without distortion tables."""
    terms = wcs.wcs
    return (terms.radesys, terms.lngtyp, terms.lng, terms.lat) == ("ICRS", "RA", 0, 1) and not wcs.has_distortion


def places_of(wcs: WCS, pixels: np.ndarray) -> np.ndarray:
    """Return places (n, 2) [deg, ICRS] of pixels (n, 2), from all that a WCS states; NaN if a pixel has none.

    Pixels are columns and rows, counted from 0.
    """
    pixels = np.asarray(pixels, float)
    if is_icrs(wcs):
        return wcs.wcs_pix2world(pixels, 0)
    world = wcs.all_pix2world(pixels, 0) if wcs.has_distortion else wcs.wcs_pix2world(pixels, 0)
    return to_icrs(frame_of(wcs), world[:, [wcs.wcs.lng, wcs.wcs.lat]])


def pixels_of(wcs: WCS, places: np.ndarray) -> np.ndarray:
    """Return pixels (n, 2) of places (n, 2) [deg, ICRS], from all that a WCS states; NaN if a place has none.

    Pixels are columns and rows, counted from 0.
    """
    places = np.asarray(places, float)
    if is_icrs(wcs):
        return wcs.wcs_world2pix(places, 0)
    world = np.empty_like(places)
    world[:, [wcs.wcs.lng, wcs.wcs.lat]] = from_icrs(frame_of(wcs), places)
    if not wcs.has_distortion:
        return wcs.wcs_world2pix(world, 0)
    with np.errstate(all="ignore"):
        found = wcs.all_world2pix(world, 0, tolerance=1e-6, quiet=True)
    # far outside an image, distortions have no inverse
    back = unit_vectors(*places_of(wcs, found).T) - unit_vectors(*np.transpose(places))
    found[~(np.linalg.norm(back, axis=1) < np.radians(scale_of(wcs) / 3600))] = np.nan
    return found


class IcrsGrid(BaseLowLevelWCS):
    """A grid of pixels on the sky, in the interface that astropy and its affiliated packages share (APE 14).

    The world coordinates are ICRS right ascension and declination [deg], for any WCS that `read_wcs` reads. The methods
    of a WCS itself do not know ecliptic or supergalactic coordinates, and return wrong pixels for places where a
    distortion has no inverse.

    Parameters
    ----------
    wcs : WCS
        WCS of the grid.
    shape : (int, int), optional
        Rows and columns of an image on it; places beyond the centres of its outermost pixels then have no pixel.
    """

    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
    world_axis_units = ("deg", "deg")
    world_axis_object_components = (("sky", 0, "spherical.lon.degree"), ("sky", 1, "spherical.lat.degree"))
    world_axis_object_classes = {"sky": (SkyCoord, (), {"frame": "icrs", "unit": "deg"})}  # noqa: RUF012

    def __init__(self, wcs: WCS, shape: tuple[int, int] | None = None) -> None:
        self._wcs, self._shape = wcs, shape

    def pixel_to_world_values(self, col: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascension and declination [deg, ICRS] of pixels, any shape; NaN if a pixel has no place."""
        col, row = np.broadcast_arrays(col, row)
        return _shaped(places_of(self._wcs, np.stack([col.ravel(), row.ravel()], axis=1)), col.shape)

    def world_to_pixel_values(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows of places [deg, ICRS], any shape; NaN if a place has no pixel."""
        ra, dec = np.broadcast_arrays(ra, dec)
        pixels = pixels_of(self._wcs, np.stack([ra.ravel(), dec.ravel()], axis=1))
        if self._shape is not None:
            last = np.array(self._shape[::-1]) - 1
            pixels[~((pixels >= -ROUNDING) & (pixels <= last + ROUNDING)).all(axis=1)] = np.nan
            pixels = np.clip(pixels, 0, last)
        return _shaped(pixels, ra.shape)


def _shaped(pairs: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the two columns of pairs (n, 2), each in a shape of n elements."""
    return pairs[:, 0].reshape(shape), pairs[:, 1].reshape(shape)


def centre_of(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the place (2,) [deg, ICRS] of the middle of a grid of `shape` (rows, columns)."""
    return places_of(wcs, np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]]))[0]


def local_cd(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the CD matrix (2, 2) [deg/pixel] towards ICRS east and north at the centre of a grid.

    `shape` has its rows and columns. Rotation, parity, frame and distortions of the WCS are included.
    """
    places = _around_middle(wcs, shape)
    offsets = _plane(places[0], places)
    return np.stack([offsets[1] - offsets[0], offsets[2] - offsets[0]], axis=1)


def _around_middle(wcs: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the places (3, 2) [deg, ICRS] of the middle of a grid, and of one pixel further along each axis."""
    centre = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    return places_of(wcs, np.stack([centre, centre + [1, 0], centre + [0, 1]]))


def grids_apart(wcs: WCS, other: WCS, shape: tuple[int, int]) -> float:
    """Return how far two grids of pixels lie apart at the corners of an image; they are one grid below `SAME`.

    Parameters
    ----------
    wcs, other : WCS
        The grids.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    float
        The largest distance along an axis [pixel]; NaN where a corner is not on the sky.
    """
    last_row, last_col = shape[0] - 1.0, shape[1] - 1.0
    corners = np.array([(0, 0), (last_col, 0), (0, last_row), (last_col, last_row)])
    return float(np.abs(pixels_of(other, places_of(wcs, corners)) - corners).max())


def local_scale(wcs: WCS, shape: tuple[int, int]) -> float:
    """Return the pixel scale [arcsec/pixel] at the centre of a grid of `shape`: the root of a pixel's area."""
    return _scale(local_cd(wcs, shape))


def _scale(cd: np.ndarray) -> float:
    """Return the pixel scale [arcsec/pixel] of a CD matrix (2, 2) [deg/pixel]: the root of a pixel's area."""
    return 3600 * float(np.sqrt(abs(np.linalg.det(cd))))


def rescaled_wcs(wcs: WCS, shape: tuple[int, int], pixel_scale: float, size: int | tuple[int, int]) -> WCS:
    """Return a plain TAN grid, in ICRS, with the centre and orientation of another grid.

    Parameters
    ----------
    wcs : WCS
        The other grid, whose centre on the sky, rotation and parity are kept.
    shape : (int, int)
        Rows and columns of the other grid.
    pixel_scale : float
        Of the new grid [arcsec/pixel].
    size : int or (int, int)
        Rows and columns of the new grid; one number if it is square.

    Returns
    -------
    WCS
    """
    cd = local_cd(wcs, shape)
    new_rows, new_cols = np.broadcast_to(size, 2)
    ratio = pixel_scale / _scale(cd)
    return tan_wcs(centre_of(wcs, shape), ((new_cols + 1) / 2, (new_rows + 1) / 2), cd * ratio)


def plain_tan(wcs: WCS, shape: tuple[int, int]) -> WCS:
    """Return ICRS TAN terms by which every pixel of a grid lies where its WCS has it, to 0.01 pixel.

    The corners, the centre and points between them are compared. Terms that are ICRS TAN already are kept to the last
    digit. Terms of another celestial frame are rotated into ICRS, and a distortion that is too small to matter on this
    grid is left out.

    Parameters
    ----------
    wcs : WCS
        WCS of the grid.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    WCS

    Raises
    ------
    ValueError
        If there are no such terms; it states the distance.
    """
    pixels = LATTICE * [shape[1] - 1, shape[0] - 1]
    places = places_of(wcs, pixels)
    if not np.isfinite(places).all():
        raise ValueError(f"a WCS ({_words(wcs)}) that puts some of its pixels outside the sky")
    worst = np.inf
    for candidate in _candidates(wcs, shape, pixels, places):
        apart = np.abs(candidate.wcs_world2pix(places, 0) - pixels).max()
        if apart < SAME:
            return candidate
        worst = np.fmin(worst, apart)
    raise ValueError(
        f"a WCS ({_words(wcs)}) whose projection or distortions differ from a plain TAN grid by {worst:.2g} pixels"
    )


def _candidates(wcs: WCS, shape: tuple[int, int], pixels: np.ndarray, places: np.ndarray):
    """Yield TAN grids that may be the same as another grid, the nearest to its own terms first."""
    reference = wcs.wcs.crval[[wcs.wcs.lng, wcs.wcs.lat]]
    if is_icrs(wcs) and tuple(wcs.wcs.ctype) == TAN:
        yield tan_wcs(*tan_terms(wcs))
    if abs(reference[1]) <= 90:
        tangent, crpix = to_icrs(frame_of(wcs), reference[None])[0], wcs.wcs.crpix.copy()
        plane = _plane(tangent, places)
        if np.isfinite(plane).all():
            cd = np.linalg.lstsq(pixels + 1 - crpix, plane, rcond=None)[0].T
            if np.linalg.det(cd):
                yield tan_wcs(tangent, crpix, cd)
    tangent, middle = centre_of(wcs, shape), np.array([shape[1] - 1, shape[0] - 1]) / 2
    plane = _plane(tangent, places)
    if np.isfinite(plane).all():
        terms = np.column_stack([pixels - middle, np.ones(len(pixels))])
        fitted = np.linalg.lstsq(terms, plane, rcond=None)[0].T
        if np.linalg.det(fitted[:, :2]):
            yield tan_wcs(tangent, middle + 1 - np.linalg.solve(fitted[:, :2], fitted[:, 2]), fitted[:, :2])


def _plane(tangent: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return places (n, 2) in the tangent plane at one place (2,): offsets to the east and north (n, 2) [deg]."""
    return tan_wcs(tangent, (1, 1), np.eye(2)).wcs_world2pix(places, 0)


def _words(wcs: WCS) -> str:
    """Return projection and frame of a WCS, in words."""
    name, equinox = frame_of(wcs)
    return ", ".join([*wcs.wcs.ctype, name if np.isnan(equinox) else f"{name} {equinox:g}"])
