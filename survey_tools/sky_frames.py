"""The celestial frame that a table or a header states for its positions, and the same positions in ICRS."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import (
    FK4,
    FK5,
    ICRS,
    BarycentricMeanEcliptic,
    BaseCoordinateFrame,
    FK4NoETerms,
    Galactic,
    SkyCoord,
    Supergalactic,
)
from astropy.time import Time

from survey_tools.errors import CatalogueError

FIXED = {
    "icrs": ICRS,
    "galactic": Galactic,
    "gal": Galactic,
    "supergalactic": Supergalactic,
    "super-galactic": Supergalactic,
}
OF_EQUINOX = {  # frames that need an equinox, and the one that is meant where none is stated
    "fk5": (FK5, "J2000"),
    "fk4": (FK4, "B1950"),
    "fk4-no-e": (FK4NoETerms, "B1950"),
    "ecl-fk5": (BarycentricMeanEcliptic, "J2000"),
}
FK5_SINCE = 1984.0  # FITS (Paper II, section 3.1): an equinox before this year is one of FK4, and else of FK5
AN_EQUINOX = re.compile(r"([JB]?)\s*(\d{4}(?:\.\d*)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Stated:
    """What a file says of the frame of positions, in its own words; "" where it says nothing.

    Attributes:
        system: As RADESYS of FITS or `system` of COOSYS in VOTables: ICRS, FK5, eq_FK4, galactic.
        equinox: As EQUINOX or `equinox`: 2000.0, B1950.
    """

    system: str = ""
    equinox: str = ""

    def __bool__(self) -> bool:
        return bool(self.system or self.equinox)

    def __str__(self) -> str:
        return " ".join(word for word in (self.system, self.equinox) if word)


def stated_by(cards: Mapping[str, Any]) -> Stated:
    """What a FITS header, or the metadata of a table, states by RADESYS and EQUINOX, or by their older names.

    EPOCH is the old name of EQUINOX, but many write the date of the observation into it: only 1950 and 2000 count.
    """
    upper = {str(key).upper(): value for key, value in cards.items()}
    system = _word(upper.get("RADESYS")) or _word(upper.get("RADECSYS"))
    equinox = _word(upper.get("EQUINOX"))
    old = _word(upper.get("EPOCH"))
    if not equinox and re.fullmatch(r"(B?1950|J?2000)(\.0*)?", old, re.IGNORECASE):
        equinox = old
    return Stated(system, equinox)


def frame_of(stated: Stated, where: str) -> BaseCoordinateFrame:
    """The frame that is stated, or ICRS where none is; for an unknown one CatalogueError, which begins with `where`."""
    system = stated.system.lower().replace("_", "-").removeprefix("eq-")
    if system in FIXED:
        return FIXED[system]()
    if not system and not stated.equinox:
        return ICRS()
    match = AN_EQUINOX.fullmatch(stated.equinox) if stated.equinox else None
    if not system and match:
        early = match[1].upper() == "B" or (not match[1] and float(match[2]) < FK5_SINCE)
        system = "fk4" if early else "fk5"
    if system not in OF_EQUINOX or (stated.equinox and not match):
        raise CatalogueError(
            f"{where}: its positions are in the frame {stated}, which is not known; give them in ICRS, FK5, FK4 or "
            "Galactic coordinates, and say which by RADESYS and EQUINOX"
        )
    frame, usual = OF_EQUINOX[system]
    letter, year = (match[1].upper() or usual[0], match[2]) if match else (usual[0], usual[1:])
    return frame(equinox=Time(f"{letter}{year}"))


def to_icrs(longitude: np.ndarray, latitude: np.ndarray, frame: BaseCoordinateFrame) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination [deg, ICRS] of positions (object,) [deg] in a frame; unchanged if it is ICRS."""
    if isinstance(frame, ICRS):
        return longitude, latitude
    position = SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame).icrs
    return position.ra.deg, position.dec.deg


def _word(value: Any) -> str:
    """A value of a card as a word; "" for what is no word and no number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, np.integer, np.floating)):
        return ""
    return "" if isinstance(value, (float, np.floating)) and not np.isfinite(value) else str(value).strip()
