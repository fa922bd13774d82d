"""Surveys as rows: what galtrans needs to know of each, with the source of every figure.

The rows below come with galtrans. `SURVEYS` also has those from outside: of installed packages (the entry point group
`galtrans.surveys`), of the files that the environment variable GALTRANS_SURVEY_FILES names, and those that a program
adds by `register_survey` or `load_surveys`.
"""

import functools
import hashlib
import logging
import os
import re
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from survey_tools.errors import ArgumentError, SurveyError, first_line

log = logging.getLogger(__name__)

GROUP = "galtrans.surveys"  # the group of entry points by which installed packages add rows
FILES = "GALTRANS_SURVEY_FILES"  # the environment variable that names files of surveys, as PATH names folders
BY_CALL = "register_survey"  # origin of surveys that a program adds
A_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_running = threading.RLock()  # runpy changes the modules of the process while it runs a file
SHORT = 3  # letters of a mark that has to be a word of its own, because longer words may contain it by chance


@dataclass(frozen=True)
class Flags:
    """The companion image of a tile that says, by bits, which pixels are saturated and which have no data.

    A plane is a bit with a name. Where the header of the companion states the bit of a plane, that counts: MP_SAT = 1
    in files of the LSST and HSC pipelines (the number of the bit), or MSKNAM05 = 'SAT' and MSKVAL05 = 32 in files of
    Pan-STARRS1.

    Attributes
    ----------
    extension : str
        EXTNAME of the companion, if it is an extension of the tile's own file; "" if it is not.
    beside : (str, str)
        A regular expression and what replaces it in the tile's name, which makes the name of the companion's file; both
        are "" if there is none.
    saturated : dict of str to int
        Planes that mean a saturated pixel, and the value of each.
    no_data : dict of str to int
        Planes that mean a pixel without data, and the value of each.
    by_band : bool
        Whether a plane whose name ends in an underscore and a band, such as SATUR_G, holds for this band alone.
    source : str
        Where the bits are published.
    """

    extension: str = ""
    beside: tuple[str, str] = ("", "")
    saturated: dict[str, int] = field(default_factory=dict)
    no_data: dict[str, int] = field(default_factory=dict)
    by_band: bool = False
    source: str = ""


@dataclass(frozen=True)
class Survey:
    """What galtrans needs to know of a photometric survey.

    Attributes:
        name: The word for it on the command line and in stores.
        title: The word for it on a figure.
        bands: Its bands, blue to red.
        pixel_scale: Of its cutouts [arcsec/pixel].
        zero_point: AB magnitude of one image unit; files state it, unless `zero_point_fixed`.
        cutout_size: Rows, and columns, of a cutout [pixel].
        filters: Values of the keyword of the filter and the band that each stands for.
        no_data: Pixel value by which its files mark missing data (besides NaN); None where there is none.
        north_up: Whether cutouts are resampled onto a north-up TAN grid; else they keep the file's own pixels.
        source: Where these figures are published.
        release: The data release that they describe.
        filter_keywords: FITS keywords that may name the filter; the first one that a header has counts.
        zero_point_fixed: Whether all files have the row's zero point, so that they need not state it.
        curves: Camera and filter whose transmission curve each band has; two bands of one name may have two curves.
        flags: Its companion images of flags; None where they are unknown.
        marks: Words in SURVEY, TELESCOP or INSTRUME by which an image is known to be the survey's.
        catalogue_columns: Whole numbers by which its own catalogue names the image of an object, and descriptions.
    """

    name: str
    title: str
    bands: tuple[str, ...]
    pixel_scale: float
    zero_point: float
    cutout_size: int
    filters: dict[str, str]
    no_data: float | None
    north_up: bool
    source: str
    release: str = ""
    filter_keywords: tuple[str, ...] = ("FILTER",)
    zero_point_fixed: bool = False
    curves: dict[str, str] = field(default_factory=dict)
    flags: Flags | None = None
    marks: tuple[str, ...] = ()
    catalogue_columns: dict[str, str] = field(default_factory=dict)

    def band_of(self, header: Mapping[str, Any]) -> str | None:
        """Return the band that a FITS header names by a keyword of the filter; None if it names none of the survey."""
        for keyword in self.filter_keywords:
            if keyword in header:
                return self.filters.get(str(header[keyword]).strip())
        return None

    def is_named_in(self, text: str) -> bool:
        """Return whether a text, such as the value of TELESCOP, has a mark of the survey or is its title."""
        said = text.strip().lower()
        return said == self.title.lower() or any(_has(said, mark.lower()) for mark in self.marks)


def _has(said: str, mark: str) -> bool:
    """Return whether a word of a text begins with a mark; a short mark has to be a word of its own."""
    end = "" if len(mark) > SHORT else r"(?![a-z0-9])"
    return re.search(rf"(?<![a-z0-9]){re.escape(mark)}{end}", said) is not None


def row_of(stored: Mapping[str, Any]) -> Survey:
    """Return a survey from its attributes, as a store keeps them.

    Attributes that an older store does not have get their defaults. Attributes of a newer galtrans are left out.

    Parameters
    ----------
    stored : mapping
        The attributes by name, with lists for tuples.

    Returns
    -------
    Survey
    """
    found = _made_of(Survey, stored)
    if isinstance(found.get("flags"), Mapping):
        found["flags"] = Flags(**_made_of(Flags, found["flags"]))
    return Survey(**found)


def _made_of(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some attributes that a dataclass has, with tuples for lists."""
    known = {each.name for each in fields(kind)}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items() if key in known}


SDSS = Survey(
    name="sdss",
    title="SDSS",
    release="DR12",
    bands=("u", "g", "r", "i", "z"),
    pixel_scale=0.396,
    zero_point=22.5,
    cutout_size=64,
    filters={"u": "u", "g": "g", "r": "r", "i": "i", "z": "z"},
    curves={band: f"SDSS {band}" for band in "ugriz"},
    no_data=None,
    north_up=True,
    marks=("SDSS", "Sloan"),
    catalogue_columns={name: f"SDSS {name} of the object" for name in ("run", "rerun", "camcol", "field")},
    source="SDSS DR12 data model, file `frame`: calibrated to nanomaggies, sky subtracted",
)
CFHT = Survey(
    name="cfht",
    title="CFHTLS",
    release="T0007",
    bands=("u", "g", "r", "i", "z"),
    pixel_scale=0.186,
    zero_point=30.0,
    cutout_size=136,
    filters={
        "u.MP9301": "u",
        "g.MP9401": "g",
        "r.MP9601": "r",
        "i.MP9701": "i",
        "i.MP9702": "i",
        "y.MP9702": "i",
        "z.MP9801": "z",
    },
    curves={
        "u": "MegaPrime u.MP9301",
        "g": "MegaPrime g.MP9401",
        "r": "MegaPrime r.MP9601",
        "i": "MegaPrime i.MP9701",
        "z": "MegaPrime z.MP9801",
    },
    no_data=0.0,
    north_up=False,
    marks=("CFHT", "MegaPrime", "MegaCam", "Terapix"),
    source="CFHTLS T0007 documentation (Terapix): stacks rescaled to zero point 30 AB, empty pixels are exactly 0",
)
HSC = Survey(
    name="hsc",
    title="HSC-SSP",
    release="PDR3",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.168,
    zero_point=27.0,
    cutout_size=152,
    filters={
        "HSC-G": "g",
        "HSC-R": "r",
        "HSC-R2": "r",
        "HSC-I": "i",
        "HSC-I2": "i",
        "HSC-Z": "z",
        "HSC-Y": "y",
        **{band: band for band in "grizy"},
    },
    filter_keywords=("FILTER", "BAND"),
    curves={"g": "HSC g", "r": "HSC r2", "i": "HSC i2", "z": "HSC z", "y": "HSC y"},
    flags=Flags(
        extension="MASK",
        saturated={"SAT": 1 << 1},
        no_data={"NO_DATA": 1 << 8},
        source="planes of the mask of the LSST and HSC pipelines, which its header names by MP_ and their bits",
    ),
    no_data=None,
    north_up=False,
    marks=("HSC", "Subaru", "Suprime"),
    source="HSC-SSP PDR3 (Aihara et al. 2022, PASJ 74, 247): coadds of 27 AB (FLUXMAG0), pixels without data are NaN",
)
OF_DECAM = {  # names of DECam's filters in headers
    "g DECam SDSS c0001 4720.0 1520.0": "g",
    "r DECam SDSS c0002 6415.0 1480.0": "r",
    "i DECam SDSS c0003 7835.0 1470.0": "i",
    "z DECam SDSS c0004 9260.0 1520.0": "z",
    "Y DECam c0005 10095.0 1130.0": "y",
}
DES = Survey(
    name="des",
    title="DES",
    release="DR2",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.263,
    zero_point=30.0,
    cutout_size=96,
    filters={**OF_DECAM, **{band: band for band in "grizy"}, "Y": "y"},
    filter_keywords=("FILTER", "BAND"),
    curves={band: f"DECam {band}" for band in "grizy"},
    flags=Flags(
        extension="MSK",
        saturated={"SATURATE": 1 << 1, "TRAIL": 1 << 6},
        source="despyfits of DES data management: BADPIX_SATURATE and BADPIX_TRAIL",
    ),
    no_data=0.0,
    north_up=False,
    marks=("DES", "DESDM", "Dark Energy", "DECam"),
    source="DES DR2 (Abbott et al. 2021, ApJS 255, 20): coadded tiles of zero point 30 AB (MAGZERO)",
)
LEGACY = Survey(
    name="legacy",
    title="Legacy Surveys",
    release="DR10",
    bands=("g", "r", "i", "z"),
    pixel_scale=0.262,
    zero_point=22.5,
    zero_point_fixed=True,
    cutout_size=96,
    filters={**{name: band for name, band in OF_DECAM.items() if band != "y"}, **{band: band for band in "griz"}},
    filter_keywords=("FILTERX", "FILTER", "BAND"),
    curves={band: f"DECam {band}" for band in "griz"},
    flags=Flags(
        beside=(r"-image-[griz](?=\.fits)", "-maskbits"),
        saturated={"SATUR_G": 0x4, "SATUR_R": 0x8, "SATUR_I": 0x4000, "SATUR_Z": 0x10},
        by_band=True,
        source="legacysurvey.org, DR10 bitmasks: MASKBITS",
    ),
    no_data=0.0,
    north_up=False,
    marks=("LegacySurvey", "Legacy Survey", "Legacy Imaging", "DECaLS", "MzLS", "DECam"),
    source="DESI Legacy Imaging Surveys DR10 (Dey et al. 2019, AJ 157, 168): bricks in nanomaggies; DECam's curves, "
    "which the north (BASS g and r, MzLS z) does not have",
)
PS1 = Survey(
    name="ps1",
    title="Pan-STARRS1",
    release="DR2",
    bands=("g", "r", "i", "z", "y"),
    pixel_scale=0.25,
    zero_point=25.0,
    cutout_size=104,
    filters={f"{band}{after}": band for after in (".00000", "") for band in "grizy"},
    filter_keywords=("FPA.FILTERID", "FPA.FILTER", "FILTER"),
    curves={band: f"GPC1 {band}" for band in "grizy"},
    flags=Flags(
        beside=(r"(?=\.fits)", ".mask"),
        saturated={"SAT": 0x20},
        no_data={"BLANK": 0x8},
        source="Waters et al. 2020, ApJS 251, 4, bits of the mask; the header names them by MSKNAM and MSKVAL",
    ),
    no_data=None,
    north_up=False,
    marks=("PS1", "Pan-STARRS", "PanSTARRS", "GPC1"),
    source="Pan-STARRS1 DR2 stacks (Waters et al. 2020, ApJS 251, 4): 25 AB for one second, pixels scaled by asinh",
)
KIDS = Survey(
    name="kids",
    title="KiDS",
    release="DR4",
    bands=("u", "g", "r", "i"),
    pixel_scale=0.2,
    zero_point=0.0,
    zero_point_fixed=True,
    cutout_size=128,
    filters={f"{before}{band}_SDSS": band for before in ("OCAM_", "") for band in "ugri"},  # the second at ESO
    filter_keywords=("FILTER", "FILT_ID"),
    curves={band: f"OmegaCAM {band}" for band in "ugri"},
    flags=Flags(
        beside=(r"_sci(?=\.fits)", "_msk"),
        saturated={"SATURATION_CORE": 2},
        source="KiDS data releases 3 and 4, bits of the masks of stars",
    ),
    no_data=0.0,
    north_up=False,
    marks=("KiDS", "OmegaCAM"),
    source="KiDS-ESO DR4 (Kuijken et al. 2019, A&A 625, A2): coadds of zero point 0 AB",
)
OWN = {survey.name: survey for survey in (SDSS, CFHT, HSC, DES, LEGACY, PS1, KIDS)}


@dataclass(frozen=True)
class FileFunction:
    """A function of a survey file, which can be sent to other processes: each of them runs the file when it is called.

    Attributes
    ----------
    path : str
        The file, absolute. Other machines must have it at the same place.
    name : str
        Name of the function in the file.
    sha256 : str
        Checksum of the file. A store that was made with another version of the file is not continued.
    """

    path: str
    name: str
    sha256: str

    def __call__(self, *args, **kwargs):
        """Call the function."""
        if _checksum(Path(self.path)) != self.sha256:
            raise SurveyError(f"{self.path} has changed since its survey was read; run the command again")
        return _run(self.path, self.sha256)[self.name](*args, **kwargs)

    def __str__(self) -> str:
        return f"{self.name} of {Path(self.path).name} ({self.sha256[:12]})"


@dataclass(frozen=True)
class Registered:
    """A survey from outside.

    Attributes
    ----------
    row : Survey
        Its row.
    origin : str
        Where it is from, for messages.
    calibrate : callable, optional
        Reads the calibration of one of its tiles, from the file's name and header (`archives.tiles.Calibrate`).
    archive : object, optional
        Its archive (`archives.known.KnownArchive`); None stands for tiles in a folder of the user.
    """

    row: Survey
    origin: str
    calibrate: Callable | None = None
    archive: Any = None


class Surveys(MutableMapping):
    """The table of surveys: name to `Survey`. Rows from outside are read when a name is first not among our own."""

    def __init__(self, own: Mapping[str, Survey]) -> None:
        self._rows = dict(own)
        self._own = frozenset(own)
        self._registered: dict[str, Registered] = {}
        self._looked = False
        self._lock = threading.RLock()

    def __getitem__(self, name: str) -> Survey:
        if name not in self._rows:
            self._look()
        return self._rows[name]

    def __setitem__(self, name: str, row: Survey) -> None:
        self._rows[name] = row

    def __delitem__(self, name: str) -> None:
        del self._rows[name]
        self._registered.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(list(self._rows))

    def __len__(self) -> int:
        self._look()
        return len(self._rows)

    def registered(self, name: str) -> Registered | None:
        """Return what is known of a survey from outside besides its row; None of our own, and of an unknown one."""
        if name not in self._rows:
            self._look()
        return self._registered.get(name)

    def add(self, *new: Registered) -> None:
        """Add surveys from outside: all of them, or none. One that a file gave before is replaced by that file.

        Raises
        ------
        ValueError
            If a name is taken, or a row is not possible; the message names where it is from.
        """
        for each in new:
            name, known = each.row.name, self._registered.get(each.row.name)
            again = known is not None and known.origin == each.origin
            if name in self._rows and not (again and (known.row == each.row or each.origin != BY_CALL)):
                owner = "galtrans" if known is None else known.origin
                raise ValueError(f"{each.origin}: the survey name {name!r} is taken by {owner}; choose another one")
            check_row(each.row, each.origin)
        for each in new:
            self._rows[each.row.name], self._registered[each.row.name] = each.row, each

    def _look(self) -> None:
        """Read the rows of installed packages and of the files that the environment names, once in a process."""
        with self._lock:
            if self._looked:
                return
            self._looked = True
            for each in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
                origin = f"the package {each.dist.name if each.dist else each.value}, entry point {each.name}"
                _try(origin, lambda each=each, origin=origin: self._take(each.load(), origin))
            for path in filter(None, os.environ.get(FILES, "").split(os.pathsep)):
                _try(path, lambda path=path: self.load(Path(path)))

    def _take(self, loaded: Any, origin: str) -> list[Survey]:
        """Add what an entry point leads to: a row, or a module with rows."""
        found = {"row": loaded} if isinstance(loaded, Survey) else getattr(loaded, "__dict__", {})
        return self._add_all(found, origin, found.get("calibrate"))

    def load(self, path: Path) -> list[Survey]:
        """Run a file and add its surveys; return their rows.

        Raises
        ------
        ValueError
            If it has no `Survey`, or one whose name is taken or whose row is not possible.
        Exception
            Whatever the file itself raises.
        """
        path = path.absolute()
        sha256 = _checksum(path)
        found = _run(str(path), sha256)
        calibrate = FileFunction(str(path), "calibrate", sha256) if callable(found.get("calibrate")) else None
        return self._add_all(found, str(path), calibrate)

    def _add_all(self, found: Mapping[str, Any], origin: str, calibrate: Callable | None) -> list[Survey]:
        """Add all rows among the names of a module; its ARCHIVES, if there, has archives by name."""
        ours = list(OWN.values())
        rows = [value for value in found.values() if isinstance(value, Survey) and value not in ours]
        rows = [row for place, row in enumerate(rows) if row not in rows[:place]]
        if not rows:
            raise ValueError(f"{origin} has no Survey; give it a value such as MINE = Survey(name=..., ...)")
        archives = found.get("ARCHIVES") or {}
        self.add(*(Registered(row, origin, calibrate, archives.get(row.name)) for row in rows))
        return rows


def _try(origin: str, read: Callable) -> None:
    """Read surveys from outside; one line of warning if that fails, so that the others can be used."""
    try:
        read()
    except Exception as error:  # whatever the code of others raises
        said = first_line(error)
        log.warning("surveys of %s are left out: %s", origin, said.removeprefix(f"{origin}: ").removeprefix(origin))


def _checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _run(path: str, sha256: str) -> dict[str, Any]:
    """Return the names that a Python file defines; each version of it, by its checksum, is run once in a process.

    Its module is not kept among those of the process, because other processes could not import it by its name: what it
    defines is then sent to them whole.
    """
    with _running:
        return runpy.run_path(path, run_name=f"galtrans_survey_file_{sha256[:8]}")


def check_row(row: Survey, origin: str) -> None:
    """Raise ValueError, which names where the row is from, if a row is not possible."""
    wrong = ""
    if not isinstance(row.name, str) or not A_NAME.fullmatch(row.name):
        wrong = f"name = {row.name!r}: give lower-case letters, digits, - or _, such as 'hsc'"
    elif not row.bands or len(set(row.bands)) != len(row.bands):
        wrong = f"bands = {row.bands!r}: give each band once, such as ('g', 'r')"
    elif any(not isinstance(band, str) or len(band) != 1 for band in row.bands):
        wrong = f"bands = {row.bands!r}: a band is one letter"
    elif not row.pixel_scale > 0:
        wrong = f"pixel_scale = {row.pixel_scale!r}: give the side of a pixel in arcsec"
    elif not isinstance(row.cutout_size, int) or row.cutout_size < 8 or row.cutout_size % 8:
        wrong = (
            f"cutout_size = {row.cutout_size!r}: give a multiple of 8, because the networks halve an image three times"
        )
    elif set(row.filters.values()) != set(row.bands):
        wrong = f"filters stand for {''.join(sorted(set(row.filters.values())))}, and bands are {''.join(row.bands)}"
    if wrong:
        raise ValueError(f"{origin}: the survey {row.name} cannot be used: {wrong}")


SURVEYS = Surveys(OWN)


def find_survey(name: str) -> Survey:
    """Return the survey of a name.

    Parameters
    ----------
    name : str
        Its name, such as "sdss".

    Returns
    -------
    Survey
        Its row of `SURVEYS`.

    Raises
    ------
    SurveyError
        There is no such survey; the message names the known ones.
    """
    if name not in SURVEYS:
        raise SurveyError(
            f"no survey is called {name!r}; known are {', '.join(SURVEYS)}; one of your own needs its --survey-file"
        )
    return SURVEYS[name]


def register_survey(row: Survey, calibrate: Callable | None = None, archive: Any = None) -> Survey:
    """Add a survey for the rest of this process, so that its name can be given wherever a survey is named.

    Other processes, such as the workers of a cluster, know it if it is in a survey file (`load_surveys`) or in an
    installed package.

    Parameters
    ----------
    row : Survey
        Its row.
    calibrate : callable, optional
        Returns the `Calibration` of a tile from its file's name and header. By default the zero point, or the unit, is
        read that the header states.
    archive : KnownArchive, optional
        An archive of its own, instead of tiles in a folder of the user.

    Returns
    -------
    Survey
        The row.

    Raises
    ------
    ArgumentError
        If the name is taken, or the row is not possible.

    Examples
    --------
    >>> from survey_tools import SURVEYS, register_survey
    >>> from dataclasses import replace
    >>> mine = register_survey(replace(SURVEYS["des"], name="mine", title="Mine"))
    >>> del SURVEYS["mine"]
    """
    if not isinstance(row, Survey):
        raise ArgumentError("row", f"{row!r} is not a Survey")
    try:
        SURVEYS.add(Registered(row, BY_CALL, calibrate, archive))
    except ValueError as error:
        raise ArgumentError("row", str(error)) from error
    return row


def load_surveys(path: Any) -> list[Survey]:
    """Run a Python file and add the surveys that it defines, in this process and in those that it starts.

    The file has one `Survey` or several. If it has a function `calibrate(name, header)`, that reads the calibration of
    their tiles; if it has a dictionary `ARCHIVES`, that gives archives by the name of a survey. The environment
    variable GALTRANS_SURVEY_FILES is set, so that processes which this one starts run the file too. The workers of a
    cluster know it if the variable is set where they are started, and the file lies at the same place there.

    Parameters
    ----------
    path : path-like
        The file, such as "my_survey.py".

    Returns
    -------
    list of Survey
        The rows of its surveys.

    Raises
    ------
    SurveyError
        If the file cannot be run, has no survey, or has one whose name is taken or whose row is not possible.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise SurveyError(f"{path} does not exist, so no survey can be read from it")
    try:
        found = SURVEYS.load(path)
    except Exception as error:  # whatever the user's own code raises
        said = first_line(error)
        named = "" if str(path) in said else f"{path}: "
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise SurveyError(f"{named}{kind}{said}") from error
    known = [each for each in os.environ.get(FILES, "").split(os.pathsep) if each]
    if str(path) not in known:
        os.environ[FILES] = os.pathsep.join([*known, str(path)])
    return found


def bands_apart(x: Survey, y: Survey) -> dict[str, tuple[str, str]]:
    """Return the bands that two surveys call by one name although their transmission curves differ, with both curves.

    Bands whose curve is not known in one of the surveys are left out.
    """
    shared = [band for band in x.bands if band in y.bands and x.curves.get(band) and y.curves.get(band)]
    return {band: (x.curves[band], y.curves[band]) for band in shared if x.curves[band] != y.curves[band]}
