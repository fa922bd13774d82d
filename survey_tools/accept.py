"""What the functions of the front door accept, turned into what the rest of galtrans computes with.

Each function here checks one kind of argument and raises `ArgumentError`, which names the argument and what is allowed.
"""

import math
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from survey_tools.catalogue import KEYS, read_catalogue
from survey_tools.errors import ArgumentError
from survey_tools.fits.calibration import Given, read_unit
from survey_tools.store.partitioned import PartitionedStore, open_store
from survey_tools.store.place import StoreUrl, is_url, place_of
from survey_tools.store.zarr_store import Store
from survey_tools.surveys import SURVEYS, Survey
from survey_tools.tasks import WAIT, Engine, dashboard, engine

Tell = Callable[[str], None]


def silent(line: str) -> None:
    """Tell nobody: the default of every function that reports its progress in lines."""


def a_path(value: Any, argument: str) -> Path:
    """A path, from text or any path-like object."""
    if is_url(value):
        raise ArgumentError(argument, f"{value} is an address, which only a store to read may be; give a path")
    if isinstance(value, (str, os.PathLike)) and str(value):
        return Path(value)
    raise ArgumentError(argument, f"{value!r} is not a path; give text or a pathlib.Path")


def a_store(value: Any, argument: str) -> Store | PartitionedStore:
    """An open store, from a store, its path or its address."""
    return value if isinstance(value, (Store, PartitionedStore)) else open_store(a_store_path(value, argument))


def a_store_path(value: Any, argument: str) -> Path | StoreUrl:
    """The path, or address, of a store, from a store or its path or address."""
    if isinstance(value, (Store, PartitionedStore)):
        return value.path
    return place_of(value) if is_url(value) else a_path(value, argument)


def a_survey(value: Any, argument: str = "survey") -> Survey:
    """The row of a survey, from the row itself or its name."""
    if isinstance(value, Survey):
        return value
    if not isinstance(value, str) or value not in SURVEYS:
        raise ArgumentError(argument, f"{value!r} is not a known survey; give one of {', '.join(SURVEYS)}, or a Survey")
    return SURVEYS[value]


def some_bands(value: Any, survey: Survey, argument: str = "bands") -> tuple[str, ...]:
    """Bands of a survey, each once and in the order given; all of them where ``value`` is None."""
    if value is None:
        return survey.bands
    try:
        bands = tuple(value)
    except TypeError:
        bands = ()
    if not bands or len(set(bands)) != len(bands) or not set(bands) <= set(survey.bands):
        raise ArgumentError(argument, f"{value!r}: give each band once, out of {''.join(survey.bands)}, such as gri")
    return bands


def some_surveys(value: Any, known: Iterable[str], argument: str = "surveys") -> tuple[str, ...]:
    """Names of two surveys or more, from text with commas or from a sequence of names or surveys."""
    words = value.split(",") if isinstance(value, str) else value
    names = tuple(word.strip() if isinstance(word, str) else getattr(word, "name", str(word)) for word in words)
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ArgumentError(argument, f"{wrong[0]!r} is none that can be simulated: give some of {','.join(known)}")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ArgumentError(argument, f"{value!r}: give at least two, each once, such as des,hsc")
    return names


def an_angle(value: Any, argument: str, *, positive: bool = True) -> float:
    """An angle [arcsec], from a Quantity or from a plain number of arcsec."""
    try:
        angle = float(u.Quantity(value, u.arcsec).to_value(u.arcsec))
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ArgumentError(
            argument, f"{value!r} is not an angle; give a number of arcsec, or a Quantity such as 1.0 * u.arcsec"
        ) from error
    if not math.isfinite(angle) or (positive and angle <= 0):
        raise ArgumentError(argument, f"{value} is not a positive angle; give arcsec, such as 1.0")
    return angle


def per_band(value: Any, unit: u.UnitBase, argument: str) -> tuple[float, ...] | None:
    """One number for all bands, or one for each, in ``unit``, from numbers or Quantities; None stays None."""
    if value is None:
        return None
    try:
        found = tuple(np.atleast_1d(u.Quantity(value, unit).to_value(unit)).astype(float).tolist())
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ArgumentError(
            argument, f"{value!r}: give a number of {unit}, one for each band, or a Quantity of that unit"
        ) from error
    if not found or not all(math.isfinite(each) and each > 0 for each in found):
        raise ArgumentError(argument, f"{value!r}: give positive numbers of {unit}")
    return found


def a_count(value: Any, argument: str, least: int = 0) -> int:
    """A whole number that is not smaller than ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ArgumentError(argument, f"{value!r} is not a whole number of at least {least}")
    return int(value)


def a_catalogue(value: Any, columns: Mapping[str, str] | None = None) -> Table:
    """A checked catalogue, from a file, a Table or QTable, a pandas DataFrame, or a SkyCoord.

    Objects of a SkyCoord are called by their number, from "0" on. See `catalogue.read_catalogue` for the columns.
    """
    unknown = [name for name in columns or {} if name not in KEYS]
    if unknown:
        raise ArgumentError("columns", f"{unknown[0]!r} is not one of {', '.join(KEYS)}")
    if isinstance(value, SkyCoord):
        value = value.reshape(-1)
        value = Table({"object_id": np.arange(len(value)).astype(str), "position": value})
    elif not isinstance(value, (Table, str, os.PathLike)) and hasattr(value, "columns"):
        value = Table.from_pandas(value)
    if not isinstance(value, Table):
        value = a_path(value, "catalogue")
    return read_catalogue(value, columns)


def a_calibration(unit: str | u.UnitBase | None, zero_point: float | None) -> Given:
    """What a user says of the calibration of files, from a unit in any spelling or a zero point [AB mag]."""
    if isinstance(unit, u.UnitBase):
        unit = unit.to_string()
    if unit is not None:
        kind = read_unit(str(unit)).kind
        if kind not in ("flux", "brightness", "counts"):
            raise ArgumentError(
                "unit",
                f"{unit!r}: give one of flux, such as nanomaggy, uJy or MJy/sr, or counts, of the survey's own zero "
                "point",
            )
        if zero_point is not None and kind != "counts":
            raise ArgumentError("zero_point", "`unit` and `zero_point` say the same: give one of them")
    if zero_point is not None and not math.isfinite(zero_point):
        raise ArgumentError("zero_point", f"{zero_point} is not a magnitude; give one such as 30.0")
    return Given(None if unit is None else str(unit).strip(), zero_point)


@contextmanager
def workers_of(workers: Any, wait: float | None = None, tell: Tell = silent) -> Iterator[Engine]:
    """Where the tasks of one call run.

    Parameters
    ----------
    workers : int, str or distributed.Client
        Threads of this process; or the address of a Dask scheduler, "tcp://host:port"; or a client of one.
    wait : float, optional
        How long to wait while a cluster has no worker [s].
    tell : callable
        Is given a line on the cluster.
    """
    wait = WAIT if wait is None else wait
    if isinstance(workers, Engine):
        yield workers
    elif isinstance(workers, str):
        with engine(1, workers, wait) as working:
            count, link = len(working.client.nthreads()), dashboard(working.client)
            tell(f"{count} worker{'' if count == 1 else 's'} on the cluster{f'; watch them at {link}' if link else ''}")
            yield working
    elif hasattr(workers, "submit") and hasattr(workers, "nthreads"):
        yield Engine(sum(workers.nthreads().values()) or 1, workers, wait)
    else:
        yield Engine(a_count(workers, "workers", 1))


def is_elsewhere(workers: Any) -> bool:
    """Whether tasks run in processes that may have other working directories, so that paths must be absolute."""
    return (
        isinstance(workers, str)
        or (isinstance(workers, Engine) and workers.client is not None)
        or hasattr(workers, "nthreads")
    )
